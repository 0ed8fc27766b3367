"""How long jobs are expected to run: at submission, and again when they outlive it. For planning, never for killing.

`requested`: their limit. `perfect`: what the trace says they will take; nothing else in the simulator may know that.
Any other name is a predictor's (planes.Predictor), which learns from the jobs that ended. What is expected never
exceeds the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner
from hal_core.models.node import PartitionName
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.rules.predictions import believable
from hal_core.rules.trust import fenced
from hal_core.sim.trace import TraceJob

if TYPE_CHECKING:
    from hal_core.planes import Predictor

INCREMENTS_S = (60, 300, 900, 1800, 3600, 7200, 18_000, 36_000, 72_000, 180_000, 360_000)
"""Tsafrir et al., 2007: what is added to the first prediction, each time that it is outlived."""

Correct = Callable[[float, int, float], float]
"""(first prediction, how often it was outlived before, limit) -> what is expected now."""


class Expectations:
    """The limit is what is expected."""

    def expect(self, job_id: JobId, job: TraceJob) -> Prediction:
        """What is expected of the job now."""
        return Prediction(job.limit_s, job.limit_s, job.limit_s)

    def learn(self, job_id: JobId, job: TraceJob, end_s: float) -> Sequence[JobId]:
        """The job has ended. Returns those of which something else would be expected now."""
        return ()

    def foretold(self, job_id: JobId, job: TraceJob) -> Prediction:
        """What was expected of the job when it came."""
        return self.expect(job_id, job)


class Perfect(Expectations):
    """The truth is what is expected."""

    def expect(self, job_id: JobId, job: TraceJob) -> Prediction:
        return Prediction(job.run_s, job.run_s, job.run_s)


class Predicted(Expectations):
    """What a predictor says, or the limit where it knows nothing."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._first: dict[JobId, Prediction] = {}
        self._arrivals: dict[JobId, Arrival] = {}
        """Of jobs that have not ended: they are asked about again and again."""

    @classmethod
    def by(cls, name: str, predictor: Predictor) -> Predicted:
        """With the predictor of that name, behind the fence that the daemon has too."""
        return cls(fenced(name, predictor))

    def expect(self, job_id: JobId, job: TraceJob) -> Prediction:
        arrival = self._arrivals.get(job_id)
        if arrival is None:
            arrival = self._arrivals[job_id] = _arrival(job_id, job)
        (prediction,) = self._predictor.predict([arrival])
        believed = None if prediction is None else believable(prediction, job.limit_s)
        if believed is None:
            believed = super().expect(job_id, job)
        self._first.setdefault(job_id, believed)
        return believed

    def learn(self, job_id: JobId, job: TraceJob, end_s: float) -> Sequence[JobId]:
        arrival = self._arrivals.pop(job_id, None) or _arrival(job_id, job)
        return self._predictor.learn([Outcome(arrival, job.run_s, end_s, _end(job))])

    def foretold(self, job_id: JobId, job: TraceJob) -> Prediction:
        return self._first.get(job_id) or super().expect(job_id, job)


ENDED = End(EndKind.EXITED, exit_code=0)
FAILED = End(EndKind.EXITED, exit_code=1)
KILLED = End(EndKind.TIME_LIMIT)


def _end(job: TraceJob) -> End:
    """Who reaches the limit is killed there, whatever it would have ended with."""
    if job.reaches_limit:
        return KILLED
    return FAILED if job.has_failed else ENDED


def _arrival(job_id: JobId, job: TraceJob) -> Arrival:
    spec = JobSpec(
        name=job.label or "swf",
        partition=PartitionName(job.partition or "all"),
        command=("true",),
        task_count=job.processors,
        memory_bytes_per_node=job.memory_bytes * job.processors,
        walltime_s=job.limit_s,
    )
    return Arrival(job_id, Owner(job.user, 0, 0), spec, job.submit_s)


def to_request(first_s: float, outlived_count: int, limit_s: float) -> float:
    """At the first under-prediction, the limit."""
    return limit_s


def by_increments(first_s: float, outlived_count: int, limit_s: float) -> float:
    """The first prediction and a growing increment, until that reaches the limit."""
    if outlived_count >= len(INCREMENTS_S):
        return limit_s
    return min(first_s + INCREMENTS_S[outlived_count], limit_s)


CORRECTIONS: dict[str, Correct] = {"request": to_request, "incremental": by_increments}
