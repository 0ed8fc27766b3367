"""How good predictions of run times were: a small fold of the events. No metrics library, no clock."""

from __future__ import annotations

from typing import Final, NamedTuple

from hal_core import JobEnded, JobId, JobState, Prediction, RunTimesPredicted

BANDS: Final = ("below", "within", "above")


class Scored(NamedTuple):
    """One element that ran to its own end, and what had been said of it."""

    band: str
    """below, within or above the middle eight of ten; good predictions are within it eight times of ten."""
    error_s: float
    """How far the median was off."""


class PredictionScores:
    """Keeps the last prediction of each job until an element of it has ended."""

    def __init__(self) -> None:
        self._predictions: dict[JobId, Prediction] = {}

    def predicted(self, event: RunTimesPredicted) -> None:
        self._predictions.update(event.predictions)

    def ended(self, event: JobEnded) -> Scored | None:
        found = self._predictions.pop(event.job_id, None) if self._predictions else None
        if found is None or event.ran_s is None or event.end.state is not JobState.COMPLETED:
            return None
        return _scored(found, event.ran_s)


def _scored(prediction: Prediction, ran_s: float) -> Scored:
    band = "below" if ran_s < prediction.p10_s else "above" if ran_s > prediction.p90_s else "within"
    return Scored(band, abs(ran_s - prediction.p50_s))
