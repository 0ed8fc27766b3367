"""The spans of jobs: a fold of the events, without any library of tracing. A span is told once it is over.

    job                 from the submission to the end of the last element; what was decided about it are its events
      wait              from the submission, or from being queued again, to the placement
      stage             from there until its inputs are on its nodes, if it has any
      launch            from the placement to the first process; below it the nodes' own spans (hal_core/tracing.py)
      run               the processes; the parent of what they trace themselves

Its memory is bounded by what is unfinished; of a job a bounded number of events is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

from hal_core import (
    Arrival,
    AttemptKey,
    ClusterDefined,
    EndKind,
    Event,
    InputsStaged,
    JobCancelRequested,
    JobEnded,
    JobHeld,
    JobId,
    JobPlaced,
    JobReleased,
    JobRequeued,
    JobResumed,
    JobResumeRequested,
    JobState,
    JobSubmitted,
    JobSuspended,
    Note,
    PartStarted,
    Planned,
    PriorityChanged,
    Span,
    Trace,
    TraceValue,
    count_of,
    launch_span_id,
    members,
    run_span_id,
    span_id_of,
    trace_of,
)

NOTES_MAX: Final = 100
"""Events of one job's span; a job that is promised a start again and again has the first ones."""
REMEMBERED_MAX: Final = 10_000
"""Jobs that may run again, and traces that later ones can point at, because they depend on them."""


T = TypeVar("T")


class _Attempt:
    def __init__(self, attempt: int, since_s: float, placed_s: float, nodes: str) -> None:
        self.attempt = attempt
        self.since_s = since_s
        self.placed_s = placed_s
        self.nodes = nodes
        self.staged: InputsStaged | None = None
        self.start_s: float | None = None


class _Job:
    def __init__(self, event: JobSubmitted, trace: Trace, links: tuple[Trace, ...] = ()) -> None:
        spec = event.spec
        self.submitted = event
        self.begin_s = event.time_s
        self.trace = trace
        self.links = links
        self.left = count_of(spec.array.indices) if spec.array else 1
        self.since_s: dict[int, float] = {}
        self.active: dict[int, _Attempt] = {}
        self.notes: list[Note] = []
        self.worst = ""

    def note(self, name: str, time_s: float, **attributes: TraceValue) -> None:
        if len(self.notes) < NOTES_MAX:
            self.notes.append(Note(name, time_s, attributes))


class JobSpans:
    """`follow` gives the spans that an event ends. Of a job that it does not know (`knows`) there are none."""

    def __init__(self) -> None:
        self.cluster = ""
        self._jobs: dict[JobId, _Job] = {}
        self._remembered: OrderedDict[JobId, _Job] = OrderedDict()
        self._traces: OrderedDict[JobId, Trace] = OrderedDict()

    def knows(self, job_id: JobId) -> bool:
        """Else what happened to it so far has to be followed first."""
        return job_id in self._jobs or job_id in self._remembered

    def point(self, arrival: Arrival) -> None:
        """Let jobs that depend on this one be linked to it, though its own history was not followed."""
        spec, time_s = arrival.spec, arrival.submit_time_s
        _keep(self._traces, arrival.job_id, trace_of(self.cluster, arrival.job_id, time_s, spec.environment))

    def follow(self, event: Event) -> list[Span]:
        match event:
            case ClusterDefined(cluster=cluster):
                self.cluster = cluster.name
            case JobSubmitted():
                self._submit(event)
            case JobHeld(job_id=job_id, by=by, time_s=time_s):
                self._note(job_id, "held", time_s, by=by)
            case JobReleased(job_id=job_id, by=by, time_s=time_s):
                self._note(job_id, "released", time_s, by=by)
            case PriorityChanged(job_id=job_id, priority=priority, time_s=time_s):
                self._note(job_id, "priority changed", time_s, priority=priority)
            case JobCancelRequested(job_id=job_id, by=by, time_s=time_s):
                self._note(job_id, "cancel requested", time_s, by=by)
            case JobSuspended(job_id=job_id, by=by, suspended_for=other, time_s=time_s):
                whose = {"by": by} if other is None else {"suspended_for": other}
                self._note(job_id, "suspended", time_s, **whose)
            case JobResumeRequested(job_id=job_id, by=by, time_s=time_s):
                self._note(job_id, "resume requested", time_s, by=by)
            case JobResumed(job_id=job_id, time_s=time_s):
                self._note(job_id, "resumed", time_s)
            case Planned(reserves=reserves, engine=engine, time_s=time_s):
                for job_id, start_s in reserves:
                    self._note(job_id, "start promised", time_s, engine=engine, start_time_s=start_s)
            case JobPlaced():
                self._place(event)
            case InputsStaged(key=key):
                if (attempt := self._attempt(key)) is not None:
                    attempt.staged = event
            case PartStarted(key=key, start_time_s=start_time_s):
                if (attempt := self._attempt(key)) is not None and attempt.start_s is None:
                    attempt.start_s = start_time_s
            case JobRequeued():
                return self._requeue(event)
            case JobEnded():
                return self._end(event)
            case _:
                pass
        return []

    def _submit(self, event: JobSubmitted) -> None:
        trace = trace_of(self.cluster, event.job_id, event.time_s, event.spec.environment)
        links = [self._traces.get(each.job_id) for each in event.spec.dependencies]
        job = self._jobs[event.job_id] = _Job(event, trace, tuple(link for link in links if link is not None))
        _keep(self._remembered, event.job_id, job)
        _keep(self._traces, event.job_id, trace)

    def _attempt(self, key: AttemptKey) -> _Attempt | None:
        job = self._jobs.get(key.job_id)
        return None if job is None else job.active.get(key.index)

    def _note(self, job_id: JobId, name: str, time_s: float, **attributes: TraceValue) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            job.note(name, time_s, **attributes)

    def _place(self, event: JobPlaced) -> None:
        job = self._jobs.get(event.job_id)
        if job is None:
            return
        nodes = ",".join(share.node for share in event.shares)
        for index in members(event.elements):
            since_s = job.since_s.pop(index, job.submitted.time_s)
            job.active[index] = _Attempt(event.attempt, since_s, event.time_s, nodes)

    def _requeue(self, event: JobRequeued) -> list[Span]:
        job = self._jobs.get(event.key.job_id) or self._again(event)
        if job is None:
            return []
        job.note("queued again", event.time_s, by=event.by, why=event.end.kind.value)
        index = event.key.index
        job.since_s[index] = event.time_s
        attempt = job.active.pop(index, None)
        if attempt is None:  # it had ended
            job.left += 1
            return []
        return _spans(job, index, attempt, event.time_s, event.end.kind.value)

    def _again(self, event: JobRequeued) -> _Job | None:
        """A job that was over runs once more: a further span of the same trace, below the first."""
        before = self._remembered.get(event.key.job_id)
        if before is None:
            return None
        trace_id, span_id, _ = before.trace
        job = _Job(before.submitted, Trace(trace_id, span_id_of(trace_id, "again", span_id), span_id))
        job.begin_s, job.left = event.time_s, 0
        self._jobs[event.key.job_id] = self._remembered[event.key.job_id] = job
        _keep(self._traces, event.key.job_id, job.trace)
        return job

    def _end(self, event: JobEnded) -> list[Span]:
        job = self._jobs.get(event.job_id)
        if job is None:
            return []
        error = "" if event.end.state is JobState.COMPLETED else event.end.kind.value
        job.worst = job.worst or error
        spans: list[Span] = []
        if count_of(event.elements) == 1:
            index = event.elements[0][0]
            attempt = job.active.pop(index, None)
            if attempt is not None:
                attempt.start_s = event.start_time_s if attempt.start_s is None else attempt.start_s
                spans = _spans(job, index, attempt, event.end_time_s, error)
        job.left -= count_of(event.elements)
        if not job.left:
            del self._jobs[event.job_id]
            spans.append(_root(job, event.time_s))
        return spans


