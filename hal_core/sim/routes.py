"""The ways that transfers between nodes take, and how long one takes that has them for itself. Pure.

What the topology says of a domain's link is what each of its nodes, or each domain just below it, can send and get in
a second, all transfers together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from hal_core.models.domains import Domains
from hal_core.models.node import Cluster
from hal_core.models.topology import Link
from hal_core.sim.links import Way

ONE_LINK = Link(0.0, 1e8)
"""Between all nodes of a cluster without a topology: what the authors of the locality workload take."""


class Routes:
    """Between the nodes of one cluster, and from a store that is on none of them, which is as far as can be."""

    def __init__(self, cluster: Cluster) -> None:
        topology = cluster.topology
        self._across = ONE_LINK if topology is None else topology.across
        self._domains = Domains(topology, cluster.nodes) if topology is not None and topology.levels else None
        count = len(cluster.nodes)
        self._out, self._in = self._ways(count), self._ways(count)
        """Of each node: the ways from it, and to it, the widest domain's first."""

    def far_s(self, size: int) -> float:
        """How long so many bytes take from afar, with nothing else under way."""
        return _seconds(self._across, size)

    def between_s(self, size: int, source: int, target: int) -> float:
        return _seconds(self._link(source, target), size)

    def latency_bytes(self, source: int, target: int) -> float:
        """What could be sent while the latency passes."""
        link = self._link(source, target)
        return link.latency_s * link.bytes_per_s

    def ways(self, source: int, target: int) -> tuple[Way, ...]:
        """From one node to another."""
        depth = 0 if self._domains is None else self._domains.span(1 << source | 1 << target).depth
        return (*self._out[source][depth:], *self._in[target][depth:])

    def ways_from_afar(self, target: int) -> tuple[Way, ...]:
        return tuple(self._in[target])

    def is_wide(self, source: int, target: int) -> bool:
        """Whether the two share no domain of any level."""
        return self._domains is not None and self._domains.span(1 << source | 1 << target).depth == 0

    def near(self, size: int, holders: Iterable[int], least_s: float = 0.0) -> dict[float, int]:
        """Seconds -> the nodes, as bits, to which one of the holders sends so many bytes in that time, or in `least_s`
        if that is longer."""
        found: dict[float, int] = {}
        domains = self._domains
        for number in holders if domains is not None else ():
            assert domains is not None
            for depth in range(domains.depth_max, 0, -1):
                domain = domains.around(number, depth)
                seconds = max(least_s, _seconds(domain.link, size))
                found[seconds] = found.get(seconds, 0) | domain.nodes
        return found

    def wide(self, size: int, holders: Sequence[int]) -> dict[float, int]:
        """Seconds -> the nodes to which a holder would send in that time over the widest level, as busy as its
        links are now. Empty without a topology."""
        found: dict[float, int] = {}
        domains = self._domains
        if domains is None or not holders:
            return found
        out_bytes_per_s = max(self._out[number][0].share for number in holders)
        for domain in domains.at_depth[1]:
            first = (domain.nodes & -domain.nodes).bit_length() - 1
            rate = min(out_bytes_per_s, self._in[first][0].share)
            seconds = self._across.latency_s + size / rate
            found[seconds] = found.get(seconds, 0) | domain.nodes
        return found

    def _link(self, source: int, target: int) -> Link:
        if self._domains is None:
            return self._across
        return self._domains.span(1 << source | 1 << target).link

    def _ways(self, node_count: int) -> Sequence[Sequence[Way]]:
        """In one direction. At the end the node's own; before that those of its domains."""
        domains = self._domains
        if domains is None:
            return [[Way(self._across.bytes_per_s)] for _ in range(node_count)]
        way_of: dict[tuple[str, ...], Way] = {}
        found: list[list[Way]] = []
        for number in range(node_count):
            line = [domains.around(number, depth) for depth in range(domains.depth_max + 1)]
            ways = [way_of.setdefault(inner.path, Way(outer.link.bytes_per_s)) for outer, inner in pairwise(line)]
            found.append([*ways, Way(line[-1].link.bytes_per_s)])
        return found


def _seconds(link: Link, size: int) -> float:
    return link.latency_s + size / link.bytes_per_s
