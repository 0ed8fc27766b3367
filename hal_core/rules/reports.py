"""What nodes report: parts that started and ended, nodes that come, fall silent and are given up.

Reports may be lost, doubled, late and out of order. Each is compared with what the state knows of exactly that
attempt; a report about anything else leads to OrphanFound, upon which the node ends or forgets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hal_core.errors import NotFound, did_you_mean
from hal_core.models.event import (
    Event,
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
from hal_core.models.message import NodeLost, NodeReported, NodeSilent, PartsChanged, PartStatus, StagingFailed
from hal_core.models.node import Node, NodeName, NodeStatus

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State


def parts_changed(state: State, message: PartsChanged, now_s: float) -> list[Event]:
    return [event for part in message.parts for event in _part(state, message.node, part, now_s)]


def _part(state: State, node: NodeName, part: PartStatus, now_s: float) -> list[Event]:
    activity = state.activity(part.key)
    if activity is None or (node not in activity.parts_left and node not in _nodes(activity)):
        return [OrphanFound(now_s, node, part.key, is_ended=part.end is not None)]
    events: list[Event] = []
    if part.start_time_s is not None and node not in activity.parts_started and node in activity.parts_left:
        events.append(PartStarted(now_s, part.key, node, part.start_time_s))
    if part.end is not None:
        if node not in activity.parts_left:
            return [OrphanFound(now_s, node, part.key, is_ended=True)]
        start_s = part.start_time_s if activity.start_time_s is None else activity.start_time_s
        end_s = now_s if part.end_time_s is None else part.end_time_s
        events += _end_part(activity, node, part.end, (start_s, end_s), now_s)
    return events


def _nodes(activity: Activity) -> list[NodeName]:
    return [share.node for share in activity.shares]


def _end_part(
    activity: Activity, node: NodeName, end: End, times_s: tuple[float | None, float], now_s: float
) -> list[Event]:
    """A part is over: the whole attempt is, if it was the last one."""
    if activity.parts_left - {node}:
        return [PartEnded(now_s, activity.key, node, end)]
    start_s, end_s = times_s
    whole = activity.end if activity.end is not None and activity.end.exit_code != 0 else end
    if activity.cancel is not None:
        by, does_requeue, detail = activity.cancel
        if does_requeue:
            return [JobRequeued(now_s, activity.key, by, whole)]
        if whole.kind is not EndKind.NODE_LOST:
            whole = attrs.evolve(whole, kind=EndKind.CANCELLED, by=by, detail=detail or whole.detail)
    job_id, index, attempt = activity.key
    end_s = end_s if start_s is None else max(end_s, start_s)
    return [JobEnded(now_s, job_id, ((index, index + 1),), attempt, whole, start_s, end_s)]


def node_reported(state: State, message: NodeReported, now_s: float) -> list[Event]:
    """A node (re)connected. What it has records of is compared with what should be there."""
    number = state.table.number_of.get(message.node.name)
    if number is None:
        names = list(state.table.number_of)
        hint = did_you_mean(message.node.name, names)
        raise NotFound(f"the configuration has no node named {message.node.name!r}{hint}")
    declared = state.table.nodes[number]
    did_reboot = state.table.boot_id[number] not in ("", message.boot_id)
    events: list[Event] = []
    for part in message.parts:
        if did_reboot and part.end is not None and part.end.kind is EndKind.SUPERVISOR_LOST:
            lost = attrs.evolve(part.end, kind=EndKind.NODE_LOST, detail="the node was rebooted")
            part = attrs.evolve(part, end=lost)
        events += _part(state, message.node.name, part, now_s)
    reported = {part.key for part in message.parts}
    for activity in state.on_node.get(declared.name, {}).values():
        if declared.name in activity.parts_started & activity.parts_left and activity.key not in reported:
            end = End(EndKind.NODE_LOST, detail="the node has no record of it any more")
            events += _end_part(activity, declared.name, end, (activity.start_time_s, now_s), now_s)
    missing = _missing(declared, message.node)
    if missing and state.table.drain[number] is None:
        events.append(NodeDrained(now_s, declared.name, missing, "hal"))
    events.append(NodeJoined(now_s, declared, message.boot_id, message.missing))
    return events


def _missing(declared: Node, offered: Node) -> str:
    """What the node lacks of what the configuration promises; the empty string if nothing."""
    if offered.cpu_count < declared.cpu_count:
        return f"its agent offers {offered.cpu_count} CPUs, the configuration says {declared.cpu_count}"
    if offered.memory_bytes < declared.memory_bytes:
        return f"its agent offers {offered.memory_bytes} bytes, the configuration says {declared.memory_bytes}"
    if len(offered.gpus) < len(declared.gpus):
        return f"its agent offers {len(offered.gpus)} GPUs, the configuration says {len(declared.gpus)}"
    return ""


def node_silent(state: State, message: NodeSilent, now_s: float) -> list[Event]:
    number = state.table.number_of.get(message.node)
    if number is None or state.table.status[number] is not NodeStatus.UP:
        return []
    return [NodeSuspected(now_s, message.node)]


def node_lost(state: State, message: NodeLost, now_s: float) -> list[Event]:
    """The node is given up. Every attempt with a share on it ends (node_lost); the rest of a gang is ended too."""
    number = state.table.number_of.get(message.node)
    if number is None or state.table.status[number] is NodeStatus.DOWN:
        return []
    events: list[Event] = [NodeWentDown(now_s, message.node, message.detail)]
    end = End(EndKind.NODE_LOST, detail=f"{message.node}: {message.detail}")
    for activity in state.on_node.get(message.node, {}).values():
        events += _end_part(activity, message.node, end, (activity.start_time_s, now_s), now_s)
    return events


def nodes_overdue(state: State, now_s: float) -> list[Event]:
    """Nodes that have been suspect for longer than the cluster allows are given up."""
    table, timeout_s = state.table, state.cluster.node_timeout_s
    events: list[Event] = []
    for number in sorted(table.suspects):
        if now_s - table.status_time_s[number] >= timeout_s:
            lost = NodeLost(table.nodes[number].name, f"no contact for {timeout_s:g} s")
            events += node_lost(state, lost, now_s)
    return events


def staging_failed(state: State, message: StagingFailed, now_s: float) -> list[Event]:
    """The inputs could not be brought: nothing was launched, so all parts are over at once."""
    activity = state.activity(message.key)
    if activity is None or activity.is_launched:
        return []
    job_id, index, attempt = message.key
    end = End(EndKind.STAGING_FAILED, detail=message.detail)
    if activity.cancel is not None:
        by, does_requeue, _ = activity.cancel
        if does_requeue:
            return [JobRequeued(now_s, message.key, by, end)]
        end = End(EndKind.CANCELLED, by=by)
    return [JobEnded(now_s, job_id, ((index, index + 1),), attempt, end, None, now_s)]
