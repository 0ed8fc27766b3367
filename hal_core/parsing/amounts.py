"""What each node of a job must offer: nodes, tasks, CPUs, memory and GPUs from the options that were given.

Options that say the same thing twice are refused, never weighed against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hal_core.errors import InvalidInput, Problem
from hal_core.models.job import Shape
from hal_core.models.node import Partition
from hal_core.parsing.layout import NodeClass, Place, check_fits, choose_node_count
from hal_core.parsing.resources import Gpus
from hal_core.parsing.values import Wishes


class Amounts(NamedTuple):
    node_count: int
    task_count: int
    cpus_per_task: int
    memory_bytes_per_node: int
    gpus_per_node: int
    gpu_type: str
    gpu_milli: int = 0


def resolve_amounts(wishes: Wishes, partition: Partition, classes: Sequence[NodeClass], place: Place) -> Amounts:
    """Raises InvalidInput if the options contradict each other or no node of the partition can hold the result."""
    asked = _gpu_wish(wishes, place)
    if asked.per_task is not None and wishes.ntasks is None and wishes.ntasks_per_node is None:
        asked = asked._replace(per_node=asked.per_task, per_task=None)
    cpus_per_task = wishes.cpus_per_task or 1

    def shape_for(node_count: int, task_count: int) -> Shape | None:
        tasks = -(-task_count // node_count)
        gpus = asked.on_each_node(node_count, tasks)
        if gpus is None or (wishes.ntasks_per_node or tasks) < tasks:
            return None
        milli = asked.milli
        if milli and (node_count if asked.total else tasks if asked.per_task else 1) > 1:
            return None
        return Shape(
            partition=partition.name,
            node_count=node_count,
            cpus=tasks * cpus_per_task,
            memory_bytes=_memory_bytes(wishes, partition, tasks * cpus_per_task, gpus + milli / 1000),
            gpus=gpus,
            gpu_type=asked.type if gpus or milli else "",
            gpu_milli=milli,
            generic=wishes.gres.amounts if wishes.gres else (),
            features=wishes.constraint.features,
            alternatives=wishes.constraint.alternatives,
            is_exclusive=wishes.exclusive,
        )

    must_divide = asked.total.count if asked.total else 0
    node_count, task_count = _counts(
        wishes,
        place,
        lambda tasks: choose_node_count(classes, tasks, lambda nodes: shape_for(nodes, tasks), must_divide),
    )
    shape = shape_for(node_count, task_count)
    if shape is None and asked.milli:
        raise _wrong(place("gpus", "gpus-per-task"), "a share of a GPU is for one node; use --gpus-per-node")
    if shape is None:
        raise _wrong(
            place("gpus"), f"{must_divide} GPUs cannot be spread evenly over {node_count} nodes; use --gpus-per-node"
        )
    if wishes.mem_per_gpu is not None and not (shape.gpus or shape.gpu_milli):
        raise _wrong(place("mem-per-gpu"), "needs GPUs; add --gpus-per-node, or use --mem")
    check_fits(classes, shape, place)
    gpus = (shape.gpus, shape.gpu_type, shape.gpu_milli)
    return Amounts(node_count, task_count, cpus_per_task, shape.memory_bytes, *gpus)


class _GpuWish(NamedTuple):
    """At most one of the three is given."""

    total: Gpus | None = None
    per_node: Gpus | None = None
    per_task: Gpus | None = None

    @property
    def type(self) -> str:
        given = self.total or self.per_node or self.per_task
        return given.type if given else ""

    @property
    def milli(self) -> int:
        """Thousandths of one device, on each node."""
        given = self.total or self.per_node or self.per_task
        return given.milli if given else 0

    def on_each_node(self, node_count: int, tasks_per_node: int) -> int | None:
        """None if the total does not divide."""
        if self.total is not None:
            return None if self.total.count % node_count else self.total.count // node_count
        if self.per_task is not None:
            return self.per_task.count * tasks_per_node
        return self.per_node.count if self.per_node else 0


def _gpu_wish(wishes: Wishes, place: Place) -> _GpuWish:
    gres = wishes.gres.gpus if wishes.gres else None
    if gres is not None and (wishes.gpus or wishes.gpus_per_node or wishes.gpus_per_task):
        raise _wrong(place("gres"), "GPUs are asked for by --gres and by a --gpus option; give only one of them")
    return _GpuWish(wishes.gpus, wishes.gpus_per_node or gres, wishes.gpus_per_task)


def _memory_bytes(wishes: Wishes, partition: Partition, cpus: int, gpus: float) -> int:
    if wishes.mem is not None:
        return wishes.mem
    if wishes.mem_per_gpu is not None:
        return int(wishes.mem_per_gpu * gpus)
    if wishes.mem_per_cpu is not None:
        return wishes.mem_per_cpu * cpus
    return partition.memory_bytes_per_cpu_default * cpus


def _counts(wishes: Wishes, place: Place, choose: Callable[[int], int]) -> tuple[int, int]:
    """(nodes, tasks). Without --ntasks there is one task on each node, or as many as --ntasks-per-node says.

    `choose` gives the number of nodes for a number of tasks.
    """
    nodes = wishes.nodes[0] if wishes.nodes else None
    tasks, per_node = wishes.ntasks, wishes.ntasks_per_node
    if tasks is None:
        return nodes or 1, (nodes or 1) * (per_node or 1)
    if nodes is not None:
        if tasks < nodes:
            raise _wrong(place("ntasks"), f"{tasks} tasks are fewer than {nodes} nodes; give each node a task")
        if per_node is not None and tasks > nodes * per_node:
            text = f"{tasks} tasks do not fit on {nodes} nodes with {per_node} each; remove one of the three options"
            raise _wrong(place("ntasks-per-node"), text)
        return nodes, tasks
    if tasks == 1:
        return 1, 1
    count = choose(tasks)
    return (max(count, -(-tasks // per_node)) if per_node else count), tasks


def _wrong(place: str, text: str) -> InvalidInput:
    return InvalidInput([Problem(place, text)])
