"""When a job could have started if it had asked for what it needed: a fold of what really happened. Pure.

Of the moments of its first wait at which something changed (each event, its begin time, the begin and end of each
window of a reservation), the first at which the job was free to start (not held, begun, its dependencies met) and the
nodes that it may use had room for the smaller request, beside what others then held and what reservations kept. So it
is as if the job had stood first: who came before it in the queue, limits of its owner and promises to others are not
asked. What others would have done instead is not either: that takes a replay of everybody's jobs. Guarantee, unless
somebody set the clock back: never before its submission, nor after the placement that was.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from hal_core.models.event import (
    Event,
    InputsStaged,
    JobPlaced,
    JobSubmitted,
    PartStarted,
    Planned,
    RunTimesPredicted,
)
from hal_core.models.job import JobId, JobSpec
from hal_core.models.receipt import RightSize
from hal_core.rules.job_record import JobRecord
from hal_core.rules.permit import Permits
from hal_core.rules.state import State

GIVE_NOTHING: Final = (JobPlaced, JobSubmitted, PartStarted, InputsStaged, Planned, RunTimesPredicted)
"""After these there is no more room than before: what else gives room without an event is a reservation's window."""


def right_sized(spec: JobSpec, size: RightSize) -> JobSpec:
    """The job with the right size: with as many tasks, if there is a CPU for each. Never larger than it was."""
    asked = spec.task_count * spec.cpus_per_task
    tasks = spec.task_count if spec.task_count <= size.cpu_count or spec.node_count > 1 else size.cpu_count
    cpus = -(-min(size.cpu_count, asked) // tasks)
    memory_bytes, walltime_s = size.memory_bytes_per_node, spec.walltime_s
    return attrs.evolve(
        spec,
        task_count=tasks,
        cpus_per_task=min(cpus, spec.cpus_per_task),
        memory_bytes_per_node=min(memory_bytes or spec.memory_bytes_per_node, spec.memory_bytes_per_node),
        walltime_s=size.walltime_s if walltime_s is None else min(size.walltime_s, walltime_s),
    )


class EarliestStart:
    """Is shown every event before it is applied, from before the job's submission on, until `is_over`."""

    def __init__(self, job_id: JobId, size: RightSize) -> None:
        self._job_id = job_id
        self._size = size
        self._has_more = True
        """Since it was looked for last, something happened that may give room."""
        self._looked_s, self._edge_s = -math.inf, math.inf
        """If nothing does, there is none from the one time until the other."""
        self.is_over = False
        self.time_s: float | None = None
        """None: so far there was no room, and it was not placed."""

    def before(self, event: Event, state: State) -> None:
        """Look at how things are since the last event, which are to change now."""
        record = state.jobs.get(self._job_id)
        if self.is_over or record is None:
            return
        if record.startable_count:
            self.time_s = self._first_s(record, state, event.time_s)
        if self.time_s is None and isinstance(event, JobPlaced) and event.job_id == self._job_id:
            self.time_s = event.time_s
        self.is_over = self.time_s is not None
        self._has_more = self._has_more or not isinstance(event, GIVE_NOTHING)

    def _first_s(self, record: JobRecord, state: State, until_s: float) -> float | None:
        """When there is room, from the time of the state until then; None: not meanwhile."""
        time_s = max(state.time_s, record.spec.begin_time_s)
        if not self._has_more and self._looked_s <= time_s < self._edge_s:
            time_s = self._edge_s
        while time_s <= max(until_s, state.time_s):
            if has_room(state, record, self._size, time_s):
                return time_s
            self._has_more, self._looked_s = False, time_s
            time_s = self._edge_s = state.reservations.holds.next_edge_s(time_s)
        return None


def has_room(state: State, record: JobRecord, size: RightSize, time_s: float) -> bool:
    """Whether the job, with that size, could be placed at that time if nobody stood before it."""
    row = record.with_spec(right_sized(record.spec, size)).pending_row()
    room = state.live_room.copy(state.packing, state.table, state.limits.licences.free())
    return bool(room.choose(Permits(state.reservations.holds, room.packing, time_s).ask(row)))
