"""A node that is about to go, for its cloud takes it back: nothing new starts there, and what can be queued again is
told to end in time, and is. Pure. What cannot be queued again runs on, for it may end before the node does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hal_core.models.event import Event, JobCancelRequested, JobRequeued, NodeDrained
from hal_core.models.job import End, EndKind
from hal_core.models.message import NodeLeaving

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State

BY: Final = "cloud"
MARGIN_S: Final = 15.0
"""Before the node goes all has ended: what was saved must be away, and the ends told."""


def node_leaving(state: State, message: NodeLeaving, now_s: float) -> list[Event]:
    """Said again, it leads to nothing."""
    number = state.table.number_of.get(message.node)
    if number is None:
        return []
    drain = state.table.drain[number]
    events: list[Event] = []
    if drain is None or (drain[1] == BY and drain != (message.reason, BY)):  # An operator's own reason stays.
        events.append(NodeDrained(now_s, message.node, message.reason, BY))
    if message.left_s is not None:
        detail = f"{message.node}: {message.reason}"
        for activity in state.on_node.get(message.node, {}).values():
            events += _requeue(activity, message.left_s, detail, now_s)
    return events


def _requeue(activity: Activity, left_s: float, detail: str, now_s: float) -> Iterator[Event]:
    """The whole attempt, a gang on all of its nodes."""
    spec = activity.record.spec
    if activity.cancel is not None or activity.has_failed or not (spec.can_requeue or spec.elastic_weight):
        return
    if not activity.is_launched:
        yield JobRequeued(now_s, activity.key, BY, End(EndKind.CANCELLED, by=BY, detail=detail))
        return
    grace_s = max(0.0, left_s - MARGIN_S, min(spec.kill_grace_s, left_s))
    elements = ((activity.index, activity.index + 1),)
    yield JobCancelRequested(now_s, activity.record.job_id, elements, BY, True, detail, grace_s)
