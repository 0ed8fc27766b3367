"""HAL's own journal as a trace: what came and how long it ran, so that another policy can be tried on it.

Every array element is a job of its own. An element that was queued again counts with its last attempt. A job that had
to wait for others, for its begin time or for a person is submitted when nothing but room was missing.
That the same policy decides the same is another question, with a stricter answer: sim/decisions.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from hal_core.models.event import ClusterDefined, Event, JobEnded, JobPlaced, JobReleased, JobSubmitted, VariantChosen
from hal_core.models.job import JobId, JobSpec, JobState, Owner
from hal_core.models.node import Cluster
from hal_core.models.plural import plural
from hal_core.models.ranges import count_of, members
from hal_core.rules.predictions import TELLING
from hal_core.sim.trace import Findings, Trace, TraceJob, width_of

RUN_S_MIN: Final = 1e-6
"""What ran for less than its nodes' clocks can tell did run: a gang's parts start and end by two clocks."""


class _Submitted(NamedTuple):
    time_s: float
    owner: Owner
    spec: JobSpec


def read_journal(events: Iterable[Event], processors: int | None = None) -> Trace:
    """The jobs of a journal that ran to an end, and the cluster as it was configured last."""
    reader = _Reader()
    for event in events:
        reader.read(event)
    return reader.trace(processors)


class _Reader:
    """Folds the events into rows."""

    def __init__(self) -> None:
        self._submitted: dict[JobId, _Submitted] = {}
        self._eligible_s: dict[JobId, float] = {}
        self._place_s: dict[tuple[JobId, int], float] = {}
        self._jobs: dict[tuple[JobId, int], TraceJob] = {}
        self._ended_s: dict[JobId, float] = {}
        self._element_count = 0
        self._unlimited_count = 0
        self._cluster: Cluster | None = None

    def read(self, event: Event) -> None:
        match event:
            case JobSubmitted(time_s=time_s, job_id=job_id, owner=owner, spec=spec):
                self._submitted[job_id] = _Submitted(time_s, owner, spec)
                self._eligible_s[job_id] = max(time_s, spec.begin_time_s)
                self._element_count += count_of(spec.array.indices) if spec.array else 1
            case JobReleased(time_s=time_s, job_id=job_id):
                self._eligible_s[job_id] = max(time_s, self._eligible_s[job_id])
            case VariantChosen(job_id=job_id, number=number):
                submitted = self._submitted[job_id]
                self._submitted[job_id] = submitted._replace(spec=submitted.spec.in_variant(number))
            case JobPlaced():
                for index in members(event.elements):
                    self._place_s[event.job_id, index] = event.time_s
            case JobEnded():
                self._ended_s[event.job_id] = event.time_s
                if event.start_time_s is not None and event.ran_s is not None:
                    for index in members(event.elements):
                        self._end(event, index, event.start_time_s, event.ran_s)
            case ClusterDefined(cluster=cluster):
                self._cluster = cluster
            case _:
                pass

    def _end(self, event: JobEnded, index: int, start_s: float, ran_s: float) -> None:
        place_s = self._place_s.pop((event.job_id, index), start_s)
        run_s = max(ran_s, RUN_S_MIN)
        submitted = self._submitted[event.job_id]
        spec, shape = submitted.spec, submitted.spec.shape()
        if spec.walltime_s is None:
            self._unlimited_count += 1
        parents = [self._ended_s.get(dependency.job_id, 0.0) for dependency in spec.dependencies]
        submit_s = min(max(self._eligible_s[event.job_id], *parents, 0.0), place_s)
        limit_s = run_s if spec.walltime_s is None else spec.walltime_s
        cpus = shape.total_cpus
        job = TraceJob(event.job_id, submit_s, min(run_s, limit_s), limit_s, cpus, submitted.owner.user)
        job.node_count, job.gpus = shape.total_nodes, shape.total_gpus
        job.memory_bytes = sum(part.memory_bytes * part.node_count for part in shape.parts) // max(cpus, 1)
        job.partition = shape.partition
        job.account = spec.account
        job.label = f"{event.job_id}_{index}" if spec.array else ""
        job.recorded_wait_s = place_s - submit_s
        job.has_failed = event.end.kind in TELLING and event.end.state is JobState.FAILED
        self._jobs[event.job_id, index] = job

    def trace(self, processors: int | None) -> Trace:
        findings = Findings()
        findings.leave_out("never ran to an end", self._element_count - len(self._jobs))
        if self._unlimited_count:
            findings.notes.append(
                f"{plural(self._unlimited_count, 'job')} without a time limit: the run time is taken for it"
            )
        jobs = list(self._jobs.values())
        if processors is None and self._cluster is not None:
            processors = sum(node.cpu_count for node in self._cluster.nodes)
        return findings.trace(jobs, processors or width_of(jobs, findings), {}, self._cluster)
