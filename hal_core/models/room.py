"""Room: what is free on many nodes, in packed form (models/packing.py).

Nodes of equal row are one entry with a set of nodes, also an integer, and rows lie in buckets by class and free CPUs: a
question about ten thousand nodes costs as much as there are different rows that could answer it, and a cluster of one
node costs nothing extra. Pure: no clock, no randomness.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hal_core.models import mixed, placing, wait
from hal_core.models.masks import mask_of, members_of, numbers_of
from hal_core.models.node_rows import NodeRows
from hal_core.models.packing import AMOUNT_MAX, FIELD_BITS, FIELD_MASK, Ask, Packing

if TYPE_CHECKING:
    from hal_core.models.plan import NodeColumns, RunningJob


FEW = 16
"""So many nodes are looked at one by one, more as a set."""
ROWS_A_NODE = 5
"""So many rows are as quickly looked at as one node."""


class Room:
    """What is free at one moment, on available nodes only. A copy is cheap and independent."""

    __slots__ = ("_licences", "_packing", "_rows")

    def __init__(self, packing: Packing, rows: NodeRows) -> None:
        self._packing = packing
        self._rows = rows
        """What is free on each node; -1 where nothing may start."""
        self._licences = packing.licences()
        """What is free of them, packed."""

    @classmethod
    def of(cls, packing: Packing, columns: NodeColumns, licences: Iterable[tuple[str, int]] | None = None) -> Room:
        """As the columns say, with so many licences free (None: all)."""
        is_available = columns.is_available
        base = [packing.row(columns, n) if is_available[n] else -1 for n in range(len(columns.nodes))]
        room = cls.of_rows(packing, base)
        room.set_licences(licences)
        return room

    @classmethod
    def of_rows(cls, packing: Packing, base: list[int]) -> Room:
        """From the rows of all nodes; -1 for one that is not available. Keeps the list."""
        is_plain = len(base) == 1 and base[0] >= 0 and not packing.is_shared(base[0])
        if is_plain and not packing.has_gpus and not packing.licence_guards:
            from hal_core.models.pool import Pool  # it is a room itself

            return Pool(packing, NodeRows(base, packing.class_shift))
        return cls(packing, NodeRows(base, packing.class_shift))

    @property
    def packing(self) -> Packing:
        return self._packing

    def copy(self, packing: Packing | None = None) -> Room:
        """`packing`: a twin of its own (Packing.twin)."""
        twin = Room(packing or self._packing, self._rows.copy())
        twin._licences = self._licences
        return twin

    def kept(self) -> Room:
        """A copy that stays good when a room from which this one was copied is settled."""
        twin = Room(self._packing, self._rows.kept())
        twin._licences = self._licences
        return twin

    @property
    def row_count(self) -> int:
        """How many different rows there are: what a question costs."""
        return len(self._rows)

    def row_of(self, number: int) -> int:
        """The row of a node; -1 if it is not available."""
        return self._rows.row(number)

    def most_cpus(self, nodes: int = -1) -> int:
        """The free CPUs of the emptiest of the nodes: a quick no for whatever asks for more."""
        class_nodes, most = self._packing.class_nodes, 0
        for node_class, its in self._rows.buckets.items():
            for cpus in sorted(its, reverse=True) if class_nodes[node_class] & nodes else ():
                if cpus <= most:
                    break
                if any(members & nodes for members in its[cpus].values()):
                    most = cpus
        return most

    def has_licences(self, ask: Ask) -> bool:
        """Whether enough of the cluster's licences are free for one element."""
        guards = self._packing.licence_guards
        return not ask.licences or (self._licences | guards) - ask.licences & guards == guards

    def fitting(self, ask: Ask) -> int:
        """The nodes where one node's part of the ask fits; none, if licences are short."""
        return self.fitting_anyhow(ask) if self.has_licences(ask) else 0

    def has_room(self, ask: Ask, nodes: int = -1) -> bool:
        """Whether all of one element fits, on these nodes."""
        if ask.parts:
            return self.has_licences(ask) and mixed.are_enough(ask.parts, mixed.fitting(self, ask, nodes))
        return ask.holds(self.fitting(ask) & nodes)

    def fitting_anyhow(self, ask: Ask) -> int:
        """The same, however many licences are free."""
        guards, milli, fits_in, least = self._packing.guards, ask.gpu_milli, self._packing.parts.fits, ask.cpus
        found = 0
        for lack, its in self._by_class(ask):
            for bucket in [its[cpus] for cpus in its if cpus >= least]:
                for row, members in bucket.items():
                    if row + lack & guards == guards:
                        if milli and not fits_in(row, milli, ask.shape.gpu_type):
                            continue
                        found |= members
        return found & ask.nodes

    def _by_class(self, ask: Ask) -> list[tuple[int, dict[int, dict[int, int]]]]:
        """The buckets of each class that may serve the ask, with what its rows lack (Ask.lack_of)."""
        buckets, lack_of = self._rows.buckets, ask.lack_of
        return [(lack_of[node_class], buckets[node_class]) for node_class in ask.classes if node_class in buckets]

    def choose(self, ask: Ask, nodes: int = -1, beside: Room | None = None) -> tuple[int, ...]:
        """The nodes that the ask fills best: least CPUs left over, then lowest number. Empty if there are too few.

        Only of `nodes`, and only where it fits in the room `beside` too. Where there are GPUs, what would become of
        them comes before the CPUs, and a topology before both.
        """
        if ask.licences and not (self.has_licences(ask) and (beside is None or beside.has_licences(ask))):
            return ()
        if ask.parts:
            return mixed.choose(self, ask, mixed.fitting(self, ask, nodes, beside), beside)
        if ask.domains is not None or ask.has_gpus_near:
            return self._place(ask, nodes, beside)
        if beside is not None:
            nodes = beside._fitting_among(nodes & ask.nodes, ask)
        chosen, left = 0, ask.node_count
        for found in self._by_cpus_left(ask, nodes):
            count = found.bit_count()
            if count >= left:
                numbers = itertools.islice(members_of(found), left)
                return tuple(sorted((*members_of(chosen), *numbers)))
            chosen |= found
            left -= count
        return ()

    def _place(self, ask: Ask, nodes: int, beside: Room | None) -> tuple[int, ...]:
        """As `choose`, where a topology or GPUs have a say."""
        domains = ask.domains
        for wanted in (nodes & ask.home, nodes) if ask.home else (nodes,):
            groups = self._by_harm(ask, wanted) if ask.has_gpus_near else self._by_cpus_left(ask, wanted)
            if ask.node_count == 1:
                best = next(groups if beside is None else beside._also_here(ask, groups), 0)
                if best:
                    return ((best & -best).bit_length() - 1 if domains is None else placing.single(domains, best),)
                continue
            found = self._gang(ask, list(groups), beside)
            if found:
                return tuple(numbers_of(found)) if domains is None else domains.ordered(numbers_of(found))
        return ()

    def _gang(self, ask: Ask, groups: list[int], beside: Room | None) -> int:
        """The nodes for a gang, of these groups; 0 if they do not hold it."""
        free = functools.reduce(operator.or_, groups, 0)
        if beside is not None and free.bit_count() >= ask.node_count:
            also = beside._fitting_among(free, ask)
            groups = [group & also for group in groups if group & also]
            free &= also
        if free.bit_count() < ask.node_count:
            return 0
        if ask.domains is None:
            return placing.first_of(groups, ask.node_count)
        return placing.gang(ask.domains, groups, ask.wish)

    def _also_here(self, ask: Ask, groups: Iterable[int]) -> Iterator[int]:
        """What of each group has room here too."""
        here: int | None = None
        for group in groups:
            if here is None and group.bit_count() <= FEW:
                left = self._fitting_of(numbers_of(group), ask) & ask.nodes
            else:
                here = self.fitting_anyhow(ask) if here is None else here
                left = group & here
            if left:
                yield left

    def _fitting_among(self, nodes: int, ask: Ask) -> int:
        """Those of the nodes where one node's part of the ask fits; looked at one by one if they are few."""
        count = nodes.bit_count()
        if count <= FEW or count <= self.row_count // ROWS_A_NODE:
            return self._fitting_of(numbers_of(nodes), ask) & ask.nodes
        return self.fitting_anyhow(ask) & nodes

    def _by_harm(self, ask: Ask, nodes: int) -> Iterator[int]:
        """As `_by_cpus_left`, but before that by how little is lost of the GPUs; those without any come first."""
        packing, shape = self._packing, ask.shape
        if not shape.gpus and not ask.gpu_milli:
            yield from self._by_cpus_left(ask, nodes & packing.nodes_without_gpus)
            nodes &= ~packing.nodes_without_gpus
        nodes &= ask.nodes
        guards, shift, milli = packing.guards, packing.class_shift, ask.gpu_milli
        harms = packing.fragmentation.harms(shape)
        found: list[tuple[int, int, int, int]] = []
        for row, members in self._rows_of(nodes, ask) if nodes else ():
            hit = members & nodes
            need = ask.need_of.get(row >> shift) if hit else None
            if need is None or (row | guards) - need & guards != guards:
                continue
            if milli and not packing.parts.fits(row, milli, shape.gpu_type):
                continue
            harm = harms.get(row)
            if harm is None:
                harm = harms[row] = packing.fragmentation.harm(row, row - self._need(row, ask, 1))
            found.append((harm, row & FIELD_MASK, hit & -hit, hit))
        found.sort()
        for _, _, _, hit in found:
            yield hit

    def _by_cpus_left(self, ask: Ask, nodes: int) -> Iterator[int]:
        """The nodes where one node's part of the ask fits, in groups, the ones that it fills best first."""
        nodes &= ask.nodes
        if nodes.bit_count() <= FEW < len(self._packing.class_of):
            yield from self._few_by_cpus_left(ask, nodes)
            return
        guards, least, by_class = self._packing.guards, ask.cpus, self._by_class(ask)
        for free in sorted({cpus for _, its in by_class for cpus in its if cpus >= least}):
            found = 0
            for lack, its in by_class:
                for row, members in its[free].items() if free in its else ():
                    if row + lack & guards == guards:
                        found |= members
            found &= nodes
            if found:
                yield found

    def _few_by_cpus_left(self, ask: Ask, nodes: int) -> Iterator[int]:
        """The same for few nodes: each is looked at, instead of all rows."""
        found: dict[int, int] = {}
        for row, members in self._rows_of(nodes, ask):
            if row + ask.lack_of[row >> self._packing.class_shift] & self._packing.guards == self._packing.guards:
                found[row & FIELD_MASK] = found.get(row & FIELD_MASK, 0) | members
        for cpus in sorted(found):
            yield found[cpus]

    def _rows_of(self, nodes: int, ask: Ask) -> Iterable[tuple[int, int]]:
        """Rows with CPUs enough, with their nodes: the rows of these nodes if they are few, else of all."""
        if nodes.bit_count() <= FEW:
            found: dict[int, int] = {}
            for number in members_of(nodes):
                row = self._rows.row(number)
                if row >= 0 and row & FIELD_MASK >= ask.cpus:
                    found[row] = found.get(row, 0) | 1 << number
            return found.items()
        by_class = self._by_class(ask)
        return [row for _, its in by_class for cpus in its if cpus >= ask.cpus for row in its[cpus].items()]

    def count(self, number: int, ask: Ask) -> int:
        """How many elements of the ask (one node's part of each) fit on the node, and have their licences.

        Of shares of a GPU, one at a time.
        """
        count = self._count(number, ask)
        for shift in range(0, self._packing.licence_guards.bit_length(), FIELD_BITS) if ask.licences else ():
            wanted = ask.licences >> shift & FIELD_MASK
            if wanted:
                count = min(count, (self._licences >> shift & FIELD_MASK) // wanted)
        return count

    def _count(self, number: int, ask: Ask) -> int:
        row = self.row_of(number)
        need = ask.need_of.get(row >> self._packing.class_shift) if row >= 0 and ask.nodes >> number & 1 else None
        if need is None:
            return 0
        if ask.gpu_milli:
            guards = self._packing.guards
            fits = (row | guards) - need & guards == guards
            return int(fits and self._packing.parts.fits(row, ask.gpu_milli, ask.shape.gpu_type))
        count = AMOUNT_MAX
        for shift in range(0, self._packing.class_shift, FIELD_BITS):
            wanted = need >> shift & FIELD_MASK
            if wanted:
                count = min(count, (row >> shift & FIELD_MASK) // wanted)
        return count

    def free_amounts(self, number: int) -> dict[str, int]:
        """What is free on an available node, by field: "cpus", "memory", "gpus", "gpu:a100", "generic:licence"."""
        row = self.row_of(number)
        return {field: row >> shift & FIELD_MASK for field, shift in self._packing.shift_of.items()}

    def is_available(self, number: int) -> bool:
        return self.row_of(number) >= 0

    def is_idle(self, number: int) -> bool:
        return self.row_of(number) == self._packing.idle_row(number)

    def settle(self) -> None:
        """Make this room the one that later copies start from. What was copied before is void from now on."""
        self._rows.settle()

    def set_licences(self, free: Iterable[tuple[str, int]] | None) -> None:
        """So many are free; None: all."""
        self._licences = self._packing.licences(free)

    def put(self, number: int, row: int) -> None:
        """The row of a node is this from now on; -1: it is not available any more. Older copies keep what they have."""
        self._rows.put(number, row)

    def take(self, numbers: Sequence[int], ask: Ask, count: int = 1) -> None:
        """Allocate so many elements on each of the nodes, as commit will."""
        self._licences -= ask.licences * count
        if ask.parts:
            for part, its in ask.assigned(numbers):
                self.take(its, part, count)
            return
        for group in self._rows.groups(numbers):
            self._rows.move(group, group[0] - self._need(group[0], ask, count))

    def give(self, numbers: Sequence[int], ask: Ask) -> None:
        """One element ends. Nodes that are not available stay so."""
        for _ in self.given(numbers, ask):
            pass

    def given(self, numbers: Sequence[int], ask: Ask, nodes: int = 0) -> Iterator[tuple[int, int]]:
        """The same; yields the new rows, and the nodes that have each."""
        self._licences += ask.licences
        if ask.parts:
            for part, its in ask.assigned(numbers):
                yield from self.given(its, part)
            return
        for group in self._rows.groups(numbers, nodes):
            row, bits, _ = group
            if row >= 0:
                row += self._need(row, ask, -1)
                self._rows.move(group, row)
                yield row, bits

    def wait_for(self, ask: Ask, running: Iterable[RunningJob], now_s: float) -> float | None:
        """Let what runs end, in the order given, until the ask fits: then. None: it never will.

        What has ended by then is given back to this room, if it has nodes of partitions that share nodes with the
        ask's, directly or through others.
        """
        return (wait.wait_for_parts if ask.parts else wait.wait_for)(self, ask, running, now_s)

    def fits_on(self, numbers: Sequence[int], ask: Ask, count: int = 1) -> bool:
        """Whether so many elements fit on just these nodes, in their order."""
        if ask.parts:
            return self.has_licences(ask) and all(self.fits_on(its, part, count) for part, its in ask.assigned(numbers))
        if count > 1:
            return all(self.count(number, ask) >= count for number in numbers)
        return self._fitting_of(numbers, ask) & ask.nodes == mask_of(numbers) and self.has_licences(ask)

    def fitting_on(self, numbers: Sequence[int], ask: Ask) -> int:
        """Those of the nodes where one node's part of the ask fits, as `fitting`; licences are not asked for."""
        return self._fitting_of(numbers, ask) & ask.nodes

    def _fitting_of(self, numbers: Sequence[int], ask: Ask) -> int:
        """Those of the nodes where one node's part of the ask fits."""
        found = 0
        for row, bits, _ in self._rows.groups(numbers):
            if self.row_fits(row, ask):
                found |= bits
        return found

    def row_fits(self, row: int, ask: Ask) -> bool:
        packing = self._packing
        need = ask.need_of.get(row >> packing.class_shift) if row >= 0 else None
        if need is None or (row | packing.guards) - need & packing.guards != packing.guards:
            return False
        return not ask.gpu_milli or packing.parts.fits(row, ask.gpu_milli, ask.shape.gpu_type)

    def _need(self, row: int, ask: Ask, count: int) -> int:
        """What so many elements take of the row, or, if the count is negative, give back to it."""
        if ask.gpu_milli:
            return self._need_of_share(row, ask, count)
        node_class = row >> self._packing.class_shift
        need = ask.held_of.get(node_class, 0) * abs(count)
        if node_class in ask.mixed:
            need += self._packing.by_type(row, ask.shape.gpus * count)
        return need

    def _need_of_share(self, row: int, ask: Ask, count: int) -> int:
        """The same for shares of a GPU: here the row changes in more than amounts."""
        parts, kind = self._packing.parts, ask.shape.gpu_type
        change = ask.held_of.get(row >> self._packing.class_shift, 0) * abs(count)
        after = row
        for _ in range(abs(count)):
            after = parts.take(after, ask.gpu_milli, kind) if count > 0 else parts.give(after, ask.gpu_milli, kind)
        return change + (row - after if count > 0 else after - row)
