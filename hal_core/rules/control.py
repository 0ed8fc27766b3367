"""What people do to jobs and nodes after submission: cancel, hold, release, requeue, suspend, resume, priority, drain.

Rights were checked where the caller is known (rest/rights.py); here only the state can say no.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hal_core.errors import NotFound, Refused, did_you_mean
from hal_core.models.event import (
    Event,
    JobCancelRequested,
    JobEnded,
    JobHeld,
    JobReleased,
    JobRequeued,
    JobResumeRequested,
    JobSuspended,
    NodeDrained,
    NodeResumed,
    PriorityChanged,
    WeightChanged,
)
from hal_core.models.job import End, EndKind, JobId, JobState
from hal_core.models.message import (
    Cancel,
    DrainNode,
    Hold,
    JobSelection,
    Release,
    Requeue,
    Resume,
    ResumeNode,
    SetPriority,
    SetWeight,
    Suspend,
)
from hal_core.models.placement import AttemptKey
from hal_core.models.plural import named
from hal_core.models.ranges import Ranges, RangeSet, count_of, members
from hal_core.rules.suspension import holders

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity, JobRecord
    from hal_core.rules.state import State

REQUEUE_MAX = 10_000
"""Elements of one array that one call may requeue: each becomes an event of its own."""


def cancel(state: State, message: Cancel, now_s: float) -> tuple[list[Event], int]:
    """Elements of which nothing was launched end at once, the others are asked to end. Ended ones are left alone.

    Also elements that are on their way to be queued again: the cancel comes last, so it counts.
    """
    record, elements = _select(state, message.selection)
    waiting = RangeSet(record.ready.intersection(elements))
    waiting.update(record.blocked.intersection(elements))
    waiting.update(_active(record, elements, lambda activity: not activity.is_launched).ranges())
    active = _active(record, elements, lambda activity: activity.is_launched and not activity.is_cancelled)
    events: list[Event] = []
    if waiting:
        end = End(EndKind.CANCELLED, by=message.by)
        for attempt, ranges in record.by_attempt(waiting):
            events.append(JobEnded(now_s, record.job_id, ranges, attempt, end, None, now_s))
    if active:
        events.append(JobCancelRequested(now_s, record.job_id, active.ranges(), message.by))
    return events, len(waiting) + len(active)


def requeue(state: State, message: Requeue, now_s: float) -> tuple[list[Event], int]:
    """Active elements are ended and queued again, ended ones are queued again; pending ones are left alone."""
    record, elements = _select(state, message.selection)
    staging = _active(record, elements, lambda activity: not activity.is_launched)
    active = _active(record, elements, lambda activity: activity.is_launched and activity.cancel is None)
    ended = {state: indices.intersection(elements) for state, indices in record.ended.items()}
    ended_count = sum(count_of(ranges) for ranges in ended.values())
    if ended_count > REQUEUE_MAX:
        text = f"{ended_count} elements of job {record.job_id} have ended; requeue at most {REQUEUE_MAX} at once"
        raise Refused(text)
    _refuse_what_may_run(state, record, [index for ranges in ended.values() for index in members(ranges)])
    events: list[Event] = []
    if active:
        events.append(JobCancelRequested(now_s, record.job_id, active.ranges(), message.by, does_requeue=True))
    for index in staging:
        end = End(EndKind.CANCELLED, by=message.by)
        events.append(JobRequeued(now_s, record.active[index].key, message.by, end))
    by_index = {index: state for state, ranges in ended.items() for index in members(ranges)}
    for index, state_then in sorted(by_index.items()):
        last = record.ends.get(index)
        end = last.end if last else _forgotten_end(state_then)
        key = AttemptKey(record.job_id, index, record.attempt_of(index))
        events.append(JobRequeued(now_s, key, message.by, end))
    return events, len(active) + len(staging) + ended_count


def _refuse_what_may_run(state: State, record: JobRecord, ended: list[int]) -> None:
    """A job that was given up with its node may still run there."""
    for node, orphans in zip(state.table.nodes, state.table.orphans, strict=True):
        if orphans and any(AttemptKey(record.job_id, index, record.attempt_of(index)) in orphans for index in ended):
            text = f"job {record.job_id} may still run on {node.name}; it can be queued again when {node.name} is back"
            raise Refused(text)


def _forgotten_end(state: JobState) -> End:
    """For an element of an array of whose end only the state was kept."""
    match state:
        case JobState.COMPLETED:
            return End(EndKind.EXITED, exit_code=0)
        case JobState.CANCELLED:
            return End(EndKind.CANCELLED)
        case JobState.TIMEOUT:
            return End(EndKind.TIME_LIMIT)
        case _:
            return End(EndKind.EXITED)


def _active(record: JobRecord, elements: Ranges, is_wanted: Callable[[Activity], bool]) -> RangeSet:
    chosen = RangeSet(elements)
    wanted = sorted(index for index, activity in record.active.items() if index in chosen and is_wanted(activity))
    return RangeSet((index, index + 1) for index in wanted)


def hold_or_release(state: State, message: Hold | Release, now_s: float) -> list[Event]:
    """Held jobs start nothing new; what runs goes on. Holding twice is one event."""
    record, _ = _select(state, message.selection)
    verb = "hold" if isinstance(message, Hold) else "release"
    if message.selection.indices is not None:
        raise Refused(f"{verb} works on a whole job: leave the indices of {record.job_id} away")
    if record.is_finished:
        raise Refused(f"job {record.job_id} has ended; there is nothing to {verb}")
    if isinstance(message, Hold):
        return [] if record.held_by else [JobHeld(now_s, record.job_id, message.by)]
    if not message.may_overrule and record.held_by not in ("", message.by, record.owner.user):
        raise Refused(f"job {record.job_id} is held by {record.held_by}; only an operator may release it")
    return [JobReleased(now_s, record.job_id, message.by)] if record.held_by else []


def suspend_or_resume(state: State, message: Suspend | Resume, now_s: float) -> tuple[list[Event], int]:
    return _suspend(state, message, now_s) if isinstance(message, Suspend) else _resume(state, message, now_s)


def _suspend(state: State, message: Suspend, now_s: float) -> tuple[list[Event], int]:
    """What runs of it stands still, also what stands still for another job already. The rest is left alone; if there is
    nothing else, the caller is told why."""
    record, elements = _select(state, message.selection)
    if record.spec.elastic_weight:
        raise Refused(f"job {record.job_id} is elastic, which gives way to others by itself; it cannot be suspended")
    chosen = _active(record, elements, lambda activity: activity.can_stand_still and not activity.is_aside)
    if not chosen:
        if not _active(record, elements, lambda activity: activity.is_aside):
            raise Refused(_nothing_to_suspend(record, elements))
        return [], 0
    for node in (state.table.nodes[number] for index in chosen for number in record.active[index].node_numbers):
        if node.executor not in message.executors:
            text = f"executor {node.executor!r} of node {node.name} cannot suspend jobs"
            raise Refused(f"job {record.job_id} cannot be suspended: {text}")
        if node.name in state.pools.offer_of:  # it is rented for as long as the job may run, and then goes
            text = f"node {node.name} is rented, and would be gone before the job goes on"
            raise Refused(f"job {record.job_id} cannot be suspended: {text}; `hal requeue {record.job_id}` makes room")
    return [JobSuspended(now_s, record.job_id, chosen.ranges(), message.by)], len(chosen)


def _nothing_to_suspend(record: JobRecord, elements: Ranges) -> str:
    active = [record.active[index] for index in record.active_among(elements)]
    if any(activity.is_ending for activity in active):
        return f"job {record.job_id} is ending already; there is nothing to suspend"
    if active:
        return f"job {record.job_id} is still starting; it can be suspended when it runs on all of its nodes"
    if record.is_finished:
        return f"job {record.job_id} has ended; there is nothing to suspend"
    return f"nothing of it runs; `hal hold {record.job_id}` keeps job {record.job_id} from starting"


def _resume(state: State, message: Resume, now_s: float) -> tuple[list[Event], int]:
    """What a person suspended is to go on. It does as soon as it has its CPUs back."""
    record, elements = _select(state, message.selection)
    chosen = _active(record, elements, lambda activity: activity.is_aside and not activity.is_ending)
    if chosen:
        return [JobResumeRequested(now_s, record.job_id, chosen.ranges(), message.by)], len(chosen)
    still = _active(record, elements, lambda activity: activity.suspend_time_s is not None and not activity.is_ending)
    if still:
        others = {job_id: None for index in still for job_id in holders(state, record.active[index])}
        names = named("job", [str(job_id) for job_id in others])
        raise Refused(f"job {record.job_id} goes on by itself after {names}; nobody keeps it suspended")
    verb = "has ended" if record.is_finished else "is not suspended"
    raise Refused(f"job {record.job_id} {verb}; there is nothing to resume")


def set_priority_or_weight(state: State, message: SetPriority | SetWeight, now_s: float) -> list[Event]:
    record, _ = _select(state, JobSelection(message.job_id))
    if record.is_finished:
        what = "priority" if isinstance(message, SetPriority) else "weight"
        raise Refused(f"job {record.job_id} has ended; its {what} means nothing any more")
    if isinstance(message, SetPriority):
        is_news = record.priority != message.priority
        return [PriorityChanged(now_s, record.job_id, message.priority, message.by)] if is_news else []
    if not record.elastic_weight:
        raise Refused(f"job {record.job_id} is not elastic, so it has no weight; it was submitted without --elastic")
    is_news = record.elastic_weight != message.weight
    return [WeightChanged(now_s, record.job_id, message.weight, message.by)] if is_news else []


def drain_or_resume(state: State, message: DrainNode | ResumeNode, now_s: float) -> list[Event]:
    """A drained node finishes what runs there and gets nothing new."""
    number = state.table.number_of.get(message.node)
    if number is None:
        names = list(state.table.number_of)
        raise NotFound(f"no node named {message.node!r}{did_you_mean(message.node, names)}")
    if isinstance(message, DrainNode):
        if state.table.drain[number] == (message.reason, message.by):
            return []
        return [NodeDrained(now_s, message.node, message.reason, message.by)]
    return [] if state.table.drain[number] is None else [NodeResumed(now_s, message.node, message.by)]


def _select(state: State, selection: JobSelection) -> tuple[JobRecord, Ranges]:
    """The record and the selected elements, all of which exist."""
    record = state.find(selection.job_id)
    if record is None:
        raise NotFound(_no_job(state, selection.job_id))
    if selection.indices is None:
        return record, record.elements
    if not record.is_array:
        raise Refused(f"job {record.job_id} is not an array: leave the index away")
    inside = RangeSet(record.elements).intersection(selection.indices)
    if count_of(inside) != count_of(selection.indices):
        raise NotFound(f"job {record.job_id} has no such elements; its indices are {RangeSet(record.elements)!r}")
    return record, inside


def _no_job(state: State, job_id: JobId) -> str:
    if job_id in state.completed_ids or job_id in state.failed_ids:
        return f"job {job_id} ended long ago; `hal history` has it"
    return f"there is no job {job_id}"
