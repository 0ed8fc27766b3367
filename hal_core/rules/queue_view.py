"""Pages of the queue and of a job array. Pure, and bounded: one call looks at a bounded number of records.

Order of the queue: running jobs by id, then pending ones as the engine sees them, then the held and blocked by id, then
(if final states are asked for) those that ended last, latest first. A position names the last job that was looked at,
so that a page can go on although the state has changed meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

import attrs

from hal_core.models.job import FINAL, JobId, JobState
from hal_core.models.ranges import Ranges, RangeSet, format_ranges
from hal_core.rules.views import ElementView, JobView, attempts_made, element_view, job_view
from hal_core.rules.waiting import Waiting

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.pending_queue import PendingQueue, Rank
    from hal_core.rules.state import State

SCAN_MAX = 5_000
"""Records that one call looks at: a few milliseconds."""
UNFINISHED = frozenset(set(JobState) - FINAL)

RUNNING, PENDING, WAITING, ENDED = range(4)


@attrs.frozen
class QueueFilters:
    """Which jobs to list; an empty set of names matches all.

    A job matches `states` if any of its elements is in one of them; final states are for jobs that ended as a whole.
    """

    states: frozenset[JobState] = UNFINISHED
    users: frozenset[str] = frozenset()
    partitions: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


@attrs.frozen
class QueuePosition:
    """After this job. `tier` and `value` are its rank in the queue; they count in the pending part only."""

    part: int = RUNNING
    job_id: int = 0
    tier: int = 0
    value: int | float = 0


@attrs.frozen
class QueuePart:
    """Some jobs, and where to go on (None: that was all)."""

    jobs: list[JobView]
    next: QueuePosition | None


def queue_part(state: State, filters: QueueFilters, after: QueuePosition, limit: int, waiting: Waiting) -> QueuePart:
    """Up to `limit` matching jobs behind `after`; fewer, even none, if SCAN_MAX records were looked at."""
    found: list[JobView] = []
    position = after
    for record, position in islice(_records(state, filters, after), SCAN_MAX):
        if _matches(record, filters):
            found.append(job_view(record, waiting))
            if len(found) == limit:
                return QueuePart(found, position)
        # else: looked at, and never again
    is_all = position is after or next(_records(state, filters, position), None) is None
    return QueuePart(found, None if is_all else position)


def _records(state: State, filters: QueueFilters, after: QueuePosition) -> Iterator[tuple[JobRecord, QueuePosition]]:
    """All records behind `after` that may match, in order, each with its position."""
    owned = _owned(state, filters)
    if owned is not None:
        yield from _among(owned, state.queue, filters, after)
    else:
        if after.part == RUNNING and filters.states & UNFINISHED:
            running = sorted({job_id for job_id, _ in state.allocations})
            for job_id in running[bisect_right(running, after.job_id) :]:
                yield state.jobs[job_id], QueuePosition(RUNNING, job_id)
        if JobState.PENDING in filters.states:
            yield from _pending(state, after)
    if filters.states & FINAL:
        yield from _ended(state, after)


def _owned(state: State, filters: QueueFilters) -> list[JobRecord] | None:
    """The unfinished jobs of the users asked for, if they are few enough to be sorted each time."""
    sets = [state.owned.of_user(user) for user in filters.users]
    if not sets or sum(map(len, sets)) > SCAN_MAX:
        return None
    return [state.jobs[job_id] for ids in sets for job_id in ids]


def _among(
    records: list[JobRecord], queue: PendingQueue, filters: QueueFilters, after: QueuePosition
) -> Iterator[tuple[JobRecord, QueuePosition]]:
    """The same order as that of a walk through everything, for some records."""
    behind = (after.part, (after.tier, after.value, after.job_id))
    found = [(key, record) for record in records if (key := _key(queue, record)) > behind]
    found.sort(key=itemgetter(0))
    for (part, (tier, value, job_id)), record in found:
        if part == RUNNING or JobState.PENDING in filters.states:
            yield record, QueuePosition(part, job_id, tier, value)


def _key(queue: PendingQueue, record: JobRecord) -> tuple[int, Rank]:
    """(part, rank) of an unfinished job: ascending order is the order of the list."""
    rank = None if record.active else queue.rank_of(record)
    if rank is not None:
        return PENDING, rank
    return RUNNING if record.active else WAITING, (0, 0, record.job_id)


def _pending(state: State, after: QueuePosition) -> Iterator[tuple[JobRecord, QueuePosition]]:
    """Jobs of which nothing runs: first those that may start, then the held and blocked."""
    if after.part <= PENDING:
        behind = (after.tier, after.value, JobId(after.job_id)) if after.part == PENDING else None
        for tier, value, job_id in state.queue.ranks(behind):
            if not state.jobs[job_id].active:
                yield state.jobs[job_id], QueuePosition(PENDING, job_id, tier, value)
    if after.part <= WAITING:
        ids = list(state.jobs)
        at = bisect_right(ids, after.job_id) if after.part == WAITING else 0
        for job_id in islice(ids, at, None):
            record = state.jobs[job_id]
            if not record.is_queued and not record.active:
                yield record, QueuePosition(WAITING, job_id)


def _ended(state: State, after: QueuePosition) -> Iterator[tuple[JobRecord, QueuePosition]]:
    """The latest ends first. A position that has left memory was among the oldest: nothing is behind it."""
    if after.part == ENDED and after.job_id not in state.recent:
        return
    is_behind = after.part != ENDED
    for job_id in reversed(state.recent):
        if is_behind:
            yield state.recent[job_id], QueuePosition(ENDED, job_id)
        is_behind = is_behind or job_id == after.job_id


def _matches(record: JobRecord, filters: QueueFilters) -> bool:
    spec = record.spec
    return (
        (not filters.users or record.owner.user in filters.users)
        and (not filters.partitions or spec.partition in filters.partitions)
        and (not filters.names or spec.name in filters.names)
        and (
            (filters.states is UNFINISHED and not record.is_finished)
            or any(_has_state(record, state) for state in filters.states)
        )
    )


def _has_state(record: JobRecord, state: JobState) -> bool:
    if state is JobState.PENDING:
        return record.pending_count > 0
    if state in FINAL:
        return record.is_finished and bool(record.ended.get(state))
    return any(activity.state is state for activity in record.active.values())


def queue_counts(state: State) -> dict[str, int]:
    """Elements of all jobs known, by state."""
    counts: dict[str, int] = {}
    if state.pending_count:
        counts["PENDING"] = state.pending_count
    for activity in state.allocations.values():
        name = activity.state.value
        counts[name] = counts.get(name, 0) + 1
    for ended, count in state.ended_counts.items():
        if count:
            counts[ended.value] = count
    return counts


@attrs.frozen
class ElementsPart:
    """Entries in ascending order of index, and the index to go on from (None: that was all)."""

    elements: list[ElementView]
    next: int | None


def elements_part(
    record: JobRecord, states: frozenset[JobState], first: int, limit: int, does_show_private: bool
) -> ElementsPart:
    """Elements from index `first` on. Those of which nothing but the state is known are joined to ranges."""
    found: list[ElementView] = []
    pieces = merge(*(_pieces(ranges, state, first) for state, ranges in _sets(record, states)))
    for start, stop, state in pieces:
        if len(found) == limit:
            return ElementsPart(found, start)
        index_known = start in record.active or start in record.ends
        if index_known or (stop == start + 1 and start in record.attempts):
            found.append(element_view(record, start, does_show_private))
            continue
        found.append(
            ElementView(
                indices=format_ranges(((start, stop),)),
                count=stop - start,
                state=JobState(state),
                attempt=attempts_made(record, start, JobState(state)),
            )
        )
    return ElementsPart(found, None)


def _pieces(ranges: Iterable[tuple[int, int]], state: JobState, first: int) -> Iterator[tuple[int, int, str]]:
    for start, stop in ranges:
        if stop > first:
            yield max(start, first), stop, state.value


def _sets(record: JobRecord, states: frozenset[JobState]) -> Iterator[tuple[JobState, Ranges]]:
    """Disjoint sets of elements by state; an element that has an entry of its own is a range of one."""
    single = [*record.ends, *record.attempts]
    by_state: dict[JobState, list[int]] = {}
    for index, activity in record.active.items():
        by_state.setdefault(activity.state, []).append(index)
    for state, indices in by_state.items():
        if state in states:
            yield state, tuple((index, index + 1) for index in sorted(indices))
    pending = record.ready.copy()
    pending.update(record.blocked.ranges())
    for state, elements in ((JobState.PENDING, pending), *record.ended.items()):
        if state in states and elements:
            yield state, _split(elements, single)


def _split(elements: RangeSet, single: list[int]) -> Ranges:
    """The ranges of `elements`, with those of `single` that are in it cut out as ranges of one."""
    own = sorted(index for index in set(single) if index in elements)
    if not own:
        return elements.ranges()
    rest = elements.copy()
    for index in own:
        rest.discard(index)
    return tuple(sorted((*rest.ranges(), *((index, index + 1) for index in own))))
