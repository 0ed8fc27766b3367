"""The state as an engine sees it: a view that shares the state's columns and makes rows only as they are asked for."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from hal_core.models.job import JobId
from hal_core.models.node import Partition, PartitionName
from hal_core.models.plan import Changes, PendingJob, Reserve, RunningJob, Victim
from hal_core.models.quota import within
from hal_core.models.reservation import Holds
from hal_core.models.room import Room
from hal_core.models.staging import Tiers
from hal_core.rules.limits import RunningQuota
from hal_core.rules.preemption import Victims
from hal_core.rules.stage_in import tiers
from hal_core.rules.suspension import running_rows

_expected_end_order = attrgetter("expected_end_s", "job_id", "index")

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.node_table import NodeTable
    from hal_core.rules.state import State


class Life:
    """Of all snapshots of one pass. A pass that was left behind in its thread must not go on looking: it would remember
    in the state what is not so any more."""

    __slots__ = ("is_over",)

    def __init__(self) -> None:
        self.is_over = False

    def check(self) -> None:
        if self.is_over:
            raise PassOverError("the pass is over; what it was shown is not so any more")


class PassOverError(Exception):
    """Raised in a pass that was left behind."""


class StateSnapshot:
    """Implements models.plan.Snapshot over the live state. Valid until the state changes, or its life is over."""

    __slots__ = (
        "_changed",
        "_jobs",
        "_state",
        "_victims",
        "columns",
        "life",
        "now_s",
        "partitions",
        "quota",
        "sequence",
    )

    def __init__(
        self, state: State, now_s: float, changed: dict[JobId, JobRecord] | None = None, life: Life | None = None
    ) -> None:
        """`changed`: jobs that wait, as they would be if they asked for something else. They keep their places."""
        self.life = life or Life()
        self._state = state
        self._changed = changed or {}
        self._jobs = ChainMap(changed, state.jobs) if changed else state.jobs
        self.now_s = now_s
        self.sequence = state.sequence
        self.columns: NodeTable = state.table
        self.partitions: Mapping[PartitionName, Partition] = state.partitions
        self._victims = Victims(state, now_s)
        self.quota: RunningQuota | None = None
        if state.limits.is_active:
            quota = RunningQuota(state.limits, state.ledger, self._jobs, now_s)
            self.quota = quota.without({each: len(state.jobs[each].active) for each in state.owned.elastic})
            """As the room of elastic jobs, what they hold of limits is free for others: rules/elastic.py."""

    def partition_nodes(self, name: PartitionName) -> Sequence[int]:
        return self._state.partition_numbers.get(name, ())

    def pending(self) -> Iterator[PendingJob]:
        jobs, now_s, quota = self._jobs, self.now_s, self.quota
        life = self.life
        life.check()
        for job_id in self._state.queue:
            if life.is_over:
                life.check()
            record = jobs[job_id]
            if record.spec.begin_time_s <= now_s:
                row = record.pending_row() if quota is None else within(quota, record.pending_row())
                if row is not None:
                    yield row

    def running(self) -> Iterable[RunningJob]:
        self.life.check()
        now_s = self.now_s
        rows = [
            row if (row := activity.row) is not None and row.expected_end_s > now_s else activity.running_row(now_s)
            for activity in self._state.allocations.values()
        ]
        if self._state.suspended:
            return running_rows(self._state, rows, now_s)
        rows.sort(key=_expected_end_order)
        return rows

    @property
    def has_preemption(self) -> bool:
        return self._state.cluster.has_preemption

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        self.life.check()
        return self._victims.of(self._jobs[job.job_id])

    def ending(self) -> Sequence[RunningJob]:
        self.life.check()
        leaving = {each.key[:2] for each in self._state.allocations.values() if each.preempted_for is not None}
        return [job for job in self.running() if (job.job_id, job.index) in leaving] if leaving else []

    def room(self) -> Room:
        self.life.check()
        state = self._state
        return state.live_room.copy(state.packing, state.table, state.limits.licences.free())

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        self.life.check()
        return tiers(self._state, inputs)

    @property
    def wake_s(self) -> float:
        """When a limit that was found to bar a job will have made room by itself."""
        return math.inf if self.quota is None else self.quota.wake_s

    @property
    def holds(self) -> Holds:
        return self._state.reservations.holds

    @property
    def promises(self) -> Mapping[JobId, Reserve]:
        promises = self._state.promises
        if self._changed:
            return {job_id: reserve for job_id, reserve in promises.items() if job_id not in self._changed}
        return promises

    @property
    def changes(self) -> Changes | None:
        return None

    @property
    def memo(self) -> object:
        return None

    @property
    def has_released(self) -> bool:
        return self._state.has_released
