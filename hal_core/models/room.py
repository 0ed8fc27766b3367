"""Room: what is free on many nodes, in packed form (models/packing.py).

Nodes of equal row are one entry with a set of nodes, also an integer, and rows lie in buckets by their free CPUs: a
question about ten thousand nodes costs as much as there are different rows that could answer it, and a cluster of one
node costs nothing extra. Pure: no clock, no randomness.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hal_core.models import placing
from hal_core.models.masks import mask_of, members_of
from hal_core.models.packing import AMOUNT_MAX, FIELD_BITS, FIELD_MASK, Ask, Packing

if TYPE_CHECKING:
    from hal_core.models.plan import NodeColumns, RunningJob


FEW = 16
"""So many nodes are looked at one by one, more as a set."""


class Room:
    """What is free at one moment, on available nodes only. A copy is cheap and independent."""

    __slots__ = ("_base", "_buckets", "_licences", "_moved", "_owned", "_packing")

    def __init__(self, packing: Packing, base: list[int]) -> None:
        self._packing = packing
        self._base = base
        """Row by node number, as it was when the first of all copies was made; -1 where nothing may start."""
        self._moved: dict[int, int] = {}
        """Rows that differ from that."""
        self._buckets: dict[int, dict[int, int]] = {}
        """Free CPUs -> row -> nodes (as bits). Buckets are shared between copies until one of them writes."""
        self._owned: set[int] = set()
        """Buckets that no copy shares."""
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
        if len(base) == 1 and base[0] >= 0 and not packing.has_gpus and not packing.licence_guards:
            from hal_core.models.pool import Pool  # it is a room itself

            return Pool(packing, base)
        numbers_of: dict[int, list[int]] = {}
        for number, row in enumerate(base):
            if row >= 0:
                numbers_of.setdefault(row, []).append(number)
        room = cls(packing, base)
        for row, numbers in numbers_of.items():
            room._buckets.setdefault(row & FIELD_MASK, {})[row] = mask_of(numbers)
        return room

    @property
    def packing(self) -> Packing:
        return self._packing

    def copy(self, packing: Packing | None = None) -> Room:
        """`packing`: a twin of its own (Packing.twin)."""
        twin = Room(packing or self._packing, self._base)
        twin._moved, twin._buckets = self._moved.copy(), self._buckets.copy()
        twin._licences = self._licences
        self._owned.clear()
        return twin

    @property
    def row_count(self) -> int:
        """How many different rows there are: what a question costs."""
        return sum(map(len, self._buckets.values()))

    def row_of(self, number: int) -> int:
        """The row of a node; -1 if it is not available."""
        return self._row(number)

    def most_cpus(self, nodes: int = -1) -> int:
        """The free CPUs of the emptiest of the nodes: a quick no for whatever asks for more."""
        for cpus in sorted(self._buckets, reverse=True):
            if any(members & nodes for members in self._buckets[cpus].values()):
                return cpus
        return 0

    def has_licences(self, ask: Ask) -> bool:
        """Whether enough of the cluster's licences are free for one element."""
        guards = self._packing.licence_guards
        return not ask.licences or (self._licences | guards) - ask.licences & guards == guards

    def fitting(self, ask: Ask) -> int:
        """The nodes where one node's part of the ask fits; none, if licences are short."""
        return self._fitting(ask) if self.has_licences(ask) else 0

    def _fitting(self, ask: Ask) -> int:
        guards, shift, need_of, nodes = self._packing.guards, self._packing.class_shift, ask.need_of, ask.nodes
        milli = ask.gpu_milli
        found = 0
        for cpus, bucket in self._buckets.items():
            for row, members in bucket.items() if cpus >= ask.cpus else ():
                if members & nodes:
                    need = need_of.get(row >> shift)
                    if need is not None and (row | guards) - need & guards == guards:
                        if milli and not self._packing.parts.fits(row, milli, ask.shape.gpu_type):
                            continue
                        found |= members
        return found & nodes

    def choose(self, ask: Ask, nodes: int = -1, beside: Room | None = None) -> tuple[int, ...]:
        """The nodes that the ask fills best: least CPUs left over, then lowest number. Empty if there are too few.

        Only of `nodes`, and only where it fits in the room `beside` too. Where there are GPUs, what would become of
        them comes before the CPUs, and a topology before both.
        """
        if ask.licences and not (self.has_licences(ask) and (beside is None or beside.has_licences(ask))):
            return ()
        if ask.domains is not None or ask.has_gpus_near:
            return self._place(ask, nodes, beside)
        if beside is not None:
            nodes &= beside.fitting(ask)
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
        if beside is not None and ask.node_count > 1:  # a gang looks at all groups, so it is quicker to ask once
            nodes, beside = nodes & beside.fitting(ask), None
        for wanted in (nodes & ask.home, nodes) if ask.home else (nodes,):
            groups = self._by_harm(ask, wanted) if ask.has_gpus_near else self._by_cpus_left(ask, wanted)
            if beside is not None:
                groups = beside._also_here(ask, groups)
            if ask.node_count == 1:
                best = next(groups, 0)
                if best:
                    return ((best & -best).bit_length() - 1 if domains is None else placing.single(domains, best),)
            elif domains is None:
                found = placing.first_of(groups, ask.node_count)
                if found:
                    return tuple(members_of(found))
            else:
                found = placing.gang(domains, list(groups), ask.wish)
                if found:
                    return domains.ordered(members_of(found))
        return ()

    def _also_here(self, ask: Ask, groups: Iterable[int]) -> Iterator[int]:
        """What of each group has room here too; node by node where there are few."""
        fitting: int | None = None
        few = 0 if ask.gpu_milli else max(self.row_count // 2, FEW)
        for group in groups:
            size = group.bit_count()
            if size <= few:
                left = self._fitting_of(members_of(group), ask) & ask.nodes
            elif size <= FEW:
                left = mask_of(number for number in members_of(group) if self.count(number, ask))
            else:
                fitting = self.fitting(ask) if fitting is None else fitting
                left = group & fitting
            if left:
                yield left

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
        for cpus, bucket in self._buckets.items() if nodes else ():
            for row, members in bucket.items() if cpus >= ask.cpus else ():
                hit = members & nodes
                need = ask.need_of.get(row >> shift) if hit else None
                if need is None or (row | guards) - need & guards != guards:
                    continue
                if milli and not packing.parts.fits(row, milli, shape.gpu_type):
                    continue
                harm = harms.get(row)
                if harm is None:
                    harm = harms[row] = packing.fragmentation.harm(row, row - self._need(row, ask, 1))
                found.append((harm, cpus, hit & -hit, hit))
        found.sort()
        for _, _, _, hit in found:
            yield hit

    def _by_cpus_left(self, ask: Ask, nodes: int) -> Iterator[int]:
        """The nodes where one node's part of the ask fits, in groups, the ones that it fills best first."""
        guards, shift, need_of = self._packing.guards, self._packing.class_shift, ask.need_of
        nodes &= ask.nodes
        for cpus in sorted(cpus for cpus in self._buckets if cpus >= ask.cpus):
            found = 0
            for row, members in self._buckets[cpus].items():
                hit = members & nodes
                if hit:
                    need = need_of.get(row >> shift)
                    if need is not None and (row | guards) - need & guards == guards:
                        found |= hit
            if found:
                yield found

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
        row = self._row(number)
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
        row = self._row(number)
        return {field: row >> shift & FIELD_MASK for field, shift in self._packing.shift_of.items()}

    def is_idle(self, number: int) -> bool:
        return self._row(number) == self._packing.idle_row(number)

    def settle(self) -> None:
        """Make this room the one that later copies start from. What was copied before is void from now on."""
        for number, row in self._moved.items():
            self._base[number] = row
        self._moved.clear()

    def set_licences(self, free: Iterable[tuple[str, int]] | None) -> None:
        """So many are free; None: all."""
        self._licences = self._packing.licences(free)

    def put(self, number: int, row: int) -> None:
        """The row of a node is this from now on; -1: it is not available any more. Older copies keep what they have."""
        old = self._row(number)
        if old == row:
            return
        bits = 1 << number
        if old >= 0:
            self._leave(old, bits)
        if row >= 0:
            bucket = self._own(row & FIELD_MASK)
            bucket[row] = bucket.get(row, 0) | bits
        self._moved[number] = row
        if len(self._moved) > len(self._base) // 4:
            self._base = [self._row(each) for each in range(len(self._base))]
            self._moved.clear()

    def take(self, numbers: Iterable[int], ask: Ask, count: int = 1) -> None:
        """Allocate so many elements on each of the nodes, as commit will."""
        self._licences -= ask.licences * count
        for row, its in self._by_row(numbers).items():
            self._set(its, row, row - self._need(row, ask, count))

    def give(self, numbers: Iterable[int], ask: Ask) -> None:
        """One element ends. Nodes that are not available stay so."""
        self._licences += ask.licences
        for row, its in self._by_row(numbers).items():
            if row >= 0:
                self._set(its, row, row + self._need(row, ask, -1))

    def _by_row(self, numbers: Iterable[int]) -> dict[int, list[int]]:
        """The parts of a gang mostly lie on nodes of equal row: they are moved together."""
        found: dict[int, list[int]] = {}
        moved, base = self._moved, self._base
        for number in numbers:
            row = moved.get(number)
            if row is None:
                row = base[number]
            its = found.get(row)
            if its is None:
                found[row] = [number]
            else:
                its.append(number)
        return found

    def wait_for(self, ask: Ask, running: Iterable[RunningJob], now_s: float) -> float | None:
        """Let what runs end, in the order given, until the ask fits: then. None: it never will.

        What has ended by then is given back to this room.
        """
        packing, allowed = self._packing, ask.nodes
        fitting = self._fitting(ask)
        is_enough = ask.holds(fitting)
        time_s = now_s
        for job in running:
            if is_enough and job.expected_end_s > time_s and self.has_licences(ask):
                break
            time_s = max(time_s, job.expected_end_s)
            self.give(job.node_numbers, packing.ask(job.shape))
            new = self._fitting_of(job.node_numbers, ask) & allowed & ~fitting
            if new:
                fitting |= new
                is_enough = is_enough or ask.holds_near(fitting, list(members_of(new)))
        return time_s if is_enough and self.has_licences(ask) else None

    def _need(self, row: int, ask: Ask, count: int) -> int:
        """What so many elements take of the row, or, if the count is negative, give back to it."""
        if ask.gpu_milli:
            return self._need_of_share(row, ask, count)
        node_class = row >> self._packing.class_shift
        need = ask.need_of.get(node_class, 0) * abs(count)
        if node_class in ask.mixed:
            need += self._packing.by_type(row, ask.shape.gpus * count)
        return need

    def _need_of_share(self, row: int, ask: Ask, count: int) -> int:
        """The same for shares of a GPU: here the row changes in more than amounts."""
        parts, kind = self._packing.parts, ask.shape.gpu_type
        change = ask.need_of.get(row >> self._packing.class_shift, 0) * abs(count)
        after = row
        for _ in range(abs(count)):
            after = parts.take(after, ask.gpu_milli, kind) if count > 0 else parts.give(after, ask.gpu_milli, kind)
        return change + (row - after if count > 0 else after - row)

    def _row(self, number: int) -> int:
        row = self._moved.get(number)
        return self._base[number] if row is None else row

    def _fitting_of(self, numbers: Iterable[int], ask: Ask) -> int:
        """Those of the nodes where one node's part of the ask fits."""
        guards, shift, need_of = self._packing.guards, self._packing.class_shift, ask.need_of
        moved, base = self._moved, self._base
        does_fit: dict[int, bool] = {}
        found: list[int] = []
        for number in numbers:
            row = moved.get(number)
            if row is None:
                row = base[number]
            fits = does_fit.get(row)
            if fits is None:
                need = need_of.get(row >> shift) if row >= 0 else None
                fits = does_fit[row] = need is not None and (row | guards) - need & guards == guards
            if fits:
                found.append(number)
        return mask_of(found)

    def _set(self, numbers: list[int], old: int, new: int) -> None:
        """Nodes of one row have another."""
        bits = mask_of(numbers)
        self._leave(old, bits)
        bucket = self._own(new & FIELD_MASK)
        bucket[new] = bucket.get(new, 0) | bits
        self._moved.update(dict.fromkeys(numbers, new))

    def _leave(self, row: int, bits: int) -> None:
        """These nodes have that row no more."""
        bucket = self._own(row & FIELD_MASK)
        rest = bucket[row] ^ bits
        if rest:
            bucket[row] = rest
        else:
            del bucket[row]
            if not bucket:
                del self._buckets[row & FIELD_MASK]

    def _own(self, cpus: int) -> dict[int, int]:
        """The bucket, to write to."""
        bucket = self._buckets.get(cpus)
        if bucket is None or cpus not in self._owned:
            bucket = self._buckets[cpus] = dict(bucket) if bucket else {}
            self._owned.add(cpus)
        return bucket
