"""What the state holds, for observers that come to it in the middle. Pure."""

from __future__ import annotations

from hal_core.models.standing import Standing
from hal_core.rules.state import State


def standing_of(state: State) -> Standing:
    table = state.table
    return Standing(
        state.sequence,
        tuple(
            (job_id, record.pending_count, max(record.submit_time_s, record.spec.begin_time_s))
            for job_id, record in state.jobs.items()
        ),
        tuple(
            (job_id, index, activity.start_time_s is not None)
            for (job_id, index), activity in state.allocations.items()
        ),
        tuple(
            (node.name, table.status[number], table.drain[number] is not None)
            for number, node in enumerate(table.nodes)
        ),
        state.cluster.name,
    )
