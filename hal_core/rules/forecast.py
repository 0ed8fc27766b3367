"""Run the engine forward on a copy of the state: when would this job start if nothing else came in?

Running jobs are taken to end when they are expected to: at their limit, unless a predictor knows better. The copy holds
the nodes, all that runs, the job asked about and what stands before it in the queue (up to AHEAD_MAX jobs), so it costs
little however long the queue is. Pure: the copy is made while the state stands still (`excerpt`); the rest can run
anywhere, for as long as it needs.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Protocol

import attrs

from hal_core.models.event import JobEnded, JobRequeued, JobSubmitted
from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner
from hal_core.models.node import NodeName
from hal_core.rules.commit import commit
from hal_core.rules.dump import dump_state
from hal_core.rules.state import State

if TYPE_CHECKING:
    from hal_core.models.plan import Plan, Snapshot

AHEAD_MAX = 500
PASSES_MAX = 2_000


class Engine(Protocol):
    """planes.Engine, as far as rules may know it."""

    def plan(self, snapshot: Snapshot) -> Plan: ...


@attrs.frozen
class Forecast:
    """When and where the job would start; None and the reason if that cannot be said."""

    start_time_s: float | None
    nodes: tuple[NodeName, ...] = ()
    why_not: str = ""


@attrs.frozen
class Excerpt:
    """A part of the state, as bytes, with one job to ask about."""

    content: bytes
    job_id: JobId
    is_whole: bool
    """Nothing that stands before the job was left out."""


def excerpt(state: State, job_id: JobId | None = None) -> Excerpt:
    """The part of the state that decides when the job starts; without a job, when one that comes next would."""
    ahead: list[JobId] = []
    for other in state.queue:
        if other == job_id or len(ahead) == AHEAD_MAX:
            break
        ahead.append(other)
    kept = {*ahead, *(running for running, _ in state.allocations)}
    if job_id is not None:
        kept.add(job_id)
    asked = JobId(state.next_job_id) if job_id is None else job_id
    return Excerpt(dump_state(state, kept), asked, is_whole=len(ahead) < AHEAD_MAX)


def with_submission(part: Excerpt, owner: Owner, spec: JobSpec, now_s: float) -> Excerpt:
    """As if the job had just been submitted: for a dry run."""
    state = State.load(part.content)
    state.apply(JobSubmitted(now_s, part.job_id, "", owner, spec))
    return attrs.evolve(part, content=state.dump())


def forecast(part: Excerpt, engine: Engine, now_s: float, spec: JobSpec | None = None) -> Forecast:
    """Plan, let the next job end, plan again, until the job starts. `spec` replaces what the job asks for."""
    state = State.load(part.content)
    if spec is not None:
        _replace(state, part.job_id, spec)
    record = state.jobs.get(part.job_id)
    if record is None:
        return Forecast(None, why_not="it has ended")
    if record.held_by:
        return Forecast(None, why_not=f"it is held by {record.held_by}")
    if not record.is_met:
        return Forecast(None, why_not="it waits for other jobs")
    return _run(state, part.job_id, engine, max(now_s, record.spec.begin_time_s))


def _run(state: State, job_id: JobId, engine: Engine, now_s: float) -> Forecast:
    record = state.jobs[job_id]
    had = set(record.active)
    ends: list[tuple[float, JobId, int, int]] = []
    seen: dict[tuple[JobId, int, int], float] = {}
    for _ in range(PASSES_MAX):
        commit(state, engine.plan(state.snapshot(now_s)), "forecast", now_s)
        new = [activity for index, activity in record.active.items() if index not in had]
        if new:
            return Forecast(now_s, tuple(share.node for share in new[0].shares))
        for (other, index), activity in state.allocations.items():
            end_s = activity.expected_end_s(now_s)
            if end_s < seen.get(activity.key, math.inf):
                seen[activity.key] = end_s
                heapq.heappush(ends, (end_s, other, index, activity.attempt))
        edge_s = state.reservations.holds.next_edge_s(now_s)
        if not ends and edge_s == math.inf:
            return Forecast(None, why_not=_never(state))
        now_s = min(edge_s, ends[0][0]) if ends else edge_s
        while ends and ends[0][0] <= now_s:
            _end(state, *heapq.heappop(ends))
    return Forecast(None, why_not=f"it is more than {PASSES_MAX} ends of other jobs away")


def _never(state: State) -> str:
    if any(activity.record.expected_s == math.inf for activity in state.allocations.values()):
        return "it waits for jobs that have no time limit"
    return "no set of the nodes that are up has what it asks for"


def _end(state: State, time_s: float, job_id: JobId, index: int, attempt: int) -> None:
    activity = state.allocations.get((job_id, index))
    if activity is None or activity.attempt != attempt:
        return  # it was preempted before
    if activity.cancel is not None and activity.cancel[1]:
        state.apply(JobRequeued(time_s, activity.key, activity.cancel[0], End(EndKind.CANCELLED)))
        return
    end = End(EndKind.EXITED, exit_code=0)
    elements = ((index, index + 1),)
    state.apply(JobEnded(time_s, job_id, elements, activity.attempt, end, activity.begin_time_s, time_s))


def _replace(state: State, job_id: JobId, spec: JobSpec) -> None:
    """Let the job ask for something else. Only ever done to a copy."""
    record = state.jobs[job_id]
    state.queue.remove(record)
    record.spec, record.shape, record.row = spec, spec.shape(), None
    state.queue.update(record)
