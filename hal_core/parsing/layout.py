"""How many nodes and tasks a request means in its partition, and whether its nodes could ever hold it.

Only declared sizes count here; what is free now is for the engine. Nodes of equal size are counted once, so the cost
does not grow with the cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs

from hal_core.errors import InvalidInput, Problem
from hal_core.models.job import Shape
from hal_core.models.node import Node
from hal_core.models.plural import plural
from hal_core.parsing.constraints import Constraint, format_constraint
from hal_core.parsing.memory import format_memory
from hal_core.parsing.resources import Gpus, format_gpus

Place = Callable[..., str]
"""Where the first of some options stood; else the name of the first."""
ShapeFor = Callable[[int], Shape | None]
"""The shape that a number of nodes would give; None if the request cannot be spread over so many."""

CPU_OPTIONS: Final = ("cpus-per-task", "ntasks-per-node", "ntasks")
MEMORY_OPTIONS: Final = ("mem", "mem-per-cpu", "mem-per-gpu", *CPU_OPTIONS)
GPU_OPTIONS: Final = ("gpus", "gpus-per-node", "gpus-per-task", "gres")


@attrs.frozen
class NodeClass:
    """Nodes of equal size and features: one of them, and how many there are."""

    node: Node
    count: int


def group_nodes(nodes: Iterable[Node]) -> tuple[NodeClass, ...]:
    """Nodes by class, the largest first."""
    counts: dict[tuple[object, ...], list[Node]] = {}
    for node in nodes:
        counts.setdefault(_class_key(node), []).append(node)
    classes = [NodeClass(members[0], len(members)) for members in counts.values()]
    return tuple(sorted(classes, key=lambda each: (each.node.cpu_count, each.node.memory_bytes), reverse=True))


def without(classes: Sequence[NodeClass], nodes: Iterable[Node]) -> tuple[NodeClass, ...]:
    """What is left of the classes when these nodes, which are in them, are taken out."""
    gone = Counter(map(_class_key, nodes))
    left = ((each.node, each.count - gone[_class_key(each.node)]) for each in classes)
    return tuple(NodeClass(node, count) for node, count in left if count > 0)


def _class_key(node: Node) -> tuple[object, ...]:
    return (node.cpu_count, node.memory_bytes, node.gpus, node.generic, frozenset(node.features))


def can_hold(node: Node, shape: Shape) -> bool:
    """Whether the empty node could hold one node's part of the shape."""
    gpus = node.gpus.count(shape.gpu_type) if shape.gpu_type else len(node.gpus)
    generic = dict(node.generic)
    return (
        node.cpu_count >= shape.cpus
        and node.memory_bytes >= shape.memory_bytes
        and gpus >= (shape.gpus or bool(shape.gpu_milli))
        and shape.suits(node.features)
        and all(generic.get(name, 0) >= count for name, count in shape.generic)
    )


def choose_node_count(classes: Sequence[NodeClass], task_count: int, shape_for: ShapeFor, must_divide: int = 0) -> int:
    """The smallest number of nodes such that every node that can hold a task holds its part of them.

    If the nodes are too unequal for that, the smallest number for which enough nodes are large enough. If there is
    none either, the most spread one: admission then says what is missing. `must_divide`, if not 0, is a number of
    GPUs that the nodes share evenly.
    """
    total = sum(each.count for each in classes)
    most = min(task_count, total)
    single = shape_for(task_count)
    eligible = [each for each in classes if single is None or can_hold(each.node, single)]
    count_eligible = sum(each.count for each in eligible)
    enough = 0
    low = _lower_bound(eligible, task_count, single)
    for node_count in _candidates(low, most, task_count, must_divide) if eligible else ():
        shape = shape_for(node_count)
        if shape is None:
            continue
        holding = sum(each.count for each in eligible if can_hold(each.node, shape))
        if holding >= node_count and holding == count_eligible:
            return node_count
        if holding >= node_count and not enough:
            enough = node_count
    return enough or (1 if shape_for(max(most, 1)) is None else max(most, 1))


