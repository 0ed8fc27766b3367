"""Suspended elements: whose CPUs they lend, when they have them back, and what an engine sees of that. Pure.

A suspended element keeps its allocation. Only its CPUs are lent, and only to the job that it was suspended for: they
never count as free, so nobody else is started on them, and it goes on before anybody else can. A borrower can be
suspended itself and lend what it has borrowed. So on each CPU of a node stands a pile of elements in the order of their
placement, of which all but the last are suspended.

What a person suspends steps aside: it is on no pile, and its CPUs are free for anybody. When it is to go on it comes
under all who are on them, and so waits for these and goes before all who come later.

Memory, GPUs, generic resources and licences are not lent: a process that stands still has its memory and its GPU's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.event import JobResumed, JobResumeRequested, JobSuspended
from hal_core.models.job import JobId, Shape
from hal_core.models.plan import RunningJob
from hal_core.models.ranges import Ranges, RangeSet, members
from hal_core.rules.node_table import mask_of
from hal_core.rules.piles import Piles, cpus_on

if TYPE_CHECKING:
    from hal_core.models.placement import Share
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State

Key = tuple[JobId, int]
RESUMED_BY: Final = "hal"


def apply(state: State, event: JobSuspended | JobResumed | JobResumeRequested) -> None:
    """Called by State alone, as are the next."""
    active = state.jobs[event.job_id].active
    activities = [active[index] for index in members(event.elements)]
    if isinstance(event, JobResumeRequested):
        _come_back(state, activities)
        return
    for activity in activities:
        if isinstance(event, JobResumed) or activity.suspend_time_s is not None:
            go_on(state, activity)
        if isinstance(event, JobSuspended):
            _stand_still(state, activity, event)
    if isinstance(event, JobSuspended) and event.suspended_for is None:
        _step_aside(state, activities)


def _stand_still(state: State, activity: Activity, event: JobSuspended) -> None:
    activity.suspend(event)
    state.suspended[event.job_id, activity.index] = activity
    state.ledger.hold_still(activity, event.time_s, 1)
    state.limits.hold_still(activity, event.time_s, 1)


def _step_aside(state: State, activities: list[Activity]) -> None:
    """Off their piles: what nobody else on these has is free."""
    left: dict[int, int] = {}
    for activity in activities:
        _count_aside(state, activity, 1)
        for number, share in zip(activity.node_numbers, activity.shares, strict=True):
            left[number] = left.get(number, 0) | mask_of(share.cpus)
    for number, cpus in left.items():
        state.table.free(number, cpus & ~_held_on(state, number))
    state.has_released = True


def _come_back(state: State, activities: list[Activity]) -> None:
    """Under all who are on their CPUs now, also those that were placed before them."""
    for activity in activities:
        if activity.is_aside:
            _count_aside(state, activity, -1)
        activity.is_aside = False
        for number in activity.node_numbers:
            state.table.hold(number, cpus_on(activity, number))
    first = {(activity.record.job_id, activity.index): activity for activity in activities}
    nodes = {share.node for activity in activities for share in activity.shares}
    for each in (state.allocations, state.suspended, *(state.on_node[node] for node in nodes)):
        _to_front(each, first)
    state.has_released = True  # and others have less room than was thought: their promises are to be made anew


def _to_front(activities: dict[Key, Activity], first: dict[Key, Activity]) -> None:
    """Those that are among them come before all others."""
    rest = {key: activity for key, activity in activities.items() if key not in first}
    moved = {key: activity for key, activity in first.items() if key in activities}
    activities.clear()
    activities.update(moved | rest)


def hold(state: State, activity: Activity, is_restored: bool) -> None:
    """It takes its shares of its nodes, CPUs that are lent included. If it is suspended, a dump has it so."""
    if activity.suspend_time_s is not None:
        state.suspended[activity.record.job_id, activity.index] = activity
        state.limits.hold_still(activity, activity.suspend_time_s, 1)
    if activity.is_aside:
        _count_aside(state, activity, 1)
    for number, share in zip(activity.node_numbers, _held(activity), strict=True):
        state.table.allocate(share, is_restored, lent_cpus(state, number) if state.suspended else 0)


def _held(activity: Activity) -> tuple[Share, ...]:
    """What it keeps from others of each of its nodes."""
    return tuple(attrs.evolve(share, cpus="") for share in activity.shares) if activity.is_aside else activity.shares


def release(state: State, activity: Activity) -> None:
    """It is over, and gives its shares back, but for what others on the same pile hold."""
    has_piles, shares = bool(state.suspended), _held(activity)
    if activity.suspend_time_s is not None:
        go_on(state, activity)
    for number, share in zip(activity.node_numbers, shares, strict=True):
        state.table.release(share, _held_on(state, number, activity) if has_piles else 0)


def go_on(state: State, activity: Activity) -> None:
    """It stands still no more, or is over."""
    assert activity.suspend_time_s is not None, f"{activity.key} is not suspended"
    time_s = max(state.time_s, activity.suspend_time_s)
    del state.suspended[activity.record.job_id, activity.index]
    state.ledger.hold_still(activity, time_s, -1)
    state.limits.hold_still(activity, time_s, -1)
    if activity.is_aside:
        _count_aside(state, activity, -1)
    activity.go_on(time_s)


def _count_aside(state: State, activity: Activity, sign: int) -> None:
    for number in activity.node_numbers:
        state.table.count_aside(number, sign)


def holders(state: State, activity: Activity, piles: Piles | None = None) -> list[JobId]:
    """The jobs that have some of its CPUs while it stands still."""
    return list(dict.fromkeys(other.record.job_id for other in (piles or Piles(state)).above(activity)))


def holders_of(state: State, job_id: JobId, indices: Ranges | None) -> list[JobId]:
    """The same of all elements of a job, or of some, that are to go on."""
    record, piles = state.jobs.get(job_id), Piles(state)
    still = [each for each in record.active.values() if each.suspend_time_s is not None] if record else []
    asked = None if indices is None else RangeSet(indices)
    chosen = [each for each in still if not each.is_aside and (asked is None or each.index in asked)]
    return list(dict.fromkeys(other for each in chosen for other in holders(state, each, piles)))


def lendable(activities: Iterable[Activity], piles: Piles) -> dict[int, int]:
    """By node number: the CPUs that nobody runs on once these elements are suspended, as bits."""
    found: dict[int, int] = {}
    for activity in activities:
        for number in activity.node_numbers:
            is_still = activity.suspend_time_s is not None
            cpus = piles.top_cpus(activity, number) if is_still else cpus_on(activity, number)
            found[number] = found.get(number, 0) | cpus
    return found


def lent_shape(activity: Activity, piles: Piles) -> Shape | None:
    """What it, of one component, can lend on each of its nodes now; None if on some there is nothing."""
    count = min(cpus.bit_count() for cpus in lendable([activity], piles).values())
    shape = activity.record.shape
    return Shape(shape.partition, shape.node_count, count, 0) if count else None


def lent_cpus(state: State, number: int) -> int:
    """The CPUs of a node that suspended elements hold and nobody else, as bits."""
    lent, used = 0, 0
    for activity in state.on_node.get(state.table.nodes[number].name, {}).values():
        if activity.suspend_time_s is None:
            used |= cpus_on(activity, number)
        elif not activity.is_aside:
            lent |= cpus_on(activity, number)
    return lent & ~used


def _held_on(state: State, number: int, but: Activity | None = None) -> int:
    """The CPUs of a node that elements hold, all or all but one, as bits."""
    found = 0
    for other in state.on_node[state.table.nodes[number].name].values():
        if other is not but and not other.is_aside:
            found |= cpus_on(other, number)
    return found


def resumes(state: State, now_s: float) -> Iterator[JobResumed]:
    """Suspended elements that have all their CPUs back. What is to end needs no more to go on."""
    piles = Piles(state)
    for activity in list(state.suspended.values()):
        if activity.is_aside or activity.is_ending:
            continue
        if not piles.is_covered(activity):
            index = activity.index
            yield JobResumed(now_s, activity.record.job_id, ((index, index + 1),), RESUMED_BY)


def running_rows(state: State, rows: Sequence[RunningJob], now_s: float) -> list[RunningJob]:
    """The rows of running elements with what is lent: who has borrowed gives back only what is its own, and who lends
    ends later by as long as it still has to wait. So what is free, and what all give back, is the whole cluster. Nobody
    knows when who is aside will end; its CPUs are free."""
    ends = {(row.job_id, row.index): (row.end_time_s, row.expected_end_s) for row in rows}
    own_of: dict[Key, dict[int, int]] = {}
    piles = Piles(state)
    for key in reversed(state.suspended):  # who borrows comes before whom it borrows from
        activity = state.suspended[key]
        if activity.is_aside:
            continue
        others = {(other.record.job_id, other.index): other for other in piles.above(activity)}
        own_of.update((each, piles.own_cpus(other)) for each, other in others.items() if each not in own_of)
        wait_s, expected_wait_s = (
            max([0.0, *(ends[other][at] - now_s for other in others if other in ends)]) for at in (0, 1)
        )
        ends[key] = ends[key][0] + wait_s, ends[key][1] + expected_wait_s
    found: list[RunningJob] = []
    for row in rows:
        row_key = (row.job_id, row.index)
        if row_key in state.suspended and state.suspended[row_key].is_aside:
            row = attrs.evolve(row, shape=row.shape.without_cpus(), end_time_s=math.inf, expected_end_s=math.inf)
        elif row_key in state.suspended:
            row = attrs.evolve(row, end_time_s=ends[row_key][0], expected_end_s=ends[row_key][1])
        found += _split(row, own_of[row_key]) if row_key in own_of else (row,)
    found.sort(key=_order)
    return found


def _split(row: RunningJob, own: dict[int, int]) -> Iterator[RunningJob]:
    """Of each component a row for all nodes where nothing is borrowed, and one for each number of CPUs that is its own
    elsewhere."""
    licences = row.shape.licences  # of the whole element
    for part, its in row.shape.assigned(row.node_numbers):
        groups: dict[int, list[int]] = {}
        for number in its:
            groups.setdefault(own.get(number, part.cpus), []).append(number)
        for cpus, numbers in groups.items():
            shape = attrs.evolve(part, cpus=cpus, licences=licences)
            yield attrs.evolve(row, shape=shape, node_numbers=tuple(numbers))
            licences = ()


def _order(row: RunningJob) -> tuple[float, JobId, int]:
    return row.expected_end_s, row.job_id, row.index
