"""How long jobs are expected to run: at submission, and again when they outlive it. For planning, never for killing.

`requested`: their limit. `perfect`: what the trace says they will take; nothing else in the simulator may know that.
Any other name is a predictor's (planes.Predictor), which learns from the jobs that ended. What is expected never
exceeds the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hal_core.models.job import JobSpec, Owner
from hal_core.models.node import PartitionName
from hal_core.sim.trace import TraceJob

if TYPE_CHECKING:
    from hal_core.planes import Predictor

INCREMENTS_S = (60, 300, 900, 1800, 3600, 7200, 18_000, 36_000, 72_000, 180_000, 360_000)
"""Tsafrir et al., 2007: what is added to the first prediction, each time that it is outlived."""

Correct = Callable[[float, int, float], float]
"""(first prediction, how often it was outlived before, limit) -> what is expected now."""


class Expectations:
    """The limit is what is expected."""

    def expect_s(self, job: TraceJob) -> float:
        return job.limit_s

    def learn(self, job: TraceJob) -> None:
        """The job has ended."""


class Perfect(Expectations):
    """The truth is what is expected."""

    def expect_s(self, job: TraceJob) -> float:
        return job.run_s


class Predicted(Expectations):
    """What a predictor says (its median), or the limit where it knows nothing."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def expect_s(self, job: TraceJob) -> float:
        (prediction,) = self._predictor.predict([(_owner(job), _spec(job))])
        return job.limit_s if prediction is None else min(prediction.p50_s, job.limit_s)

    def learn(self, job: TraceJob) -> None:
        self._predictor.learn(_owner(job), _spec(job), job.run_s)


def _owner(job: TraceJob) -> Owner:
    return Owner(job.user, 0, 0)


def _spec(job: TraceJob) -> JobSpec:
    return JobSpec(
        name=f"swf{job.number}",
        partition=PartitionName("all"),
        command=("true",),
        task_count=job.processors,
        walltime_s=job.limit_s,
    )


def to_request(first_s: float, outlived_count: int, limit_s: float) -> float:
    """At the first under-prediction, the limit."""
    return limit_s


def by_increments(first_s: float, outlived_count: int, limit_s: float) -> float:
    """The first prediction and a growing increment, until that reaches the limit."""
    if outlived_count >= len(INCREMENTS_S):
        return limit_s
    return min(first_s + INCREMENTS_S[outlived_count], limit_s)


CORRECTIONS: dict[str, Correct] = {"request": to_request, "incremental": by_increments}
