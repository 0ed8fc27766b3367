"""Whether the executors can do what `preempt_mode: suspend` asks for. Only the daemon, which has them, can say."""

from __future__ import annotations

from collections.abc import Iterator, Set

from hal_core.errors import InvalidInput, Problem
from hal_core.models.node import Cluster, Node
from hal_core.models.policy import PreemptMode


def check_suspending(cluster: Cluster, able: Set[str]) -> None:
    """`able`: the names of the executors that can suspend. Raises InvalidInput."""
    problems = list(_problems(cluster, able))
    if problems:
        raise InvalidInput(problems)


def _problems(cluster: Cluster, able: Set[str]) -> Iterator[Problem]:
    for index, partition in enumerate(cluster.partitions):
        names = set(partition.nodes)
        nodes = (node for node in cluster.nodes if node.name in names)
        if partition.preempt_mode is PreemptMode.SUSPEND and (unable := _unable(nodes, able)):
            yield Problem(f"partitions[{index}].preempt_mode", _text(unable))
    for index, level in enumerate(cluster.qos):
        if level.preempt_mode is PreemptMode.SUSPEND and (unable := _unable(cluster.nodes, able)):
            yield Problem(f"qos[{index}].preempt_mode", _text(unable))


def _unable(nodes: Iterator[Node] | tuple[Node, ...], able: Set[str]) -> Node | None:
    return next((node for node in nodes if node.executor not in able), None)


def _text(node: Node) -> str:
    return f"executor {node.executor!r} of node {node.name} cannot suspend jobs; requeue or cancel would work"
