"""A plain snapshot for tests of engines: lists in memory, free amounts computed from what runs. Not for the daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, Partition, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import Changes, NodeColumns, PendingJob, Reserve, RunningJob, Victim
from hal_core.models.quota import Quota
from hal_core.models.reservation import NO_HOLDS, Holds
from hal_core.models.room import Room
from hal_core.models.staging import Tiers
from hal_core.models.topology import Topology


@attrs.define
class FakeColumns:
    """Columns as plain lists. Two are equal if all their lists are."""

    nodes: list[Node]
    is_available: list[bool]
    free_cpus: list[int]
    free_memory_bytes: list[int]
    free_gpus: list[dict[str, int]]
    free_generic: list[dict[str, int]]
    allocation_count: list[int]
    aside_count: list[int]
    free_gpu_parts: list[list[tuple[str, int]]]

    @classmethod
    def of_idle(cls, nodes: Sequence[Node], unavailable: Sequence[int] = ()) -> FakeColumns:
        return cls(
            nodes=list(nodes),
            is_available=[number not in unavailable for number in range(len(nodes))],
            free_cpus=[node.cpu_count for node in nodes],
            free_memory_bytes=[node.memory_bytes for node in nodes],
            free_gpus=[dict(Counter(node.gpus)) for node in nodes],
            free_generic=[dict(node.generic) for node in nodes],
            allocation_count=[0] * len(nodes),
            aside_count=[0] * len(nodes),
            free_gpu_parts=[[] for _ in nodes],
        )

    @classmethod
    def copy_of(cls, columns: NodeColumns) -> FakeColumns:
        """A copy that may be changed, of whatever columns a snapshot has."""
        return cls(
            nodes=list(columns.nodes),
            is_available=list(columns.is_available),
            free_cpus=list(columns.free_cpus),
            free_memory_bytes=list(columns.free_memory_bytes),
            free_gpus=[dict(free) for free in columns.free_gpus],
            free_generic=[dict(free) for free in columns.free_generic],
            allocation_count=list(columns.allocation_count),
            aside_count=list(columns.aside_count),
            free_gpu_parts=[list(parts) for parts in columns.free_gpu_parts],
        )

    def fits(self, number: int, shape: Shape) -> bool:
        """Whether one node's part of the shape fits on the node now."""
        gpus = self.free_gpus[number]
        generic = self.free_generic[number]
        return (
            self.is_available[number]
            and shape.cpus <= self.free_cpus[number]
            and shape.memory_bytes <= self.free_memory_bytes[number]
            and (not shape.gpu_milli or self._fits_share(number, shape))
            and shape.gpus <= (gpus.get(shape.gpu_type, 0) if shape.gpu_type else sum(gpus.values()))
            and all(amount <= generic.get(name, 0) for name, amount in shape.generic)
            and shape.takes(self.nodes[number])
            and (self.allocation_count[number] == 0 or not shape.is_exclusive)
        )

    def places(self, shape: Shape, numbers: Sequence[int]) -> tuple[int, ...]:
        """Nodes among these for one element, each component its own, in their order; none if there are too few."""
        fitting = [[number for number in numbers if self.fits(number, part)] for part in shape.parts]
        if not shape.also:
            return tuple(fitting[0][: shape.node_count]) if len(fitting[0]) >= shape.node_count else ()
        return _different([its for its, part in zip(fitting, shape.parts, strict=True) for _ in range(part.node_count)])

    def take_all(self, numbers: Sequence[int], shape: Shape) -> None:
        """Give one element these nodes."""
        for part, its in shape.assigned(numbers):
            for number in its:
                self.take(number, part)

    def _fits_share(self, number: int, shape: Shape) -> bool:
        """Whether the share of a GPU fits on a whole device, or on the rest of one."""
        whole = [(kind, 1000) for kind, count in self.free_gpus[number].items() if count]
        parts = (*self.free_gpu_parts[number], *whole)
        return any(free >= shape.gpu_milli and shape.gpu_type in ("", kind) for kind, free in parts)

    def _take_share(self, number: int, shape: Shape) -> None:
        """From the smallest rest that holds it, or the first whole device."""
        parts = self.free_gpu_parts[number]
        rests = [part for part in parts if part[1] >= shape.gpu_milli and shape.gpu_type in ("", part[0])]
        if rests:
            kind, free = min(rests, key=lambda part: (part[1], part[0]))
            parts.remove((kind, free))
        else:
            counts = self.free_gpus[number]
            kind, free = shape.gpu_type or min(kind for kind, count in counts.items() if count), 1000
            counts[kind] -= 1
        parts.append((kind, free - shape.gpu_milli))

    def take(self, number: int, shape: Shape) -> None:
        """Give one node's part of the shape to a job. An exclusive job leaves nothing on the node."""
        self.allocation_count[number] += 1
        if shape.is_exclusive:
            self.free_cpus[number] = self.free_memory_bytes[number] = 0
            self.free_gpus[number].clear()
            self.free_generic[number].clear()
            return
        if shape.gpu_milli:
            self._take_share(number, shape)
        self.free_cpus[number] -= shape.cpus
        self.free_memory_bytes[number] -= shape.memory_bytes
        for name, amount in shape.generic:
            self.free_generic[number][name] -= amount
        wanted = shape.gpus
        for kind in [shape.gpu_type] if shape.gpu_type else sorted(self.free_gpus[number]):
            taken = min(wanted, self.free_gpus[number].get(kind, 0))
            if taken:
                self.free_gpus[number][kind] -= taken
                wanted -= taken


