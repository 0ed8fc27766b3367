"""What HAL is told of Slurm's nodes. Pure."""

from __future__ import annotations

from typing import Final

from hal_core import Node, NodeName
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.way import SlurmNode

MIB: Final = 1 << 20


def size_of(node: SlurmNode) -> tuple[int, int, tuple[str, ...]]:
    """What HAL is told of it."""
    return node.cpu_count, node.memory_mb, node.gpus


def offered_as(node: SlurmNode, options: SlurmOptions) -> Node:
    ahead = options.ahead
    return Node(
        NodeName(node.name),
        node.cpu_count * ahead,
        node.memory_mb * MIB * ahead,
        gpus=node.gpus * ahead,
        executor=options.name,
    )
