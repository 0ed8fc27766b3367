"""The run-time predictor of EASY++: the mean of the last two jobs of the same user that have ended.

With fewer than two it knows nothing, and the limit is used. Tsafrir, Etsion and Feitelson, IEEE TPDS 18(6), 2007.
"""

from __future__ import annotations

from collections.abc import Sequence

from hal_core import Arrival, JobId, Outcome, Prediction


class LastTwo:
    """Remembers two run times for each user. What was said of a job once stands, as in EASY++."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}
        self._first: dict[str, float] = {}

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        return [self._predict(job.owner.user) for job in jobs]

    def foretell(self, job: Arrival) -> Prediction | None:
        return self._predict(job.owner.user)

    def _predict(self, user: str) -> Prediction | None:
        last = self._last.get(user)
        if last is None:
            return None
        mean_s = float((last[0] + last[1]) // 2)
        return Prediction(mean_s, mean_s, mean_s)

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        for outcome in outcomes:
            self._learn(outcome.arrival.owner.user, outcome.runtime_s)
        return ()

    def _learn(self, user: str, runtime_s: float) -> None:
        before = self._last.get(user)
        if before is not None:
            self._last[user] = (before[1], runtime_s)
        elif user in self._first:
            self._last[user] = (self._first.pop(user), runtime_s)
        else:
            self._first[user] = runtime_s
