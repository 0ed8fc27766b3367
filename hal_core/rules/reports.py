"""What nodes report: parts that started and ended, nodes that come, fall silent and are given up.

Reports may be lost, doubled, late and out of order. Each is compared with what the state knows of exactly that
attempt; a report about anything else leads to OrphanFound, upon which the node ends or forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING

import attrs

from hal_core.errors import NotFound, Refused, did_you_mean
from hal_core.models.event import (
    Event,
    IdleFound,
    InputsStaged,
    JobEnded,
    JobRequeued,
    NodeDrained,
    NodeJoined,
    NodeSuspected,
    NodeWentDown,
    OrphanFound,
    PartEnded,
    PartStarted,
)
from hal_core.models.job import End, EndKind
from hal_core.models.message import (
    AllocationIdle,
    ClockSet,
    NodeLost,
    NodeReported,
    NodeSilent,
    PartsChanged,
    PartStatus,
    StagingDone,
    StagingFailed,
)
from hal_core.models.node import Node, NodeName, NodeStatus
from hal_core.models.placement import AttemptKey
from hal_core.models.plural import plural
from hal_core.rules import pool_nodes
from hal_core.rules.leaving import BY as CLOUD

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State


ATTEMPTS_MAX = 10
"""A job that has lost its nodes so often is not queued again by itself: it may be what they die of. Unless a cloud has
taken them back."""
REQUEUED_BY = "hal"
STILL_THERE = "it may still run on a node out of contact, so it is not queued again"


@attrs.frozen
class _PartEnd:
    """One part of an attempt is over."""

    node: NodeName
    end: End
    start_time_s: float | None
    end_time_s: float
    is_at_large: bool = False
    """Something of the attempt may still run on a node out of contact, where no lease ends it."""
    by: str = REQUEUED_BY
    """Who queues it again, if it is."""


def allocation_idle(state: State, message: AllocationIdle, now_s: float) -> list[Event]:
    """Worth a word only while exactly that attempt holds its CPUs."""
    activity = state.activity(message.key)
    return (
        []
        if activity is None or activity.suspend_time_s is not None
        else [IdleFound(now_s, message.key, message.since_s, activity.cpu_count)]
    )


def parts_changed(state: State, message: PartsChanged, now_s: float) -> list[Event]:
    events = [event for part in _merged(message.parts) for event in _part(state, message.node, part, now_s)]
    return events + _drained(state, message.node, message.parts, now_s)


def _drained(state: State, node: NodeName, parts: Iterable[PartStatus], now_s: float) -> list[Event]:
    """No more work for a node whose prolog or epilog fails, until somebody has looked at it. Echoes do not count."""
    faults = (part.node_fault for part in parts if part.node_fault and state.activity(part.key) is not None)
    fault = next(faults, "")
    number = state.table.number_of.get(node)
    if not fault or number is None or state.table.drain[number] is not None:
        return []
    return [NodeDrained(now_s, node, fault, "hal")]


def _merged(parts: tuple[PartStatus, ...]) -> Iterable[PartStatus]:
    """What is said of one attempt several times is said once: each is compared with the state before the batch."""
    if len(parts) < 2:
        return parts
    merged: dict[AttemptKey, PartStatus] = {}
    for part in parts:
        known = merged.setdefault(part.key, part)
        if known.start_time_s is None:
            known = attrs.evolve(known, start_time_s=part.start_time_s)
        if known.end is None:
            known = attrs.evolve(known, end=part.end, end_time_s=part.end_time_s, node_fault=part.node_fault)
        merged[part.key] = known
    return merged.values()


def _part(state: State, node: NodeName, part: PartStatus, now_s: float) -> list[Event]:
    activity = state.activity(part.key)
    if activity is None or node not in activity.parts_left:
        return [OrphanFound(now_s, node, part.key, is_ended=part.end is not None)]
    events: list[Event] = []
    if part.start_time_s is not None and node not in activity.parts_started:
        events.append(PartStarted(now_s, part.key, node, part.start_time_s))
    if part.end is not None:
        over_s = now_s if part.end_time_s is None else part.end_time_s
        part = attrs.evolve(part, end=_by_itself(activity, part.end, pool_nodes.why_it_goes(state, node, over_s)))
        assert part.end is not None
        start_s = part.start_time_s if activity.start_time_s is None else activity.start_time_s
        end = _PartEnd(node, part.end, start_s, over_s, _is_at_large(state, activity, node), _whose(state, node))
        events.append(_end_part(activity, end, now_s))
    return events


def _is_at_large(state: State, activity: Activity, but_on: NodeName) -> bool:
    """Whether the attempt was given up on one of its other nodes, which has not come back since."""
    numbers = [state.table.number_of[share.node] for share in activity.shares if share.node != but_on]
    is_orphan = any(activity.key in state.table.orphans[number] for number in numbers)
    return is_orphan and not activity.record.spec.can_requeue


def _whose(state: State, node: NodeName) -> str:
    """Whose doing it is if the node loses what it runs."""
    drain = state.table.drain[state.table.number_of[node]]
    return CLOUD if drain is not None and drain[1] == CLOUD else REQUEUED_BY


def _by_itself(activity: Activity, end: End, why: str) -> End:
    """A cancel that nobody asked for is a node's own: it had lost the daemon, and what can be requeued it ends then; or
    it is rented and goes (`why`), and ends whatever it has. One that names somebody was asked for elsewhere: in the
    scheduler that the job was forwarded to."""
    if end.kind is not EndKind.CANCELLED or end.by or activity.cancel is not None or activity.has_failed:
        return end
    if not activity.record.spec.can_requeue:
        return attrs.evolve(end, detail=end.detail or why)
    return attrs.evolve(end, kind=EndKind.NODE_LOST, detail=why or "the node had lost the daemon and ended it")


def _end_part(activity: Activity, part: _PartEnd, now_s: float, gone: Set[NodeName] = frozenset()) -> Event:
    """A part is over: the whole attempt is, if it was the last one but for those in `gone`, or if none was launched."""
    if activity.is_launched and activity.parts_left - {part.node} - gone:
        return PartEnded(now_s, activity.key, part.node, part.end)
    whole = part.end.after(activity.end)
    if activity.cancel is not None:
        by, does_requeue, detail = activity.cancel
        if does_requeue and not part.is_at_large:
            return JobRequeued(now_s, activity.key, by, whole)
        if does_requeue:
            whole = attrs.evolve(whole, kind=EndKind.NODE_LOST, detail=STILL_THERE)
        if whole.kind is not EndKind.NODE_LOST:
            whole = attrs.evolve(whole, kind=EndKind.CANCELLED, by=by, detail=detail or whole.detail)
    elif not part.is_at_large and _is_queued_again(activity, whole, part.by):
        return JobRequeued(now_s, activity.key, part.by, whole)
    job_id, index, attempt = activity.key
    start_s = part.start_time_s
    end_s = part.end_time_s if start_s is None else max(part.end_time_s, start_s)
    still_s = 0.0 if start_s is None else min(activity.stood_still_s(now_s), end_s - start_s)
    return JobEnded(now_s, job_id, ((index, index + 1),), attempt, whole, start_s, end_s, still_s)


def _is_queued_again(activity: Activity, end: End, by: str) -> bool:
    """What lost its node, if it can bear a restart; what nowhere began because of a prolog, and what was given less
    memory than it asked for and ran out of it, in any case."""
    if end.kind is EndKind.OUT_OF_MEMORY:
        return activity.record.can_outgrow
    if by == CLOUD and end.kind is EndKind.NODE_LOST:
        return activity.record.spec.can_requeue
    if activity.attempt >= ATTEMPTS_MAX:
        return False
    if end.kind is EndKind.PROLOG_FAILED and not activity.parts_started:
        return True
    return end.kind in (EndKind.NODE_LOST, EndKind.PROLOG_FAILED) and activity.record.spec.can_requeue


def node_reported(state: State, message: NodeReported, now_s: float) -> list[Event]:
    """A node (re)connected. What it has records of is compared with what should be there."""
    number = state.table.number_of.get(message.node.name)
    if number is None:
        names = list(state.table.number_of)
        hint = did_you_mean(message.node.name, names)
        raise NotFound(f"the configuration has no node named {message.node.name!r}{hint}")
    pool_nodes.insist_on_instance(state, message.node.name)
    declared = state.table.nodes[number]
    if message.node.executor != declared.executor:
        text = f"is of executor {declared.executor!r} in the configuration, and {message.node.executor!r} reports it"
        raise Refused(f"node {declared.name} {text}")
    did_reboot = state.table.boot_id[number] not in ("", message.boot_id)
    events: list[Event] = []
    for part in _merged(message.parts):
        if did_reboot and part.end is not None and part.end.kind is EndKind.SUPERVISOR_LOST:
            lost = attrs.evolve(part.end, kind=EndKind.NODE_LOST, detail="the node was rebooted")
            part = attrs.evolve(part, end=lost)
        events += _part(state, message.node.name, part, now_s)
    reported = {part.key for part in message.parts}
    for key in sorted(state.table.orphans[number] - reported):
        events.append(OrphanFound(now_s, declared.name, key, is_ended=True))
    for activity in state.on_node.get(declared.name, {}).values():
        end = None if activity.key in reported else _silent_end(activity, declared.name, did_reboot)
        if end is not None:
            is_at_large = _is_at_large(state, activity, declared.name)
            part_end = _PartEnd(declared.name, end, activity.start_time_s, now_s, is_at_large)
            events.append(_end_part(activity, part_end, now_s))
    missing = _missing(declared, message.node)
    if missing and state.table.drain[number] is None:
        events.append(NodeDrained(now_s, declared.name, missing, "hal"))
    events.append(NodeJoined(now_s, declared, message.boot_id, message.missing))
    events += pool_nodes.joined(state, declared.name, missing, now_s)
    return events + ([] if missing else _drained(state, declared.name, message.parts, now_s))


def _silent_end(activity: Activity, node: NodeName, did_reboot: bool) -> End | None:
    """How a part ended of which the node has no record; None if it will be launched there (again), or cancelled.

    A launch may be on its way to the node: only the cancel that the node itself has recorded keeps it from beginning.
    """
    if node not in activity.parts_left:
        return None
    if node in activity.parts_started:
        if did_reboot:
            return End(EndKind.NODE_LOST, detail="the node was rebooted and has no record of it")
        # Its processes may still be there: never to be started again by itself.
        return End(EndKind.SUPERVISOR_LOST, detail="the node has no record of it any more")
    return None


def _missing(declared: Node, offered: Node) -> str:
    """What the node lacks of what the configuration promises; the empty string if nothing."""
    if offered.cpu_count < declared.cpu_count:
        return f"its agent offers {plural(offered.cpu_count, 'CPU')}, the configuration says {declared.cpu_count}"
    if offered.memory_bytes < declared.memory_bytes:
        return f"its agent offers {offered.memory_bytes} bytes, the configuration says {declared.memory_bytes}"
    if len(offered.gpus) < len(declared.gpus):
        return f"its agent offers {plural(len(offered.gpus), 'GPU')}, the configuration says {len(declared.gpus)}"
    return ""


def node_silent(state: State, message: NodeSilent | ClockSet, now_s: float) -> list[Event]:
    if isinstance(message, ClockSet):
        return _clock_set(state, now_s)
    number = state.table.number_of.get(message.node)
    if number is None or state.table.status[number] is not NodeStatus.UP:
        return []
    return [NodeSuspected(now_s, message.node)]


def _clock_set(state: State, now_s: float) -> list[Event]:
    """Nodes out of contact are so since now. Their leases end by a clock that nobody sets: given up too early, what is
    under one would be started again while it runs."""
    return [NodeSuspected(now_s, state.table.nodes[number].name) for number in sorted(state.table.suspects)]


def node_lost(state: State, message: NodeLost, now_s: float) -> list[Event]:
    """The node is given up. Every attempt with a share on it ends (node_lost); the rest of a gang is ended too."""
    number = state.table.number_of.get(message.node)
    if number is None or state.table.status[number] is NodeStatus.DOWN:
        return []
    return _give_up(state, [message.node], message.detail, now_s)


def nodes_overdue(state: State, now_s: float) -> list[Event]:
    """Nodes that have been suspect for longer than the cluster allows are given up."""
    table, timeout_s = state.table, state.cluster.node_timeout_s
    overdue = [number for number in sorted(table.suspects) if now_s >= table.status_time_s[number] + timeout_s]
    nodes = [table.nodes[number].name for number in overdue]
    return _give_up(state, nodes, f"no contact for {timeout_s:g} s", now_s) if nodes else []


def _give_up(state: State, nodes: list[NodeName], detail: str, now_s: float) -> list[Event]:
    went_down: list[Event] = [NodeWentDown(now_s, node, detail) for node in nodes]
    return went_down + ends_on(state, nodes, detail, now_s)


def ends_on(
    state: State, nodes: Sequence[NodeName], detail: str, now_s: float, is_certain: bool = False
) -> list[Event]:
    """The ends of all that these nodes have. All at once, so that a gang which loses several ends with the last.

    `is_certain`: nothing runs there any more.
    """
    events: list[Event] = []
    gone_of: dict[AttemptKey, set[NodeName]] = {}
    over: set[AttemptKey] = set()
    for node in nodes:
        end = End(EndKind.NODE_LOST, detail=f"{node}: {detail}")
        for activity in state.on_node.get(node, {}).values():
            key, gone = activity.key, gone_of.setdefault(activity.key, set())
            if key in over or not _is_hit(activity, node, gone):
                continue
            is_at_large = not (is_certain or activity.record.spec.can_requeue)
            part = _PartEnd(node, end, activity.start_time_s, now_s, is_at_large, _whose(state, node))
            event = _end_part(activity, part, now_s, gone)
            events.append(event)
            if is_at_large:
                events.append(OrphanFound(now_s, node, key, is_ended=False))
            gone.add(node)
            if not isinstance(event, PartEnded):
                over.add(key)
    return events


def _is_hit(activity: Activity, node: NodeName, gone: Set[NodeName]) -> bool:
    """Whether the attempt suffers from the loss. A part that has ended well does not; a node of the gang without a
    part of its own may hold processes that the command started there."""
    if node in activity.parts_left:
        return True
    is_ending = bool(gone) or activity.has_failed
    return not is_ending and not activity.has_part(node)


def staging_over(state: State, message: StagingDone | StagingFailed, now_s: float) -> list[Event]:
    """The inputs are there, or could not be brought."""
    if isinstance(message, StagingFailed):
        return _staging_failed(state, message, now_s)
    activity = state.activity(message.key)
    is_wanted = activity is not None and not activity.is_launched and activity.cancel is None
    amounts = message.bytes_moved, message.bytes_saved, message.bytes_read, message.read_s
    return [InputsStaged(now_s, message.key, *amounts)] if is_wanted else []


def _staging_failed(state: State, message: StagingFailed, now_s: float) -> list[Event]:
    """The inputs could not be brought: nothing was launched, so all parts are over at once."""
    activity = state.activity(message.key)
    if activity is None or activity.is_launched:
        return []
    job_id, index, attempt = message.key
    end = End(EndKind.STAGING_FAILED, detail=message.detail)
    return [JobEnded(now_s, job_id, ((index, index + 1),), attempt, end, None, now_s)]
