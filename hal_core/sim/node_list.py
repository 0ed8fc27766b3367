"""A cluster as the locality workload lists it: one node in a line, `{ id: 0 memory: 128 bandwidth: 0.1 core: 20 }`.

Memory in GB, bandwidth in GB/s, between the node and whatever it reads from.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from hal_core.errors import InvalidInput, Problem
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.topology import Link, Topology
from hal_core.sim.lines import numbered_lines

GB = 1e9
LINE = re.compile(rb"\{ *id: *(\d{1,9}) +memory: *([\d.]{1,12}) +bandwidth: *([\d.]{1,12}) +core: *(\d{1,6}) *\}")


def is_node_list(first_line: bytes) -> bool:
    return LINE.fullmatch(first_line.strip()) is not None


def read_node_list(stream: BinaryIO, name: str) -> Cluster:
    """One partition of all nodes. Raises errors.InvalidInput: a line that is no node is no cluster."""
    nodes: list[Node] = []
    rates: set[float] = set()
    problems: list[Problem] = []
    for number, line in numbered_lines(stream):
        found = None if isinstance(line, Problem) else LINE.fullmatch(line)
        if found is not None:
            memory_gb, rate = float(found[2]), float(found[3])
            nodes.append(Node(NodeName(f"node{int(found[1])}"), int(found[4]), int(memory_gb * GB)))
            rates.add(rate)
        elif isinstance(line, Problem):
            problems.append(line)
        elif line:
            text = "expected a node such as { id: 0 memory: 128 bandwidth: 0.1 core: 20 }"
            problems.append(Problem(f"{name}: line {number}", text))
    if len(rates) > 1:
        problems.append(Problem(name, "the nodes have different bandwidths; one for all is what can be simulated"))
    if problems or not nodes or not min(rates) > 0:
        raise InvalidInput(problems or [Problem(name, "no nodes, or nodes without bandwidth")])
    partition = Partition(PartitionName("all"), tuple(node.name for node in nodes), is_default=True)
    return Cluster(name, tuple(nodes), (partition,), topology=Topology((), Link(0.0, rates.pop() * GB)))
