"""Which row each node has, and by row the nodes that have it, as bits (models/packing.py says what a row is).

Rows lie in buckets by the class of their nodes and their free CPUs, so that a question reads only rows that could
answer it. Few nodes are moved to another row one by one. A gang of many is moved as one set: which row one of its nodes
has is then looked up among the rows of such sets, of which there are never many. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hal_core.models.masks import mask_of, members_of, numbers_of
from hal_core.models.row_fields import FIELD_BITS, FIELD_MASK

SEVERAL = 8
"""So many are looked for as sets of equal row, fewer one by one."""
WIDE = 32
"""So many nodes are moved as a set."""
SETS_MAX = 16
"""Rows of sets; with more of them they are nodes one by one again."""
GROUPS_MAX = 8
"""Rows that are looked for as sets among the nodes of one gang; what has yet other rows is looked up node by node."""

Group = tuple[int, int, Sequence[int]]
"""A row, nodes that have it, as bits, and their numbers unless they are many."""


class NodeRows:
    """The rows of all nodes; -1 for one that is not available. A copy is cheap and independent."""

    __slots__ = ("_base", "_class_shift", "_in_sets", "_moved", "_owned", "_owned_classes", "_sets", "buckets")

    def __init__(self, base: list[int], class_shift: int) -> None:
        """All nodes have the rows of the list, which is kept. Where in a row its class is: packing.class_shift."""
        self._class_shift = class_shift
        numbers_of: dict[int, list[int]] = {}
        for number, row in enumerate(base):
            if row >= 0:
                numbers_of.setdefault(row, []).append(number)
        self._base = base
        """By number, as it was when the first of all copies was made."""
        self._moved: dict[int, int] = {}
        """Rows that differ from that."""
        self._sets: dict[int, int] = {}
        """What counts before both: row -> the nodes that were moved there as a set."""
        self._in_sets = 0
        """All nodes of the sets; some may have left them."""
        self.buckets: dict[int, dict[int, dict[int, int]]] = {}
        """Class -> free CPUs -> row -> nodes (as bits). To be read: copies share what none of them has written to."""
        self._owned_classes: set[int] = set()
        """Classes whose buckets stand in a table of our own."""
        self._owned: set[int] = set()
        """Buckets that no copy shares, each by class and free CPUs."""
        for row, numbers in numbers_of.items():
            its = self.buckets.setdefault(row >> class_shift, {})
            its.setdefault(row & FIELD_MASK, {})[row] = mask_of(numbers)

    def copy(self) -> NodeRows:
        twin = NodeRows.__new__(NodeRows)
        twin._base, twin._moved, twin._class_shift = self._base, self._moved.copy(), self._class_shift
        twin._sets, twin._in_sets = self._sets.copy(), self._in_sets
        twin.buckets, twin._owned, twin._owned_classes = self.buckets.copy(), set(), set()
        self._owned_classes.clear()
        self._owned.clear()
        return twin

    def kept(self) -> NodeRows:
        """A copy that stays good whatever is settled."""
        twin = self.copy()
        twin._base = self._base.copy()
        return twin

    def row(self, number: int) -> int:
        """The row of a node."""
        if self._in_sets and self._in_sets >> number & 1:
            for row, members in self._sets.items():
                if members >> number & 1:
                    return row
        moved = self._moved.get(number)
        return self._base[number] if moved is None else moved

    def groups(self, numbers: Sequence[int], nodes: int = 0) -> list[Group]:
        """The nodes by their rows, for the parts of a gang mostly lie on nodes of equal row. `nodes`: the same as bits,
        if they are known and many."""
        if len(numbers) == 1:
            return [(self.row(numbers[0]), 1 << numbers[0], numbers)]
        found: list[Group] = []
        if len(numbers) >= SEVERAL:
            left = whole = nodes or mask_of(numbers)
            while left and len(found) < GROUPS_MAX:
                first = left & -left
                row = self.row(first.bit_length() - 1)
                hit = left & self.buckets[row >> self._class_shift][row & FIELD_MASK][row] if row >= 0 else first
                its = () if hit.bit_count() >= WIDE else numbers if hit == whole else numbers_of(hit)
                found.append((row, hit, its))
                left ^= hit
            numbers = numbers_of(left)
        its_of: dict[int, list[int]] = {}
        for number in numbers:
            its_of.setdefault(self.row(number), []).append(number)
        found += [(row, mask_of(its), its) for row, its in its_of.items()]
        return found

    def move(self, group: Group, new: int) -> None:
        """These nodes have another row from now on."""
        old, bits, numbers = group
        self._leave(old, bits)
        self._enter(new, bits)
        if numbers:
            for number in numbers:
                self._moved[number] = new
            return
        self._sets[new] = self._sets.get(new, 0) | bits
        self._in_sets |= bits
        if len(self._sets) > SETS_MAX:
            for row, members in self._sets.items():
                self._moved.update(dict.fromkeys(members_of(members), row))
            self._sets, self._in_sets = {}, 0

    def put(self, number: int, row: int) -> None:
        """The node has this row; -1: it is not available any more."""
        old = self.row(number)
        if old == row:
            return
        bits = 1 << number
        if old >= 0:
            self._leave(old, bits)
        if row >= 0:
            self._enter(row, bits)
        self._moved[number] = row
        if len(self._moved) > len(self._base) // 4:
            self._base = [self.row(each) for each in range(len(self._base))]
            self._moved.clear()

    def settle(self) -> None:
        """Later copies start from what is now. What was copied before is void from now on."""
        for number, row in self._moved.items():
            self._base[number] = row
        self._moved.clear()
        self._in_sets = 0
        for members in self._sets.values():
            self._in_sets |= members

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """All rows, and the nodes that have each."""
        for its in self.buckets.values():
            for bucket in its.values():
                yield from bucket.items()

    def __len__(self) -> int:
        """How many different rows there are."""
        return sum([len(bucket) for its in self.buckets.values() for bucket in its.values()])

    def _leave(self, row: int, bits: int) -> None:
        """These nodes have that row no more."""
        bucket = self._own(row)
        rest = bucket[row] ^ bits
        if rest:
            bucket[row] = rest
        else:
            del bucket[row]
            if not bucket:
                del self.buckets[row >> self._class_shift][row & FIELD_MASK]
        members = self._sets.get(row)
        if members is not None:
            rest = members & ~bits
            if rest:
                self._sets[row] = rest
            else:
                del self._sets[row]

    def _enter(self, row: int, bits: int) -> None:
        bucket = self._own(row)
        bucket[row] = bucket.get(row, 0) | bits

    def _own(self, row: int) -> dict[int, int]:
        """The bucket of the row, to write to."""
        node_class, cpus = row >> self._class_shift, row & FIELD_MASK
        its = self.buckets.get(node_class)
        if its is None or node_class not in self._owned_classes:
            its = self.buckets[node_class] = dict(its) if its else {}
            self._owned_classes.add(node_class)
        bucket, key = its.get(cpus), node_class << FIELD_BITS | cpus
        if bucket is None or key not in self._owned:
            bucket = its[cpus] = dict(bucket) if bucket else {}
            self._owned.add(key)
        return bucket
