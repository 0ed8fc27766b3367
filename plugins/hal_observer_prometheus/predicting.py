"""How good predictions of run times were: a small fold of the events. No metrics library, no clock."""

from __future__ import annotations

from typing import NamedTuple

from hal_core import Event, JobEnded, JobId, JobState, Prediction, RunTimesPredicted


class Scored(NamedTuple):
    """One element that ran to its own end, and what had been said of it."""

    band: str
    """below, within or above the middle eight of ten; good predictions are within it eight times of ten."""
    error_s: float
    """How far the median was off."""


class PredictionScores:
    """Keeps the last prediction of each job until an element of it has ended; `follow` gives what can be scored."""

    def __init__(self) -> None:
        self._predictions: dict[JobId, Prediction] = {}

    def follow(self, event: Event) -> Scored | None:
        match event:
            case RunTimesPredicted(predictions=predictions):
                self._predictions.update(predictions)
            case JobEnded(end=end, start_time_s=start_time_s, end_time_s=end_time_s):
                found = self._predictions.pop(event.job_id, None)
                if found is not None and start_time_s is not None and end.state is JobState.COMPLETED:
                    return _scored(found, end_time_s - start_time_s)
            case _:
                pass
        return None


def _scored(prediction: Prediction, ran_s: float) -> Scored:
    band = "below" if ran_s < prediction.p10_s else "above" if ran_s > prediction.p90_s else "within"
    return Scored(band, abs(ran_s - prediction.p50_s))
