"""The topology of a cluster as declared: one hierarchy from the widest domain (a region) to the narrowest (a leaf).

A node's `location` names its domain at each level. The figures of a level are those between two nodes that share a
domain of that level and no narrower one; `across` is for nodes that share none.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs

MESSAGE_BYTES: Final = 1 << 20
"""What one exchange carries when levels are compared: large enough for bandwidth, small enough for latency to count."""
SECONDS_FOR_MONEY: Final = 3600.0
"""What one unit of money is worth where it is weighed against time: about what an hour of a node is."""
COMMUNICATION: Final = {"none": 0.0, "light": 0.1, "heavy": 0.4}
"""Class of a job -> the share of its run time that it communicates when its nodes are as close as they can be."""


class LevelKind(Enum):
    """How the parts of a domain are connected."""

    TREE = "tree"
    """By switches: all pairs are alike."""
    BLOCK = "block"
    """An NVLink domain or the like. Gangs wider than a block take whole segments of it."""
    TORUS = "torus"
    """Each node to its neighbours in each dimension. The narrowest level only."""
    DRAGONFLY = "dragonfly"
    """Groups, each pair of them by a link of its own, which the nodes of both share."""


@attrs.frozen
class Link:
    """What lies between two nodes."""

    latency_s: float
    bytes_per_s: float
    money_per_gb: float = 0.0

    def transfer_s(self, size_bytes: float) -> float:
        """How long so many bytes take from one end to the other."""
        return self.latency_s + size_bytes / self.bytes_per_s

    def transfer_cost_s(self, size_bytes: float) -> float:
        """The same, and what they cost in money, as seconds."""
        return self.transfer_s(size_bytes) + size_bytes / 1e9 * self.money_per_gb * SECONDS_FOR_MONEY

    @property
    def exchange_s(self) -> float:
        """How long one exchange between two nodes takes."""
        return self.latency_s + MESSAGE_BYTES / self.bytes_per_s


@attrs.frozen
class Level:
    """One level of the hierarchy."""

    name: str
    link: Link
    kind: LevelKind = LevelKind.TREE
    dimensions: tuple[int, ...] = ()
    """Of a torus; its nodes are numbered as they are declared, the last dimension fastest."""
    segment: int = 1
    """Of a block: a gang that needs several takes a multiple of so many nodes of each, if it can."""


@attrs.frozen
class Topology:
    """Levels from the widest to the narrowest."""

    levels: tuple[Level, ...]
    across: Link

    def depth_of(self, name: str) -> int | None:
        """1 for the widest level; the whole cluster, which has no name, is 0. None: there is no such level."""
        for depth, level in enumerate(self.levels, 1):
            if level.name == name:
                return depth
        return None
