"""What the engine sees in a quick replay (sim/replay.py): a snapshot over rows of rigid jobs. Valid during one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter

from hal_core.models.job import JobId
from hal_core.models.node import Partition, PartitionName
from hal_core.models.plan import Changes, NodeColumns, PendingJob, Reserve, RunningJob, Victim
from hal_core.models.quota import Quota
from hal_core.models.reservation import NO_HOLDS, Holds
from hal_core.models.room import Room
from hal_core.models.staging import Tiers
from hal_core.sim.data import Data
from hal_core.sim.machine import Machine


class View:
    """Implements models.plan.Snapshot."""

    __slots__ = (
        "_data",
        "_machine",
        "_promises",
        "_room",
        "changes",
        "ends",
        "has_released",
        "memo",
        "now_s",
        "reserves",
        "rows",
        "sequence",
    )

    def __init__(self, machine: Machine, room: Room, data: Data | None) -> None:
        self._machine = machine
        self._data = data
        self._room = room
        self.rows: dict[JobId, PendingJob] = {}
        """Of the jobs that wait."""
        self.ends: list[tuple[float, int, RunningJob]] = []
        """What runs: when it is expected to end, a number of its own, its row."""
        self.now_s = 0.0
        self.sequence = 0
        self.reserves: tuple[Reserve, ...] = ()
        self.has_released = False
        self.changes: Changes | None = None
        self.memo: object = None
        self._promises: tuple[tuple[Reserve, ...], dict[JobId, Reserve]] = ((), {})

    @property
    def promises(self) -> Mapping[JobId, Reserve]:
        """Made when it is asked for: most passes do not."""
        if self._promises[0] is not self.reserves:
            self._promises = (self.reserves, {reserve.job_id: reserve for reserve in self.reserves})
        return self._promises[1]

    @property
    def columns(self) -> NodeColumns:
        return self._machine.columns(self._room)

    @property
    def partitions(self) -> Mapping[PartitionName, Partition]:
        return self._machine.partitions

    def partition_nodes(self, name: PartitionName) -> Sequence[int]:
        return self._machine.partition_numbers.get(name, ())

    def pending(self) -> Iterator[PendingJob]:
        return iter(self.rows.values())

    def running(self) -> Iterable[RunningJob]:
        return map(_row, self.ends)

    def room(self) -> Room:
        return self._room.copy()

    @property
    def quota(self) -> Quota | None:
        return None

    @property
    def holds(self) -> Holds:
        return NO_HOLDS

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        return () if self._data is None else self._data.stores.stage_in(inputs, self.now_s)

    @property
    def has_preemption(self) -> bool:
        return False

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        return ()

    def ending(self) -> Sequence[RunningJob]:
        return ()


_row = itemgetter(2)