def check_fits(classes: Sequence[NodeClass], shape: Shape, place: Place) -> None:
    """Refuse a shape that the partition can never hold: by the option that asks for too much, with what the biggest
    nodes have."""
    holding = sum(each.count for each in classes if can_hold(each.node, shape))
    if holding >= shape.node_count:
        return
    if not classes:
        text = f"partition {shape.partition!r} has no nodes; choose another partition"
        raise InvalidInput([Problem(place("partition"), text)])
    asked = _describe_shape(shape)
    if holding:
        nodes = f"{shape.node_count} nodes with {asked} each are asked for"
        text = f"{nodes}; partition {shape.partition!r} has only {plural(holding, 'such node')}"
        raise InvalidInput([Problem(place("nodes", "ntasks"), text)])
    lacking = list(_lacking([each.node for each in classes], shape))
    options = lacking[0][0] if lacking else (*MEMORY_OPTIONS, *GPU_OPTIONS)
    texts = ", ".join(text for _, text in lacking) or "none has all of it together"
    biggest = _describe_node(classes[0].node)
    text = f"no node of partition {shape.partition!r} can hold {asked}: {texts}; the biggest node has {biggest}"
    raise InvalidInput([Problem(place(*options), text)])


def _candidates(low: int, most: int, task_count: int, must_divide: int) -> list[int]:
    """Node counts worth looking at. What a node must hold depends on its tasks alone, so the smallest count for each
    number of tasks on a node suffices; only GPUs shared by all nodes need every count that divides them."""
    if must_divide:
        return [count for count in range(low, most + 1) if must_divide % count == 0]
    tasks_per_node_max = -(-task_count // low)
    counts = {-(-task_count // tasks) for tasks in range(1, tasks_per_node_max + 1)}
    return sorted(count for count in counts if low <= count <= most)


def _lower_bound(eligible: Sequence[NodeClass], task_count: int, single: Shape | None) -> int:
    """Fewer nodes than this lack CPUs, whatever else is asked for."""
    if not eligible or single is None:
        return 1
    tasks_per_node = max(each.node.cpu_count for each in eligible) // max(single.cpus, 1)
    return max(1, -(-task_count // max(tasks_per_node, 1)))


def _lacking(nodes: Sequence[Node], shape: Shape) -> Iterator[tuple[Sequence[str], str]]:
    """Which amounts exceed every node, each behind the options that may have asked for it."""
    if (cpus := max(node.cpu_count for node in nodes)) < shape.cpus:
        yield CPU_OPTIONS, f"at most {plural(cpus, 'CPU')}"
    if (memory := max(node.memory_bytes for node in nodes)) < shape.memory_bytes:
        yield MEMORY_OPTIONS, f"at most {format_memory(memory)} of memory"
    gpus = max(node.gpus.count(shape.gpu_type) if shape.gpu_type else len(node.gpus) for node in nodes)
    if gpus < (shape.gpus or bool(shape.gpu_milli)):
        of_type = f" of type {shape.gpu_type!r}" if shape.gpu_type else ""
        yield GPU_OPTIONS, f"at most {plural(gpus, 'GPU')}{of_type}"
    for name, count in shape.generic:
        if (largest := max(dict(node.generic).get(name, 0) for node in nodes)) < count:
            yield ("gres",), f"at most {largest} {name!r}" if largest else f"none has {name!r}"
    for name in shape.features:
        if not any(name in node.features for node in nodes):
            yield ("constraint",), f"none has feature {name!r}"
    if shape.alternatives and not any(attrs.evolve(shape, features=()).suits(node.features) for node in nodes):
        yield ("constraint",), f"none has one of {format_constraint(Constraint((), shape.alternatives))}"


def _describe_shape(shape: Shape) -> str:
    parts = [plural(shape.cpus, "CPU")]
    if shape.memory_bytes:
        parts.append(f"{format_memory(shape.memory_bytes)} of memory")
    if shape.gpus or shape.gpu_milli:
        parts.append(_describe_gpus(Gpus(shape.gpus, shape.gpu_type, shape.gpu_milli)))
    parts += [f"{name}:{count}" for name, count in shape.generic]
    parts += [f"feature {name}" for name in shape.features]
    if shape.alternatives:
        parts.append(f"one of {format_constraint(Constraint((), shape.alternatives))}")
    return ", ".join(parts)


def _describe_node(node: Node) -> str:
    types = dict.fromkeys(node.gpus)
    gpus = ", ".join(_describe_gpus(Gpus(node.gpus.count(kind), kind)) for kind in types)
    cpus = plural(node.cpu_count, "CPU")
    return f"{cpus}, {format_memory(node.memory_bytes)} of memory" + (f", {gpus}" if gpus else "")


def _describe_gpus(gpus: Gpus) -> str:
    return f"{format_gpus(gpus)} GPU{'' if gpus.count == 1 else 's'}"
