"""Turn a plan into events. Nothing an engine proposes is believed: a start that does not fit is refused, with a reason.

Guarantee: no device, byte of memory, generic resource or licence is given twice; a gang has all its nodes or none; only
jobs that may start are started, no array runs more elements than its throttle, no limit is exceeded, and none runs into
a reservation. Ranks follow the topology, whatever order the engine gave the nodes in.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.component import Component
from hal_core.models.event import Event, JobPlaced, JobSuspended, Planned, VariantChosen
from hal_core.models.job import JobSpec
from hal_core.models.masks import mask_of
from hal_core.models.plan import Plan, Preempt, Start
from hal_core.models.ranges import Ranges, members, runs_of
from hal_core.models.reservation import ALL_NODES
from hal_core.rules.limits import RunningQuota
from hal_core.rules.piles import Piles
from hal_core.rules.preemption import PREEMPTED_BY, PreemptionCheck, Victims
from hal_core.rules.suspension import lendable, resumes

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State


NO_CPUS: Final[Mapping[int, int]] = {}


@attrs.frozen
class RefusedStart:
    """A start that was not accepted, and why."""

    start: Start
    reason: str


def commit(state: State, plan: Plan, engine: str, now_s: float) -> tuple[list[Event], list[RefusedStart]]:
    """Apply to the state what holds of the plan. Returns the events, already applied, and what was refused."""
    sequence = state.sequence
    events: list[Event] = []
    refused: list[RefusedStart] = []
    chosen = _choose(state, plan, now_s)
    limits = state.limits
    quota = RunningQuota(limits, state.ledger, state.jobs, now_s) if limits.is_active and plan.starts else None
    for start in plan.starts:
        reason = refusal(state, start, now_s) or _limit(state, quota, start)
        if reason:
            refused.append(RefusedStart(start, reason))
            continue
        for event in _placements(state, start, now_s):
            state.apply(event)
            events.append(event)
    for each in plan.preempts:
        if each.node_numbers:
            events += _suspend(state, each, now_s)
    preempts = _preempt(state, plan, now_s)
    promises = {reserve.job_id: reserve for reserve in plan.reserves}  # one for each job, whatever the engine says
    for each in plan.preempts:
        if each.node_numbers and each.job_id in state.jobs and not state.jobs[each.job_id].pending_count:
            promises.pop(each.job_id, None)  # it has started
    reserves = tuple((reserve.job_id, float(reserve.start_time_s)) for reserve in promises.values())
    is_as_before = reserves == state.reserves and promises == state.promises and plan.grants == state.grants
    if events or preempts or refused or chosen or not is_as_before:
        start_count = sum(isinstance(event, JobPlaced) for event in events)
        nodes = tuple(runs_of(reserve.node_numbers) for reserve in promises.values())
        planned = Planned(now_s, engine, sequence, plan.depth, start_count, len(refused), reserves, nodes, plan.grants)
        state.apply(planned)
        events.append(planned)
    for each_end in preempts:  # after the plan that they are a part of: what they leave was not in it
        state.apply(each_end)
    resumed = list(resumes(state, now_s)) if state.suspended else []
    for each_resumed in resumed:
        state.apply(each_resumed)
    return [*chosen, *events, *preempts, *resumed], refused


def _choose(state: State, plan: Plan, now_s: float) -> list[Event]:
    """Let jobs be of the variants that they are planned in. What does not hold is dropped, and with it their starts."""
    events: list[Event] = []
    for choice in plan.choices:
        record = state.jobs.get(choice.job_id)
        is_free = record is not None and record.is_queued and not record.active and not record.is_bound
        if record is not None and is_free and 0 <= choice.variant < len(record.spec.variants):
            ends_s = (each if math.isfinite(each) else None for each in (choice.expected_end_s, choice.otherwise_s))
            amounts = record.spec.variants[choice.variant]
            event = VariantChosen(now_s, choice.job_id, choice.variant, amounts, *ends_s)
            state.apply(event)
            events.append(event)
    return events


def _suspend(state: State, preempt: Preempt, now_s: float) -> list[Event]:
    """Suspend the victims and start an element of the job, at once or not at all. What does not hold is dropped."""
    record = state.jobs.get(preempt.job_id)
    if record is None or record.spec.components:
        return []
    victims = [state.allocations[key] for key in set(preempt.victims) if key in state.allocations]
    rules = Victims(state, now_s)
    if not victims or len(victims) < len(preempt.victims) or not all(rules.may_lend(each, record) for each in victims):
        return []
    lent = lendable(victims, Piles(state))
    start = Start(preempt.job_id, preempt.node_numbers)
    quota = RunningQuota(state.limits, state.ledger, state.jobs, now_s) if state.limits.is_active else None
    if refusal(state, start, now_s, lent) or _limit(state, quota, start):
        return []
    events: list[Event] = []
    for job_id, index in preempt.victims:
        if (job_id, index) not in state.suspended:
            suspended = JobSuspended(now_s, job_id, ((index, index + 1),), PREEMPTED_BY, preempt.job_id)
            state.apply(suspended)
            events.append(suspended)
    for placed in _placements(state, start, now_s, lent):
        state.apply(placed)
        events.append(placed)
    return events


def _preempt(state: State, plan: Plan, now_s: float) -> list[Event]:
    """Ask victims to end. What does not hold is dropped: the next pass may know better."""
    if not plan.preempts:
        return []
    check = PreemptionCheck(state, now_s)
    accepted = [
        each
        for each in plan.preempts
        if not each.node_numbers
        and each.job_id in state.jobs
        and not check.refusal(each, _permitted(state, state.jobs[each.job_id], now_s))
    ]
    return [event for preempt in accepted for event in check.events(preempt)]


def refusal(state: State, start: Start, now_s: float, lent: Mapping[int, int] = NO_CPUS) -> str:
    """Why the start cannot be; the empty string if it can. `lent`: CPUs that suspended elements lend, by node number,
    as bits."""
    record = state.jobs.get(start.job_id)
    if record is None:
        return "no such unfinished job"
    shape = record.shape
    if not 0 < start.element_count <= record.startable_count:
        return f"{start.element_count} elements asked, {record.startable_count} may start"
    if record.spec.begin_time_s > now_s:
        return "its begin time has not come"
    numbers = start.node_numbers
    if len(numbers) != shape.total_nodes or len(set(numbers)) != len(numbers):
        return f"{shape.total_nodes} different nodes are needed, {len(set(numbers))} given"
    if start.element_count > 1 and len(numbers) > 1:
        return "elements of a gang start one by one"
    allowed = state.partition_numbers.get(shape.partition, [])
    permitted = _permitted(state, record, now_s)
    for number in numbers:
        at = bisect_left(allowed, number)
        if at == len(allowed) or allowed[at] != number:
            return f"node number {number} is not in partition {shape.partition}"
        if not permitted >> number & 1:
            return f"{state.table.nodes[number].name} is reserved before its limit, or is not in its reservation"
    for part, its in shape.assigned(numbers):
        for number in its:
            if state.table.room_count(number, part, lent.get(number, 0)) < start.element_count:
                return f"{state.table.nodes[number].name} has no room for {start.element_count}"
    lack = state.limits.licences.lack(shape, start.element_count)
    if lack:
        return lack
    if not state.packing.ask(shape).is_allowed(mask_of(numbers)):
        return f"it must be in one {shape.level} {shape.domain}".rstrip()
    return ""


def _limit(state: State, quota: RunningQuota | None, start: Start) -> str:
    """Which limit the start would exceed, beside what of this plan has been applied already."""
    left = start.element_count if quota is None else quota.count(state.jobs[start.job_id])
    if quota is None or left >= start.element_count:
        return ""
    hit = quota.hit(state.jobs[start.job_id])
    return hit.text if hit is not None else f"limits leave {left} of it"


def _permitted(state: State, record: JobRecord, now_s: float) -> int:
    """The nodes that reservations leave to the job, as bits."""
    holds, spec = state.reservations.holds, record.spec
    if not holds and not spec.reservation:
        return ALL_NODES
    reservation = state.reservations.by_name.get(spec.reservation)
    if spec.reservation and (reservation is None or not reservation.admits(record.owner.user, spec.account)):
        return 0
    limit_s = math.inf if spec.walltime_s is None else spec.walltime_s
    return holds.nodes(spec.reservation, limit_s, now_s, record.job_id)


def _placements(state: State, start: Start, now_s: float, lent: Mapping[int, int] = NO_CPUS) -> Iterator[JobPlaced]:
    """One event for elements of equal attempt. The state must have applied each before the next is made."""
    record = state.jobs[start.job_id]
    domains = state.packing.domains
    placed = [
        (part, spec, its if domains is None else domains.ordered(its))
        for (part, its), spec in zip(record.shape.assigned(start.node_numbers), record.spec.parts, strict=True)
    ]
    for attempt, elements in _by_attempt(record, record.ready.first(start.element_count)):
        count = sum(stop - first for first, stop in elements)
        shares = tuple(
            state.table.choose(number, part, task_count_at(spec, rank), count, lent.get(number, 0))
            for part, spec, its in placed
            for rank, number in enumerate(its)
        )
        yield JobPlaced(now_s, record.job_id, attempt, elements, shares)


def _by_attempt(record: JobRecord, elements: Ranges) -> Iterator[tuple[int, Ranges]]:
    if not record.attempts:
        yield 1, elements
        return
    for index in members(elements):
        yield record.attempt_of(index), ((index, index + 1),)


def task_count_at(spec: JobSpec | Component, rank: int) -> int:
    """Tasks on the component's node of that rank: in blocks, the first nodes have one more where it does not divide."""
    each, rest = divmod(spec.task_count, spec.node_count)
    return each + (1 if rank < rest else 0)
