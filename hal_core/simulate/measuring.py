"""What a predictor costs: processor time of its answers and of its learning, counted around it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs

from hal_core.models.job import JobId
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.planes import Predictor


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


class Measured:
    """Implements planes.Predictor by another one, and counts."""

    def __init__(self, predictor: Predictor, cost: Cost) -> None:
        self._predictor = predictor
        self._cost = cost

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        began_s = time.process_time()
        answers = self._predictor.predict(jobs)
        self._cost.predict_s += time.process_time() - began_s
        self._cost.predicted_count += len(jobs)
        return answers

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        began_s = time.process_time()
        otherwise = self._predictor.learn(outcomes)
        self._cost.learn_s += time.process_time() - began_s
        self._cost.learned_count += len(outcomes)
        return otherwise
