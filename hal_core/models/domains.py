"""The domains of a cluster: its topology as a tree of sets of nodes, and what communication costs between nodes in it.

A set of nodes is one integer (models/masks.py), so what is free in a domain is one intersection and one count. What
has no location at a level stands in a domain without a name there. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hal_core.models.masks import mask_of, members_of
from hal_core.models.node import Node
from hal_core.models.topology import MESSAGE_BYTES, Level, LevelKind, Link, Topology
from hal_core.models.torus import Torus

KNOWN_BYTES = 64
"""A domain whose nodes span more than so many bytes is hardly ever twice the same."""
KNOWN_MAX = 200


class Domain:
    """One domain. `depth` 0 is the whole cluster, which has no level; the narrowest ones have no children."""

    __slots__ = (
        *("_asked", "_is_wide", "_known", "_near", "_parts", "_span"),
        *("children", "depth", "is_divided", "level", "line", "link", "nodes", "path", "place", "torus"),
    )

    def __init__(self, path: tuple[str, ...], level: Level | None, link: Link) -> None:
        self.path = path
        self.depth = len(path)
        self.level = level
        self.link = link
        self.nodes = 0
        self.children: tuple[Domain, ...] = ()
        self.is_divided = False
        """What a gang takes of it is taken of its children one by one: it is no domain of segments, nor has it links
        between groups."""
        self.torus: Torus | None = None
        self.line: tuple[Domain, ...] = (self,)
        """From the whole cluster down to it."""
        self.place = 0
        """Among those of its depth."""
        self._span = slice(0, 0)
        """Which bytes of a set of nodes its own can be in."""
        self._near = 0
        """Its nodes in these."""
        self._parts: list[tuple[slice, int, Domain]] = []
        """The same of its children."""
        self._is_wide = False
        self._known: dict[bytes, Sequence[tuple[int, Domain]]] = {}
        """What was answered, by the bytes of the set in its span."""
        self._asked: tuple[bytes, Sequence[tuple[int, Domain]]] = (b"", ())
        """The last question to a wide one, and its answer: one choice asks twice."""

    def settle(self) -> None:
        """Its nodes and its children are known."""
        first = max(0, (self.nodes & -self.nodes).bit_length() - 1) // 8
        self._span = slice(first, (self.nodes.bit_length() + 7) // 8)
        self._near = self.nodes >> 8 * first
        self._parts = [(child._span, child._near, child) for child in self.children]
        self.is_divided = bool(self.children) and self.kind is LevelKind.TREE
        self._is_wide = self._span.stop - self._span.start > KNOWN_BYTES

    def count(self, packed: bytes) -> int:
        """How many of a set of nodes (Domains.packed) are in it: that costs by its own size, not by the cluster's."""
        return (int.from_bytes(packed[self._span], "little") & self._near).bit_count()

    def rooms(self, packed: bytes) -> Sequence[tuple[int, Domain]]:
        """The children that have any of the nodes, each with how many."""
        if self._is_wide:
            asked = self._asked  # somebody in another thread may ask something else meanwhile
            if asked[0] is not packed:
                asked = self._asked = packed, self._rooms(packed)
            return asked[1]
        nodes = packed[self._span]  # between two questions little changes in most domains
        found = self._known.get(nodes)
        if found is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            found = self._known[nodes] = self._rooms(packed)
        return found

    def _rooms(self, packed: bytes) -> Sequence[tuple[int, Domain]]:
        number_of = int.from_bytes
        return [
            (size, child)
            for span, near, child in self._parts
            if (size := (number_of(packed[span], "little") & near).bit_count())
        ]

    @property
    def name(self) -> str:
        """`rack rack3`; the whole cluster is `cluster`."""
        return f"{self.level.name} {'/'.join(self.path)}" if self.level else "cluster"

    @property
    def kind(self) -> LevelKind:
        return self.level.kind if self.level else LevelKind.TREE


