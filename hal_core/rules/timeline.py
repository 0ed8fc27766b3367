"""Free resources, now and over time: the toolbox of every backfill engine. Pure; works on copies of the columns.

`Room` is what is free at one moment, changed by `take` and `give`. `earliest_start` lets running jobs end in order
until a shape fits: the shadow time of EASY backfill (Mu'alem and Feitelson, IEEE TPDS 12(6), 2001).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from hal_core.models.job import Shape
from hal_core.models.plan import NodeColumns, RunningJob


class Room:
    """Free amounts by node number at one moment. Only available nodes have room."""

    def __init__(self, columns: NodeColumns) -> None:
        self._nodes = columns.nodes
        self._is_available = columns.is_available
        self._cpus = list(columns.free_cpus)
        self._memory_bytes = list(columns.free_memory_bytes)
        self._gpus = list(columns.free_gpus)
        self._generic = list(columns.free_generic)
        self._allocation_count = list(columns.allocation_count)

    def copy(self) -> Room:
        twin = Room.__new__(Room)
        twin._nodes, twin._is_available = self._nodes, self._is_available
        twin._cpus, twin._memory_bytes = self._cpus[:], self._memory_bytes[:]
        twin._gpus, twin._generic = self._gpus[:], self._generic[:]
        twin._allocation_count = self._allocation_count[:]
        return twin

    def has_any(self, numbers: Iterable[int]) -> bool:
        """Whether any of the nodes has a free CPU: if not, no job can start there."""
        return any(self._is_available[number] and self._cpus[number] > 0 for number in numbers)

    def count(self, number: int, shape: Shape) -> int:
        """How many elements of the shape (one node's part of each) fit on the node."""
        if not self._is_available[number] or self._cpus[number] < shape.cpus:
            return 0
        if shape.features and not set(shape.features).issubset(self._nodes[number].features):
            return 0
        if shape.is_exclusive and self._allocation_count[number]:
            return 0
        count = self._cpus[number] // shape.cpus
        if shape.memory_bytes:
            count = min(count, self._memory_bytes[number] // shape.memory_bytes)
        if shape.gpus:
            free = self._gpus[number]
            gpus = free.get(shape.gpu_type, 0) if shape.gpu_type else sum(free.values())
            count = min(count, gpus // shape.gpus)
        for name, amount in shape.generic:
            count = min(count, self._generic[number].get(name, 0) // amount)
        return min(count, 1) if shape.is_exclusive else count

    def free_cpus(self, number: int) -> int:
        return self._cpus[number]

    def take(self, number: int, shape: Shape, count: int = 1) -> None:
        """Allocate so many elements on the node, as commit will."""
        self._move(number, shape, -count)

    def give(self, number: int, shape: Shape) -> None:
        """One element on the node ends."""
        self._move(number, shape, 1)

    def _move(self, number: int, shape: Shape, sign: int) -> None:
        self._allocation_count[number] -= sign
        if shape.is_exclusive:
            node = self._nodes[number]
            is_given = sign > 0
            self._cpus[number] = node.cpu_count if is_given else 0
            self._memory_bytes[number] = node.memory_bytes if is_given else 0
            self._gpus[number] = {kind: node.gpus.count(kind) for kind in node.gpus} if is_given else {}
            self._generic[number] = dict(node.generic) if is_given else {}
            return
        self._cpus[number] += sign * shape.cpus
        self._memory_bytes[number] += sign * shape.memory_bytes
        if shape.gpus:
            self._gpus[number] = self._move_gpus(number, shape, sign)
        if shape.generic:
            generic = dict(self._generic[number])
            for name, amount in shape.generic:
                generic[name] = generic.get(name, 0) + sign * amount
            self._generic[number] = generic

    def _move_gpus(self, number: int, shape: Shape, sign: int) -> dict[str, int]:
        """Untyped requests take devices by index, as commit does; on a mixed node the types given back are not known,
        so they are given back to the first type that lacks them."""
        gpus = dict(self._gpus[number])
        left = abs(sign) * shape.gpus
        if shape.gpu_type:
            gpus[shape.gpu_type] = gpus.get(shape.gpu_type, 0) + (left if sign > 0 else -left)
            return gpus
        kinds = dict.fromkeys(self._nodes[number].gpus)
        for kind in kinds:
            free = gpus.get(kind, 0)
            room = self._nodes[number].gpus.count(kind) - free if sign > 0 else free
            moved = min(left, room)
            gpus[kind] = free + (moved if sign > 0 else -moved)
            left -= moved
        return gpus


@attrs.frozen
class Promise:
    """Where and when a blocked shape can start at the latest, and what is left beside it at that moment."""

    time_s: float
    """Infinity if that takes the end of a job without a limit."""
    node_numbers: tuple[int, ...]
    spare: Room


def earliest_start(
    room: Room, running: Iterable[RunningJob], shape: Shape, numbers: Sequence[int], now_s: float
) -> Promise | None:
    """Let the running jobs end in order of their limits until the shape fits on `numbers`. None: it never will.

    `room` is what is free now and is not changed; `running` includes what this pass has started already.
    """
    later = room.copy()
    allowed = set(numbers)
    fitting = {number for number in numbers if later.count(number, shape)}
    time_s = now_s
    for job in sorted(running, key=_end_order):
        if job.end_time_s > time_s and len(fitting) >= shape.node_count:
            break
        time_s = job.end_time_s
        for number in job.node_numbers:
            later.give(number, job.shape)
            if number in allowed and later.count(number, shape):
                fitting.add(number)
    if len(fitting) < shape.node_count:
        return None
    chosen = tuple(sorted(fitting)[: shape.node_count])
    for number in chosen:
        later.take(number, shape)
    return Promise(time_s, chosen, later)


def _end_order(job: RunningJob) -> tuple[float, int, int]:
    return job.end_time_s, job.job_id, job.index


def tightest(room: Room, shape: Shape, numbers: Sequence[int]) -> tuple[int, ...] | None:
    """The nodes that the shape fills best, of those given: least CPUs left over, then lowest number. None: too few."""
    fitting = [(room.free_cpus(number), number) for number in numbers if room.count(number, shape)]
    if len(fitting) < shape.node_count:
        return None
    if shape.node_count == 1:
        return (min(fitting)[1],)
    fitting.sort()
    return tuple(sorted(number for _, number in fitting[: shape.node_count]))
