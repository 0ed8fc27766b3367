"""What a predictor costs, counted around it: processor time of its answers and of its learning, in the asking thread.

What goes on beside it in another thread meanwhile, as the import of a library, is no part of an answer. Each call
is measured: of one in eight the mean came out higher by two thirds, for some systems count such time in steps.
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

PATIENCE_S: Final = 30.0
CALL_S_MAX: Final = 0.05
"""For each call, on average, beyond the patience. A learned model takes some ten microseconds."""


@attrs.define
class Spent:
    """Processor time in seconds of one kind of call, and for how many jobs."""

    cpu_s: float = 0.0
    job_count: int = 0

    @property
    def mean_us(self) -> float:
        """Microseconds for each job; 0 without any."""
        return 1e6 * self.cpu_s / max(self.job_count, 1)


@attrs.define
class Cost:
    """Of answers, and of learning."""

    predicting: Spent = attrs.field(factory=Spent)
    learning: Spent = attrs.field(factory=Spent)

    @property
    def predict_us(self) -> float:
        """Microseconds for each prediction, also for those of a job that is asked about again."""
        return self.predicting.mean_us

    @property
    def learn_us(self) -> float:
        """Microseconds for each job that ended."""
        return self.learning.mean_us


class Measured:
    """Implements planes.Predictor by another one, and counts. One that fails or is too slow is asked no more, as in the
    daemon; `failure` says why."""

    def __init__(
        self,
        predictor: Predictor,
        cpu_now: Callable[[], float] = time.thread_time,
        wall_now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._predictor = predictor
        self._cpu_now = cpu_now
        self._wall_now = wall_now
        self.cost = Cost()
        self.failure = ""
        self._wall_s = 0.0
        self._call_count = 0

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        answers = self._guarded(
            lambda: _answers(self._predictor.predict(jobs), len(jobs)), self.cost.predicting, len(jobs)
        )
        return [None] * len(jobs) if answers is None else answers

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        otherwise = self._guarded(lambda: list(self._predictor.learn(outcomes)), self.cost.learning, len(outcomes))
        return () if otherwise is None else otherwise

    def _guarded(self, ask: Callable[[], T], cost: Spent, job_count: int) -> T | None:
        """The answer; None if there is none. Looks at the clock on the wall too: one that waits is as slow as one that
        works."""
        if self.failure:
            return None
        began_s, cpu_s = self._wall_now(), self._cpu_now()
        try:
            return ask()
        except Exception as error:  # noqa: BLE001  the wall around a plugin
            self.failure = repr(error)
            return None
        finally:
            cost.cpu_s += self._cpu_now() - cpu_s
            cost.job_count += job_count
            self._called(self._wall_now() - began_s)

    def _called(self, wall_s: float) -> None:
        self._wall_s += wall_s
        self._call_count += 1
        if not self.failure and self._wall_s > PATIENCE_S + self._call_count * CALL_S_MAX:
            self.failure = f"{self._call_count} calls took {self._wall_s:.0f} s"


def _answers(answers: Sequence[Prediction | None], count: int) -> Sequence[Prediction | None]:
    """Raises ValueError if there are more or fewer than were asked for."""
    if len(answers) != count:
        raise ValueError(f"{len(answers)} answers to {count} questions")
    return answers
