"""Views of nodes and of the whole cluster, as plain values ready for JSON. Pure; nothing here changes the state."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs

from hal_core.models.node import NodeStatus, PartitionName

if TYPE_CHECKING:
    from hal_core.rules.state import State

ALLOCATIONS_SHOWN = 1000


@attrs.frozen(kw_only=True)
class NodeView:
    """One node. `reason` and `by`: why and by whom it was drained, or why it is not up."""

    name: str
    status: NodeStatus
    is_drained: bool
    reason: str
    by: str
    executor: str
    partitions: tuple[str, ...]
    cpu_count: int
    cpus_free: int
    memory_bytes: int
    memory_bytes_free: int
    gpus: dict[str, int]
    gpus_free: dict[str, int]
    generic: dict[str, int]
    generic_free: dict[str, int]
    features: tuple[str, ...]
    missing: tuple[str, ...]
    """What the machine cannot do for jobs, in words."""
    location: tuple[str, ...]
    allocation_count: int


@attrs.frozen
class AllocationView:
    """What one element holds on the node."""

    job_id: int
    index: int
    attempt: int
    user: str
    cpus: str
    memory_bytes: int
    gpus: str


@attrs.frozen(kw_only=True)
class NodeDetail(NodeView):
    allocations: list[AllocationView]
    sequence: int


@attrs.frozen
class ClusterView:
    """The cluster in a few numbers. `cpus_free` counts only nodes that can be given work."""

    nodes: dict[str, int]
    drained_count: int
    cpu_count: int
    cpus_free: int


def node_view(state: State, number: int) -> NodeView:
    return NodeView(**_values(state, number))


def node_detail(state: State, number: int) -> NodeDetail:
    name = state.table.nodes[number].name
    allocations = [
        AllocationView(
            activity.record.job_id,
            activity.index,
            activity.attempt,
            activity.record.owner.user,
            share.cpus,
            share.memory_bytes,
            share.gpus,
        )
        for activity in islice(state.on_node.get(name, {}).values(), ALLOCATIONS_SHOWN)
        for share in activity.shares
        if share.node == name
    ]
    return NodeDetail(**_values(state, number), allocations=allocations, sequence=state.sequence)


def cluster_view(state: State) -> ClusterView:
    table = state.table
    available = [number for number in range(len(table)) if table.is_available[number]]
    return ClusterView(
        nodes=dict(Counter(status.value for status in table.status)),
        drained_count=sum(drain is not None for drain in table.drain),
        cpu_count=sum(node.cpu_count for node in table.nodes),
        cpus_free=sum(table.free_cpus[number] for number in available),
    )


def _values(state: State, number: int) -> dict[str, Any]:
    table = state.table
    node, drain = table.nodes[number], table.drain[number]
    reason, by = drain if drain is not None else (table.detail[number], "")
    if not reason and (orphans := table.orphans[number]):
        reason = f"{len(orphans)} attempts that should not run there are being ended"
    return {
        "name": node.name,
        "status": table.status[number],
        "is_drained": drain is not None,
        "reason": reason,
        "by": by,
        "executor": node.executor,
        "partitions": tuple(
            partition.name for partition in state.partitions.values() if _has(state, partition.name, number)
        ),
        "cpu_count": node.cpu_count,
        "cpus_free": table.free_cpus[number],
        "memory_bytes": node.memory_bytes,
        "memory_bytes_free": table.free_memory_bytes[number],
        "gpus": dict(Counter(node.gpus)),
        "gpus_free": dict(table.free_gpus[number]),
        "generic": dict(node.generic),
        "generic_free": dict(table.free_generic[number]),
        "features": node.features,
        "missing": table.missing[number],
        "location": node.location,
        "allocation_count": table.allocation_count[number],
    }


def _has(state: State, partition: PartitionName, number: int) -> bool:
    """Whether the node is in the partition, by bisection in its ascending node numbers."""
    numbers = state.partition_numbers.get(partition, [])
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number
