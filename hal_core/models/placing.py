"""Where in the topology a job goes: the narrowest domain that holds it, and in it the fewest and fullest parts.

A gang takes the narrowest domain that has room for all of it; of several the one where it needs the fewest leaves, and
of those the one with the least room to spare, so that larger holes stay whole. Within it, parts that it fills come
first, the fullest first; what is left over goes into the part that it fills best. A single node is taken where
least is left to break: in the domain with the fewest free nodes, from the widest level down.
Best fit over a hierarchy of counts, as in Slurm's topology plug-ins (SchedMD, topology guide) and Kueue's TAS. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hal_core.models.domains import Domain, Domains, torus_positions
from hal_core.models.masks import lowest, members_of
from hal_core.models.topology import LevelKind


class Wish:
    """What a job wants of the topology: how many nodes, and the depth of the level that must hold them all (0: any)."""

    __slots__ = ("communication", "depth", "node_count")

    def __init__(self, node_count: int, depth: int = 0, communication: float = 0.0) -> None:
        self.node_count = node_count
        self.depth = depth
        self.communication = communication


def holds(domains: Domains, nodes: int, wish: Wish) -> bool:
    """Whether one domain of the level has enough of the nodes."""
    count = wish.node_count
    if nodes.bit_count() < count:
        return False
    return not wish.depth or any((nodes & domain.nodes).bit_count() >= count for domain in domains.at_depth[wish.depth])


def first_of(groups: Iterable[int], count: int) -> int:
    """So many nodes of the groups, which are disjoint and the best first; 0 if there are fewer."""
    taken, left = 0, count
    for group in groups:
        size = min(group.bit_count(), left)
        taken |= lowest(group, size)
        left -= size
        if not left:
            return taken
    return 0


def single(domains: Domains, nodes: int) -> int:
    """Of equally good nodes the one in the most broken domain: with the fewest of them, level after level."""
    domain = domains.root
    while domain.children:
        parts = [(part.bit_count(), child) for child in domain.children if (part := nodes & child.nodes)]
        domain = min(parts, key=_count)[1] if len(parts) > 1 else parts[0][1]
    found = nodes & domain.nodes
    return (found & -found).bit_length() - 1


def _count(part: tuple[int, Domain]) -> int:
    return part[0]


def gang(domains: Domains, groups: Sequence[int], wish: Wish) -> int:
    """The nodes for a gang, as bits; 0 if no domain of the level has enough.

    `groups` are disjoint sets of nodes that have room, the best first: within a leaf they are taken in this order.
    """
    free = 0
    for group in groups:
        free |= group
    found = _narrowest(domains, free, wish)
    return _Filling(domains, groups, wish).fill(found, free, wish.node_count) if found else 0


def _narrowest(domains: Domains, free: int, wish: Wish) -> Domain | None:
    """The domain to place a gang in: only children of one that holds it can hold it."""
    count = wish.node_count
    holding = [(free.bit_count(), domains.root)] if free.bit_count() >= count else []
    while holding:
        narrower = [
            (size, child)
            for _, domain in holding
            for child in domain.children
            if (size := (free & child.nodes).bit_count()) >= count
        ]
        if not narrower:
            break
        holding = narrower
    if not holding or holding[0][1].depth < wish.depth:
        return None
    if not any(domain.children for _, domain in holding):
        return min(holding, key=_count)[1]
    return min(holding, key=lambda part: (leaves_needed(part[1], free, count), part[0]))[1]


def leaves_needed(domain: Domain, free: int, count: int) -> int:
    """The fewest narrowest domains in it that have so many free nodes together."""
    if not domain.children:
        return 1
    left, needed = count, 0
    for size in sorted(_leaf_sizes(domain, free & domain.nodes), reverse=True):
        needed += 1
        left -= size
        if left <= 0:
            break
    return needed


def _leaf_sizes(domain: Domain, free: int) -> Iterable[int]:
    for child in domain.children:
        part = free & child.nodes
        if part and child.children:
            yield from _leaf_sizes(child, part)
        elif part:
            yield part.bit_count()


class _Filling:
    """Taking nodes of one domain for one gang."""

    def __init__(self, domains: Domains, groups: Sequence[int], wish: Wish) -> None:
        self._domains = domains
        self._groups = groups
        self._wish = wish

    def fill(self, domain: Domain, free: int, count: int) -> int:
        """So many of the free nodes of the domain, which has enough."""
        free &= domain.nodes
        if free.bit_count() == count:
            return free
        if domain.torus is not None:
            return self._in_torus(domain, free, count) or self._in_leaf(free, count)
        if not domain.children:
            return self._in_leaf(free, count)
        packed = self._packed(domain, free, count)
        if domain.kind is LevelKind.DRAGONFLY and self._wish.communication:
            spread = self._spread(domain, free, count)
            exchange_s = self._domains.exchange_s
            if exchange_s(spread, domain) < exchange_s(packed, domain):
                return spread
        return packed

    def _in_leaf(self, free: int, count: int) -> int:
        """The best ones, and of equal ones the first."""
        return first_of((group & free for group in self._groups), count)

    def _in_torus(self, domain: Domain, free: int, count: int) -> int:
        assert domain.torus is not None
        numbers = list(members_of(domain.nodes))
        at = 0
        for position in torus_positions(domain, free):
            at |= 1 << position
        return sum(1 << numbers[position] for position in members_of(domain.torus.box(at, count)))

    def _packed(self, domain: Domain, free: int, count: int) -> int:
        """Whole parts, the fullest first; what is left over where it leaves least, in whole segments if it can."""
        rooms = [(part.bit_count(), child) for child in domain.children if (part := free & child.nodes)]
        rooms.sort(key=_count, reverse=True)
        for is_segmented in (True, False):
            chosen, left = 0, count
            parts = list(rooms)
            while left and parts:
                enough = [part for part in parts if _usable(part, is_segmented) >= left]
                size, child = enough[-1] if enough else parts[0]
                parts.remove((size, child))
                wanted = min(left, _usable((size, child), is_segmented))
                if wanted:
                    chosen |= self.fill(child, free, wanted)
                    left -= wanted
            if not left:
                return chosen
        raise AssertionError("the domain had room for the gang")

    def _spread(self, domain: Domain, free: int, count: int) -> int:
        """Evenly over all parts: each takes what its share of the rest is, the smallest first."""
        rooms = [(part.bit_count(), child) for child in domain.children if (part := free & child.nodes)]
        rooms.sort(key=_count)
        chosen, left = 0, count
        for at, (size, child) in enumerate(rooms):
            wanted = min(size, -(-left // (len(rooms) - at)))
            if wanted:
                chosen |= self.fill(child, free, wanted)
                left -= wanted
        return chosen


def _usable(part: tuple[int, Domain], is_segmented: bool) -> int:
    """How many nodes of a part a wider gang may take."""
    size, child = part
    segment = child.level.segment if is_segmented and child.level is not None else 1
    return size - size % segment
