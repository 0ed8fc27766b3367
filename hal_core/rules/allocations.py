"""An allocation comes into force and is given back: all that the state counts of it, in one place.

Called by the fold alone, and by who loads a dump. What suspended elements lend of theirs is suspension.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hal_core.rules import suspension

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State


def hold(state: State, activity: Activity, is_restored: bool = False) -> None:
    """Put it in force. `is_restored`: a dump has it so, and what it changed then is in the dump, too."""
    record, index = activity.record, activity.index
    assert index not in record.active, f"{activity.key} placed twice"
    activity.node_numbers = tuple(state.table.number_of[share.node] for share in activity.shares)
    record.active[index] = activity
    state.allocations[record.job_id, index] = activity
    state.ledger.place(activity, is_restored)
    state.limits.move(activity, 1)
    suspension.hold(state, activity, is_restored)
    for share in activity.shares:
        state.on_node.setdefault(share.node, {})[record.job_id, index] = activity
        state.pools.note_work(share.node, state.time_s)


def release(state: State, activity: Activity) -> None:
    """Give it back."""
    record, index = activity.record, activity.index
    suspension.release(state, activity)
    state.has_released = state.has_released or not record.spec.elastic_weight
    del record.active[index]
    del state.allocations[record.job_id, index]
    state.ledger.release(activity, state.time_s)
    state.limits.move(activity, -1)
    for share in activity.shares:
        del state.on_node[share.node][record.job_id, index]
        state.pools.note_work(share.node, state.time_s)
