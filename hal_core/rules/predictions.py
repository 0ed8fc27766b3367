"""What predictors say of run times: believed only as far as it can be true, and used for planning alone. Pure.

A plan may rest on a prediction, a kill never does: jobs end at their limit. A job that outlives what was expected of it
is from then on expected to run to its limit (the correction that did best in Gaussier et al., SC'15, and in replay).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hal_core.models.event import Event, RunTimesPredicted
from hal_core.models.job import EndKind
from hal_core.models.prediction import Prediction

if TYPE_CHECKING:
    from hal_core.models.message import PredictionsMade
    from hal_core.rules.state import State

RUN_TIME_S_MIN = 1.0
TELLING = frozenset({EndKind.EXITED, EndKind.SIGNALLED, EndKind.OUT_OF_MEMORY, EndKind.TIME_LIMIT})
"""Ends whose run time says something about the job: the others came from outside."""


def predictions_made(state: State, message: PredictionsMade, now_s: float) -> list[Event]:
    """Those that can be true, about jobs that are not finished. Nothing else is kept, however much was sent."""
    kept = []
    for job_id, prediction in message.predictions:
        record = state.jobs.get(job_id)
        if record is not None and (believed := believable(prediction, record.spec.walltime_s)) is not None:
            kept.append((job_id, believed))
    return [RunTimesPredicted(now_s, message.predictor, tuple(kept))] if kept else []


def believable(prediction: Prediction, walltime_s: float | None) -> Prediction | None:
    """The prediction between a second and the limit, its quantiles in order; None if they are no times at all."""
    quantiles_s = (prediction.p10_s, prediction.p50_s, prediction.p90_s)
    planned_s, mean_s = prediction.expected_s, prediction.average_s
    if not all(isinstance(time_s, int | float) and time_s >= 0.0 for time_s in (*quantiles_s, planned_s, mean_s)):
        return None  # NaN is not >= 0 either.
    most_s = math.inf if walltime_s is None else walltime_s
    least_s = min(RUN_TIME_S_MIN, most_s)
    if _is_believed(prediction, least_s, most_s):
        return prediction
    p10_s, p50_s, p90_s, planned_s, mean_s = (
        float(min(max(time_s, least_s), most_s)) for time_s in (*sorted(quantiles_s), planned_s, mean_s)
    )
    said_s = (None if planned_s == p50_s else planned_s, None if mean_s == planned_s else mean_s)
    ends_badly = (_probability(prediction.time_out_probability), _probability(prediction.failure_probability))
    return Prediction(p10_s, p50_s, p90_s, *said_s, *ends_badly)


def _is_believed(said: Prediction, least_s: float, most_s: float) -> bool:
    """Whether nothing is to be changed in it."""
    if said.planned_s is not None or said.mean_s == said.p50_s:
        return False
    ways = (said.time_out_probability, said.failure_probability)
    return (
        least_s <= said.p10_s <= said.p50_s <= said.p90_s <= most_s
        and least_s <= said.average_s <= most_s
        and all(way is None or _probability(way) is way for way in ways)
    )


def _probability(said: float | None) -> float | None:
    """None also if it is none: the run time may be believed all the same."""
    return float(said) if isinstance(said, int | float) and 0.0 <= said <= 1.0 else None


def expected_end_s(start_s: float, expected_s: float, walltime_s: float | None, now_s: float) -> float:
    """When a running job will end: as expected, or at its limit once it has outlived that. Never in the past."""
    limit_s = math.inf if walltime_s is None else walltime_s
    end_s = start_s + min(expected_s, limit_s)
    return max(end_s if end_s > now_s else start_s + limit_s, now_s)
