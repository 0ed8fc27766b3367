"""What a predictor costs, counted around it: processor time of its answers and of its learning.

It is a wall too: one that fails or is too slow must not end the replay, as it does not end the daemon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs

from hal_core.models.job import JobId
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.planes import Predictor

T = TypeVar("T")
Times = tuple[float, float]

PATIENCE_S: Final = 30.0
CALL_S_MAX: Final = 0.05
"""For each call, on average, beyond the patience. A learned model takes some ten microseconds."""


@attrs.define
class Cost:
    """Processor time in seconds, and for how many."""

    predict_s: float = 0.0
    predicted_count: int = 0
    learn_s: float = 0.0
    learned_count: int = 0

    @property
    def predict_us(self) -> float:
        """Microseconds for each prediction, also for those of a job that is asked about again; 0 without any."""
        return 1e6 * self.predict_s / max(self.predicted_count, 1)

    @property
    def learn_us(self) -> float:
        """Microseconds for each job that ended."""
        return 1e6 * self.learn_s / max(self.learned_count, 1)


def _now() -> Times:
    return time.process_time(), time.perf_counter()


class Measured:
    """Implements planes.Predictor by another one, and counts. One that fails or is too slow is asked no more, as in the
    daemon; `failure` says why."""

    def __init__(self, predictor: Predictor, now: Callable[[], Times] = _now) -> None:
        """`now` gives processor time and time on the wall, in seconds."""
        self._predictor = predictor
        self._now = now
        self.cost = Cost()
        self.failure = ""
        self._wall_s = 0.0
        self._call_count = 0

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        cost = self.cost
        cost.predicted_count += len(jobs)
        began = self._now()
        answers = self._guarded(lambda: _answers(self._predictor.predict(jobs), len(jobs)))
        cost.predict_s += self._since(began)
        return [None] * len(jobs) if answers is None else answers

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        cost = self.cost
        cost.learned_count += len(outcomes)
        began = self._now()
        otherwise = self._guarded(lambda: list(self._predictor.learn(outcomes)))
        cost.learn_s += self._since(began)
        return () if otherwise is None else otherwise

    def _guarded(self, ask: Callable[[], T]) -> T | None:
        if self.failure:
            return None
        try:
            return ask()
        except Exception as error:  # noqa: BLE001  the wall around a plugin
            self.failure = repr(error)
            return None

    def _since(self, began: Times) -> float:
        """Processor seconds. Looks at the clock on the wall too: one that waits is as slow as one that works."""
        cpu_s, wall_s = self._now()
        self._wall_s += wall_s - began[1]
        self._call_count += 1
        if not self.failure and self._wall_s > PATIENCE_S + self._call_count * CALL_S_MAX:
            self.failure = f"{self._call_count} calls took {self._wall_s:.0f} s"
        return cpu_s - began[0]


def _answers(answers: Sequence[Prediction | None], count: int) -> Sequence[Prediction | None]:
    """Raises ValueError if there are more or fewer than were asked for."""
    if len(answers) != count:
        raise ValueError(f"{len(answers)} answers to {count} questions")
    return answers
