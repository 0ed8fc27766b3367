"""Where in the topology a job goes: the narrowest domain that holds it, and in it the fewest leaves.

A gang takes the narrowest domain that has room for all of it; of several the one where it needs the fewest leaves, and
of those the one with the least room to spare, so that larger holes stay whole. Within it, it is put together of the
fewest leaves, whichever parts those are in: the largest as a whole, until two hold what is left, and of those the pair
that leaves least. A single node is taken where least is left to break: in the domain with the fewest free nodes, from
the widest level down.
Best fit over a hierarchy of counts, as in Slurm's topology plug-ins (SchedMD, topology guide) and Kueue's TAS. Pure.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Iterable, Sequence
from operator import itemgetter

from hal_core.models.domains import Domain, Domains, torus_positions
from hal_core.models.masks import lowest, members_of
from hal_core.models.topology import LevelKind

_count = itemgetter(0)
FEW = 16
"""So few nodes are looked at one by one, and not domain by domain."""


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
    packed = domains.packed(nodes) if wish.depth else b""
    return not wish.depth or any(domain.count(packed) >= count for domain in domains.at_depth[wish.depth])


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
    if nodes.bit_count() > FEW:
        packed = domains.packed(nodes)
        while domain.children and nodes.bit_count() > FEW:
            domain = min(domain.rooms(packed), key=_count)[1]
            nodes &= domain.nodes
    numbers = list(members_of(nodes))
    while domain.children and len(numbers) > 1:
        depth = domain.depth + 1
        its_of: dict[Domain, list[int]] = {}
        for number in numbers:
            its_of.setdefault(domains.around(number, depth), []).append(number)
        domain = min(its_of, key=lambda child: (len(its_of[child]), child.place))
        numbers = its_of[domain]
    return numbers[0]


def gang(domains: Domains, groups: Sequence[int], wish: Wish) -> int:
    """The nodes for a gang, as bits; 0 if no domain of the level has enough.

    `groups` are disjoint sets of nodes that have room, the best first: within a leaf they are taken in this order.
    """
    free = functools.reduce(operator.or_, groups, 0)
    packed = domains.packed(free)
    found = _narrowest(domains, packed, wish) if free.bit_count() >= wish.node_count else None
    return _Filling(domains, groups, packed, wish).fill(found, free, wish.node_count) if found else 0


def _narrowest(domains: Domains, packed: bytes, wish: Wish) -> Domain | None:
    """The domain to place a gang in: of the deepest that hold it the one where it needs the fewest leaves, and of those
    the fullest. Only children of a domain that holds it can hold it, and the whole cluster does."""
    count, widest = wish.node_count, domains.widest
    holding = [(count, domains.root)]
    depth = 0
    while depth < domains.depth_max and widest[depth + 1] >= count:
        narrower = [part for _, domain in holding for part in domain.rooms(packed) if part[0] >= count]
        if not narrower:
            break
        holding, depth = narrower, depth + 1
    if depth < wish.depth:
        return None
    if len(holding) == 1 or depth == domains.depth_max:
        return min(holding, key=_count)[1]
    holding.sort(key=_count)
    return _with_fewest_leaves(holding, packed, count, max(2, -(-count // widest[-1])))


def _with_fewest_leaves(holding: Sequence[tuple[int, Domain]], packed: bytes, count: int, least: int) -> Domain:
    """Of domains in the order of their rooms the first that needs the fewest leaves; none needs fewer than `least`."""
    best, best_needed = holding[0][1], sys.maxsize
    for _, domain in holding:
        needed = leaves_needed(domain, packed, count)
        if needed < best_needed:
            best, best_needed = domain, needed
        if best_needed == least:
            break
    return best


def leaves_needed(domain: Domain, packed: bytes, count: int) -> int:
    """The fewest narrowest domains in it that have so many of the nodes (Domains.packed) together."""
    left, needed = count, 0
    for size in sorted(_leaf_sizes(domain, packed), reverse=True):
        needed += 1
        left -= size
        if left <= 0:
            break
    return needed


def _leaf_sizes(domain: Domain, packed: bytes) -> Iterable[int]:
    for size, child in domain.rooms(packed):
        if child.children:
            yield from _leaf_sizes(child, packed)
        else:
            yield size


def _parts(domain: Domain, packed: bytes) -> list[tuple[int, Domain]]:
    """What a gang is put together of: the narrowest domains that have any of the nodes, each with how many; a domain
    of segments, or with links between its groups, as a whole."""
    found: list[tuple[int, Domain]] = []
    for room in domain.rooms(packed):
        if room[1].is_divided:
            found += _parts(room[1], packed)
        else:
            found.append(room)
    return found


def _shares(parts: Sequence[tuple[int, Domain]], count: int) -> tuple[list[Domain], int, Domain] | None:
    """Which parts to take as a whole, and how many nodes of one more; None if they are too few. They come with their
    sizes, the largest first.

    The fewest parts: the largest as a whole, until one or two hold what is left. That is the smallest that does, or the
    two with the least to spare.
    """
    left = count
    whole: list[Domain] = []
    for at, (size, part) in enumerate(parts):
        if size >= left:
            last = at
            while last + 1 < len(parts) and parts[last + 1][0] >= left:
                last += 1
            return whole, left, parts[last][1]
        if at + 1 < len(parts) and size + parts[at + 1][0] >= left:
            one, other = _two(parts[at:], left)
            return [*whole, one[1]], left - one[0], other[1]
        whole.append(part)
        left -= size
    return None


def _two(parts: Sequence[tuple[int, Domain]], count: int) -> tuple[tuple[int, Domain], tuple[int, Domain]]:
    """Two parts, the larger first, that hold so many with the least to spare, and of those the least alike. The largest
    two hold them, and no part alone."""
    best, least = (parts[0], parts[1]), sys.maxsize
    other = len(parts) - 1
    for one in range(len(parts)):
        while other > one and parts[one][0] + parts[other][0] < count:
            other -= 1
        if other <= one:
            break
        spare = parts[one][0] + parts[other][0] - count
        if spare < least:
            best, least = (parts[one], parts[other]), spare
    return best


class _Filling:
    """Taking nodes of one domain for one gang."""

    def __init__(self, domains: Domains, groups: Sequence[int], free: bytes, wish: Wish) -> None:
        self._domains = domains
        self._groups = groups
        self._free = free
        """All nodes that may be taken."""
        self._wish = wish

    def fill(self, domain: Domain, free: int, count: int) -> int:
        """So many of the free nodes of the domain, which has enough."""
        free &= domain.nodes
        if domain.count(self._free) == count:
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
        """The fewest leaves, whichever domains they are in, with as little as can be left over in them; in whole
        segments if it can."""
        rooms = _parts(domain, self._free)
        for is_segmented in (True, False) if self._domains.has_segments else (False,):
            parts = [(_usable(room, True), room[1]) for room in rooms] if is_segmented else rooms
            parts.sort(key=_count, reverse=True)
            shares = _shares(parts, count)
            if shares:
                whole, wanted, last = shares
                chosen = self.fill(last, free, wanted)
                for part in whole:
                    chosen |= self._whole(part, free, is_segmented)
                return chosen
        raise AssertionError("the domain had room for the gang")

    def _whole(self, part: Domain, free: int, is_segmented: bool) -> int:
        """All that a wider gang may take of a part."""
        if not is_segmented or part.level is None or part.level.segment == 1:
            return free & part.nodes
        return self.fill(part, free, _usable((part.count(self._free), part), is_segmented))

    def _spread(self, domain: Domain, free: int, count: int) -> int:
        """Evenly over all parts: each takes what its share of the rest is, the smallest first."""
        rooms = sorted(domain.rooms(self._free), key=_count)
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