def _keep(kept: OrderedDict[JobId, T], job_id: JobId, value: T) -> None:
    kept[job_id] = value
    if len(kept) > REMEMBERED_MAX:
        kept.popitem(last=False)


def _root(job: _Job, end_s: float) -> Span:
    submitted, spec = job.submitted, job.submitted.spec
    attributes: dict[str, TraceValue] = {
        "hal.job_id": submitted.job_id,
        "hal.user": submitted.owner.user,
        "hal.partition": spec.partition,
        "hal.account": spec.account,
        "hal.element_count": count_of(spec.array.indices) if spec.array else 1,
        "hal.node_count": spec.total_nodes,
        "hal.cpu_count": spec.total_cpus,
    }
    trace = job.trace
    ids = (trace.trace_id, trace.span_id, trace.parent_span_id)
    return Span(f"job {spec.name}", *ids, job.begin_s, end_s, attributes, job.worst, tuple(job.notes), job.links)


def _spans(job: _Job, index: int, attempt: _Attempt, end_s: float, error: str) -> list[Span]:
    """What an attempt went through, as far as it came."""
    trace, job_id = job.trace, job.submitted.job_id
    attributes: dict[str, TraceValue] = {"hal.job_id": job_id, "hal.index": index, "hal.attempt": attempt.attempt}
    held = attributes | {"hal.nodes": attempt.nodes}
    started_s = attempt.start_s

    def span(name: str, span_id: int, times_s: tuple[float, float], more: dict[str, TraceValue], wrong: str) -> Span:
        begin_s, over_s = times_s
        return Span(name, trace.trace_id, span_id, trace.span_id, begin_s, max(over_s, begin_s), more, wrong)

    def own_id(name: str) -> int:
        return span_id_of(trace.trace_id, name, job_id, index, attempt.attempt)

    launched_s = end_s if started_s is None else started_s
    launch_id = launch_span_id(trace.trace_id, job_id, index, attempt.attempt)
    spans = [
        span("wait", own_id("wait"), (attempt.since_s, attempt.placed_s), attributes, ""),
        span("launch", launch_id, (attempt.placed_s, launched_s), held, error if started_s is None else ""),
    ]
    if (staged := attempt.staged) is not None:
        moved = held | {"hal.bytes_moved": staged.bytes_moved, "hal.bytes_saved": staged.bytes_saved}
        spans.append(span("stage", own_id("stage"), (attempt.placed_s, staged.time_s), moved, ""))
    if started_s is None and error == EndKind.NODE_LOST.value:
        started_s = end_s  # Nobody knows; if it did, what its node tells of it hangs there.
    if started_s is not None:
        run_id = run_span_id(trace.trace_id, job_id, index, attempt.attempt)
        spans.append(span("run", run_id, (started_s, end_s), held, error))
    return spans
