"""The predictor `example`: what the user's last jobs took, for planning. Nothing is ever killed for it."""

from collections import deque
from collections.abc import Sequence

from hal_core import Arrival, JobId, Outcome, PluginInfo, Prediction, Register, hookimpl

__hal_plugin__ = PluginInfo(sdk=1, summary="the range of the user's last jobs")

LAST = 5


class Example:
    """Pure and synchronous; `learn` is called in the order of the ends."""

    def __init__(self) -> None:
        self._last_s: dict[int, deque[float]] = {}

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        return [self._predict(job) for job in jobs]

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        for outcome in outcomes:
            self._last_s.setdefault(outcome.arrival.owner.uid, deque(maxlen=LAST)).append(outcome.runtime_s)
        return ()

    def _predict(self, job: Arrival) -> Prediction | None:
        if not (last_s := sorted(self._last_s.get(job.owner.uid, ()))):
            return None
        return Prediction(last_s[0], last_s[len(last_s) // 2], last_s[-1])


@hookimpl
def hal_register_predictors(register: Register) -> None:
    register("example", lambda options: Example(), "the range of the user's last jobs")
