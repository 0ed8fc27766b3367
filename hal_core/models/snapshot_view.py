"""A snapshot with something changed in it, for engines that let another engine plan over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hal_core.models.job import JobId
from hal_core.models.node import PartitionName
from hal_core.models.plan import Changes, PendingJob, Reserve, RunningJob, Snapshot, Victim
from hal_core.models.quota import Quota
from hal_core.models.room import Room
from hal_core.models.staging import Tiers


class SnapshotView:
    """The same as the snapshot beneath it, but for what a subclass says otherwise. Implements Snapshot.

    Nobody can go on here where the last plan ended (`changes`, `memo`): what has changed beneath says nothing of it.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.now_s = snapshot.now_s
        self.sequence = snapshot.sequence
        self.columns = snapshot.columns
        self.partitions = snapshot.partitions
        self.quota: Quota | None = snapshot.quota
        self.holds = snapshot.holds
        self.has_preemption = snapshot.has_preemption
        self.has_released = snapshot.has_released
        self.promises: Mapping[JobId, Reserve] = snapshot.promises
        self.changes: Changes | None = None
        self.memo: object = None

    def partition_nodes(self, name: PartitionName) -> Sequence[int]:
        return self._snapshot.partition_nodes(name)

    def pending(self) -> Iterator[PendingJob]:
        return self._snapshot.pending()

    def running(self) -> Iterable[RunningJob]:
        return self._snapshot.running()

    def room(self) -> Room:
        return self._snapshot.room()

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        return self._snapshot.victims(job)

    def ending(self) -> Sequence[RunningJob]:
        return self._snapshot.ending()

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        return self._snapshot.stage_in(inputs)
