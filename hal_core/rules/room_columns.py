"""A room as node columns, computed as they are asked for. For engines that read columns instead of packed room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hal_core.models.node import Node
from hal_core.models.room import Room


class RoomColumns:
    """Implements models.plan.NodeColumns. A node that is not available shows nothing."""

    def __init__(self, nodes: Sequence[Node], room: Room) -> None:
        self.nodes = nodes
        rows = [room.row_of(number) for number in range(len(nodes))]
        self.is_available: Sequence[bool] = [row >= 0 for row in rows]
        nothing = dict.fromkeys(room.packing.shift_of, 0)
        free = [room.free_amounts(number) if row >= 0 else nothing for number, row in enumerate(rows)]
        self.free_cpus: Sequence[int] = [each["cpus"] for each in free]
        self.free_memory_bytes: Sequence[int] = [each["memory"] for each in free]
        self.free_gpus: Sequence[Mapping[str, int]] = [_of_kind(each, "gpu:") for each in free]
        self.free_generic: Sequence[Mapping[str, int]] = [_of_kind(each, "generic:") for each in free]
        self.free_gpu_parts: Sequence[Sequence[tuple[str, int]]] = [
            room.packing.parts.of(row) if room.packing.has_gpus and row >= 0 else () for row in rows
        ]
        is_idle = [room.is_idle(number) for number in range(len(nodes))]
        self.allocation_count: Sequence[int] = [0 if idle else 1 for idle in is_idle]
        self.aside_count: Sequence[int] = [int(row >= 0 and room.packing.is_shared(row)) for row in rows]


def _of_kind(amounts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {field.removeprefix(prefix): count for field, count in amounts.items() if field.startswith(prefix)}