class Domains:
    """The tree, and the order of the nodes in it: nodes that are close stand next to each other."""

    def __init__(self, topology: Topology, nodes: Sequence[Node]) -> None:
        self.topology = topology
        self.depth_max = len(topology.levels)
        self.at_depth: list[list[Domain]] = [[] for _ in range(self.depth_max + 1)]
        numbers_of: dict[tuple[str, ...], list[int]] = {}
        for number, node in enumerate(nodes):
            path = (*node.location, *("",) * self.depth_max)[: self.depth_max]
            numbers_of.setdefault(path, []).append(number)
        names_below: dict[tuple[str, ...], dict[str, None]] = {}
        for path in numbers_of:
            for depth in range(self.depth_max):
                names_below.setdefault(path[:depth], {})[path[depth]] = None
        self.has_segments = any(level.segment > 1 for level in topology.levels)
        self.root = self._build((), names_below, numbers_of)
        self.leaf_of: list[Domain] = [self.root] * len(nodes)
        order: list[int] = []
        for leaf in self.at_depth[-1]:
            for number in numbers_of.get(leaf.path, ()):
                self.leaf_of[number] = leaf
                order.append(number)
        self.position = [0] * len(nodes)
        """Of each node: its place in the order."""
        for place, number in enumerate(order):
            self.position[number] = place
        self._is_numbered = order == sorted(order)
        """That order is the one of their numbers."""
        self._byte_count = (len(nodes) + 7) // 8
        self.widest = [max([domain.nodes.bit_count() for domain in its], default=0) for its in self.at_depth]
        """By depth, how many nodes the largest domain has."""
        for domains in self.at_depth:
            for place, domain in enumerate(domains):
                domain.place = place
                for child in domain.children:
                    child.line = (*domain.line, child)

    def _build(
        self,
        path: tuple[str, ...],
        names_below: dict[tuple[str, ...], dict[str, None]],
        numbers_of: dict[tuple[str, ...], list[int]],
    ) -> Domain:
        depth = len(path)
        level = self.topology.levels[depth - 1] if depth else None
        domain = Domain(path, level, level.link if level else self.topology.across)
        self.at_depth[depth].append(domain)
        domain.nodes = mask_of(numbers_of.get(path, ()))
        if level is not None and level.kind is LevelKind.TORUS:
            domain.torus = Torus(level.dimensions)
        domain.children = tuple(
            self._build((*path, name), names_below, numbers_of) for name in names_below.get(path, ())
        )
        for child in domain.children:
            domain.nodes |= child.nodes
        domain.settle()
        return domain

    def packed(self, nodes: int) -> bytes:
        """A set of nodes, for `Domain.count`."""
        return nodes.to_bytes(self._byte_count, "little")

    def ordered(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """The nodes in the order of the topology, in which ranks are given to them."""
        return tuple(sorted(numbers) if self._is_numbered else sorted(numbers, key=self.position.__getitem__))

    def at_level(self, level: str) -> list[Domain]:
        """The domains of that level; none if there is no such level."""
        depth = self.topology.depth_of(level)
        return self.at_depth[depth] if depth else []

    def named(self, level: str, name: str) -> int:
        """The nodes of the level's domains of that name; 0 if there are none."""
        found = 0
        for domain in self.at_level(level):
            if domain.path[-1] == name:
                found |= domain.nodes
        return found

    def span(self, nodes: int) -> Domain:
        """The narrowest domain that has all of these nodes."""
        if not nodes:
            return self.root
        leaf = self.leaf_of[(nodes & -nodes).bit_length() - 1]
        return next(domain for domain in reversed(leaf.line) if not nodes & ~domain.nodes)

    def around(self, number: int, depth: int) -> Domain:
        """The domain of that depth in which the node is."""
        return self.leaf_of[number].line[depth]

    def leaf_count(self, nodes: int) -> int:
        """In how many of the narrowest domains these nodes are."""
        return len({id(self.leaf_of[number]) for number in members_of(nodes)})

    def exchange_s(self, nodes: int, around: Domain | None = None) -> float:
        """How long one exchange takes between two different ones of these nodes, on average over all pairs."""
        count = nodes.bit_count()
        if count < 2:
            return 0.0
        return self._all_pairs_s(around or self.span(nodes), nodes) / (count * (count - 1) / 2)

    def _all_pairs_s(self, domain: Domain, nodes: int) -> float:
        """The sum over all pairs within the domain."""
        inside = nodes & domain.nodes
        count = inside.bit_count()
        if count < 2:
            return 0.0
        if domain.torus is not None:
            hops = domain.torus.mean_hops(torus_positions(domain, inside))
            return hops * domain.link.exchange_s * count * (count - 1) / 2
        counts, total_s = [], 0.0
        for child in domain.children:
            part = (inside & child.nodes).bit_count()
            if part:
                counts.append(part)
                total_s += self._all_pairs_s(child, inside) if part > 1 else 0.0
        if not domain.children:
            counts = [1] * count
        pairs = (count * count - sum(part * part for part in counts)) / 2
        return total_s + pairs * _crossing_s(domain, count, len(counts))


def _crossing_s(domain: Domain, node_count: int, part_count: int) -> float:
    """One exchange between nodes in different parts of the domain.

    In a dragonfly each part has one link to each other part that is used, which its nodes share: two large parts are
    the worst (Kim et al., ISCA 2008).
    """
    link = domain.link
    if domain.kind is LevelKind.DRAGONFLY and domain.children and part_count > 1:
        share = min(1.0, (part_count - 1) * part_count / node_count)
        return link.latency_s + MESSAGE_BYTES / (link.bytes_per_s * share)
    return link.exchange_s


def torus_positions(domain: Domain, nodes: int) -> list[int]:
    """Where in the torus these nodes of it are: as they are declared."""
    return [(domain.nodes & (1 << number) - 1).bit_count() for number in members_of(nodes)]