def _different(choices: Sequence[Sequence[int]], taken: tuple[int, ...] = ()) -> tuple[int, ...]:
    """One of each of the choices, no two the same: the first way that is found; none if there is none."""
    if len(taken) == len(choices):
        return taken
    for number in choices[len(taken)]:
        found = () if number in taken else _different(choices, (*taken, number))
        if found:
            return found
    return ()


@attrs.define
class FakeSnapshot:
    """A Snapshot (models/plan.py) made of lists. Equal to another if everything in it is."""

    now_s: float
    sequence: int
    columns: NodeColumns
    partitions: Mapping[PartitionName, Partition]
    pending_jobs: tuple[PendingJob, ...] = ()
    running_jobs: tuple[RunningJob, ...] = ()
    promised: tuple[Reserve, ...] = ()
    has_released: bool = True
    topology: Topology | None = None
    holds: Holds = NO_HOLDS
    quota: Quota | None = None
    victims_of: Mapping[PartitionName, tuple[Victim, ...]] = attrs.field(factory=dict)
    ending_jobs: tuple[RunningJob, ...] = ()
    changes: Changes | None = None
    memo: object = None
    tiers_of: Mapping[tuple[str, ...], Tiers] = attrs.field(factory=dict)

    def copy(self) -> FakeSnapshot:
        """Equal, and independent: what can be changed is copied, what is frozen is shared."""
        return attrs.evolve(self, columns=FakeColumns.copy_of(self.columns), partitions=dict(self.partitions))

    def partition_nodes(self, name: PartitionName) -> Sequence[int]:
        members = set(self.partitions[name].nodes)
        return [number for number, node in enumerate(self.columns.nodes) if node.name in members]

    def pending(self) -> Iterator[PendingJob]:
        return iter(self.pending_jobs)

    def running(self) -> Iterator[RunningJob]:
        return iter(sorted(self.running_jobs, key=lambda job: (job.expected_end_s, job.job_id, job.index)))

    def room(self) -> Room:
        numbers = {name: self.partition_nodes(name) for name in self.partitions}
        return Room.of(Packing(self.columns.nodes, numbers, self.topology), self.columns)

    @property
    def has_preemption(self) -> bool:
        return bool(self.victims_of)

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        return self.victims_of.get(job.shape.partition, ())

    def ending(self) -> Sequence[RunningJob]:
        return self.ending_jobs

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        return self.tiers_of.get(inputs, ())

    @property
    def promises(self) -> Mapping[JobId, Reserve]:
        return {reserve.job_id: reserve for reserve in self.promised}
