"""Snapshots that each engine is tried with, beside the random ones: mistakes that are made should not hang on dice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob
from hal_core.models.topology import Level, Link, Topology
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot

ALL: Final = PartitionName("all")
GIB: Final = 1 << 30
RACKS: Final = Topology((Level("rack", Link(1e-6, 1e10)),), Link(1e-3, 1e9))


def known_snapshots() -> list[FakeSnapshot]:
    """More than there is room for, of each kind; each call makes them anew."""
    node, gang = Shape(ALL, 1, 4, GIB), Shape(ALL, 2, 3, 0)
    gpu, share = Shape(ALL, 1, 1, 0, gpus=1), Shape(ALL, 1, 1, 0, gpu_milli=600)
    in_rack = Shape(ALL, 2, 1, 0, level="rack", is_level_required=True)
    mixed = Shape(ALL, 1, 1, 0, also=(Shape(ALL, 1, 4, 0),))
    alone = Shape(ALL, 1, 1, 0, is_exclusive=True)
    return [
        _snapshot([Shape(ALL, 1, 2, 0)], node_count=1, element_count=3),
        _snapshot([Shape(ALL, 1, 1, 3 * GIB)], node_count=2, element_count=4),
        _snapshot([gang, gang, node]),
        _snapshot([alone, node, alone], node_count=2),
        _snapshot([gpu, share, gpu, share, gpu], node_count=1),
        _snapshot([in_rack, in_rack]),
        _snapshot([mixed, mixed, node]),
    ]


def _snapshot(shapes: Sequence[Shape], node_count: int = 3, element_count: int = 1) -> FakeSnapshot:
    """Idle nodes of 4 CPUs, 4 GiB and two GPUs, the first in another rack than the others, and a job for each shape."""
    racks = ["b", *"a" * node_count]
    nodes = tuple(Node(NodeName(f"n{n}"), 4, 4 * GIB, ("a100",) * 2, location=(racks[n],)) for n in range(node_count))
    partition = Partition(ALL, tuple(node.name for node in nodes), is_default=True)
    jobs = [
        PendingJob(JobId(1 + number), element_count, shape, math.inf, 0, 0.0) for number, shape in enumerate(shapes)
    ]
    columns = FakeColumns.of_idle(nodes)
    return FakeSnapshot(1.0, 0, columns, {ALL: partition}, pending_jobs=tuple(jobs), topology=RACKS)
