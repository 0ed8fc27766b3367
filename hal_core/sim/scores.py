"""How good predictions were: what was said of each job when it came, against how long it ran. Pure.

Pinball loss of a quantile tau (Koenker and Bassett, Econometrica 46(1), 1978): tau for each second that the job ran
longer than was said, 1 - tau for each that it ran shorter. It is least, on average, for the true quantile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from hal_core.models.prediction import Prediction


@attrs.frozen
class Scores:
    """Of one run. All 0 if no job was predicted."""

    pinball: float = 0.0
    """Seconds: the mean over all jobs, and over p10, p50 and p90 of each."""
    runtime_p90_coverage: float = 0.0
    """The share of jobs that ran no longer than their p90."""


def scores_of(foretold: Iterable[tuple[Prediction, float]]) -> Scores:
    """From what was said of each job that ran, and its run time in seconds."""
    losses: list[float] = []
    covered_count = 0
    for prediction, run_s in foretold:
        losses.append(pinball(prediction, run_s))
        covered_count += run_s <= prediction.p90_s
    if not losses:
        return Scores()
    return Scores(math.fsum(losses) / len(losses), covered_count / len(losses))


def pinball(prediction: Prediction, run_s: float) -> float:
    """The mean loss of the three quantiles."""
    quantiles = ((0.1, prediction.p10_s), (0.5, prediction.p50_s), (0.9, prediction.p90_s))
    return sum(max(tau * (run_s - said_s), (tau - 1.0) * (run_s - said_s)) for tau, said_s in quantiles) / 3
