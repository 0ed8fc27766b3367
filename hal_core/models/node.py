"""Nodes and partitions: what the cluster consists of, as declared in the YAML or offered by an executor.

What is free at this moment is state (rules/state.py), not here.
"""

from __future__ import annotations

from enum import Enum
from typing import NewType

import attrs

from hal_core.models.topology import Topology

NodeName = NewType("NodeName", str)
PartitionName = NewType("PartitionName", str)


@attrs.frozen
class Node:
    """A machine with resources. `gpus` holds the type of each device in index order: ("a100", "a100")."""

    name: NodeName
    cpu_count: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    generic: tuple[tuple[str, int], ...] = ()
    """Countable site-defined resources, sorted by name: (("licence_x", 4),)."""
    features: tuple[str, ...] = ()
    location: tuple[str, ...] = ()
    """Path in the topology from the widest to the narrowest domain: ("site1", "rack3", "switch7")."""
    executor: str = "metal"
    address: str = ""
    """Where other nodes reach it, for the programs of a gang. Empty: its name is its address."""


@attrs.frozen
class Partition:
    """A named set of nodes with limits. `walltime_s_max` None means no limit."""

    name: PartitionName
    nodes: tuple[NodeName, ...]
    is_default: bool = False
    walltime_s_max: float | None = None
    walltime_s_default: float | None = None
    memory_bytes_per_cpu_default: int = 0
    priority: int = 0


@attrs.frozen
class Cluster:
    """All that HAL manages, as far as decisions need to know it."""

    name: str
    nodes: tuple[Node, ...]
    partitions: tuple[Partition, ...]
    node_timeout_s: float = 300.0
    """Without contact for so long, a node is given up: it is down, and what ran there has ended (node_lost)."""
    topology: Topology | None = None
    """What the locations of the nodes mean; without it they mean nothing."""


class NodeStatus(Enum):
    """Whether a node can be given work. Drained is a flag beside it (an operator's wish, not a fact about the node)."""

    UNKNOWN = "unknown"
    """Declared, but its executor has not reported yet."""
    UP = "up"
    SUSPECT = "suspect"
    """Contact lost a moment ago: nothing new starts, what runs is left alone."""
    DOWN = "down"
