"""How long a transfer between two nodes takes, by the narrowest domain of the topology that has both. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hal_core.models.domains import Domains
from hal_core.models.node import Cluster
from hal_core.models.topology import Link

ONE_LINK = Link(0.0, 1e8)
"""Between all nodes of a cluster without a topology: what the authors of the locality workload take."""


class Routes:
    """Between the nodes of one cluster, and from a store that is on none of them, which is as far as can be."""

    def __init__(self, cluster: Cluster) -> None:
        topology = cluster.topology
        self._across = ONE_LINK if topology is None else topology.across
        self._domains = Domains(topology, cluster.nodes) if topology is not None and topology.levels else None

    def far_s(self, size: int) -> float:
        """The longest that so many bytes take."""
        return _seconds(self._across, size)

    def between_s(self, size: int, source: int, target: int) -> float:
        return _seconds(self._link(source, target), size)

    def is_wide(self, source: int, target: int) -> bool:
        """Whether the two share no domain of any level."""
        return self._domains is not None and self._domains.span(1 << source | 1 << target).depth == 0

    def near(self, size: int, holders: Iterable[int]) -> dict[float, int]:
        """Seconds -> the nodes, as bits, to which one of the holders sends so many bytes in that time."""
        found: dict[float, int] = {}
        domains = self._domains
        for number in holders if domains is not None else ():
            assert domains is not None
            for depth in range(domains.depth_max, 0, -1):
                domain = domains.around(number, depth)
                seconds = _seconds(domain.link, size)
                found[seconds] = found.get(seconds, 0) | domain.nodes
        return found

    def _link(self, source: int, target: int) -> Link:
        if self._domains is None:
            return self._across
        return self._domains.span(1 << source | 1 << target).link


def _seconds(link: Link, size: int) -> float:
    return link.latency_s + size / link.bytes_per_s
