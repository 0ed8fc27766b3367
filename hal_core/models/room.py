"""Room: what is free on many nodes, so packed that asking and taking are single operations on integers.

All amounts of a node (CPUs, memory, GPUs by type, generic resources) are fields of one integer, its row; a guard bit
above each field keeps them apart, so that one subtraction compares them all. Nodes of equal row are one entry with a
set of nodes, also an integer: a question about ten thousand nodes costs as much as there are different rows, and a
cluster of one node costs nothing extra. Pure: no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hal_core.models.job import Shape
from hal_core.models.node import Node, PartitionName

if TYPE_CHECKING:
    from hal_core.models.plan import NodeColumns, RunningJob

FIELD_BITS = 64
FIELD_MASK = (1 << FIELD_BITS) - 1
AMOUNT_MAX = (1 << FIELD_BITS - 2) - 1
"""Larger amounts are taken for this one; nothing has so much, and nothing can be given it."""
NEVER = AMOUNT_MAX
"""More CPUs than there are: a need that never fits."""
ASKS_KEPT = 100_000


class Ask:
    """A shape in packed form: what one node's part of it takes, by the class of the node, and which nodes may serve."""

    __slots__ = ("mixed", "need_of", "node_count", "nodes", "pool_need", "shape")

    def __init__(self, shape: Shape, nodes: int, need_of: dict[int, int], mixed: frozenset[int]) -> None:
        self.shape = shape
        self.node_count = shape.node_count
        self.nodes = nodes
        """The nodes of the partition, as bits."""
        self.need_of = need_of
        """By class of node; without those that can never serve."""
        self.pool_need = need_of.get(0, NEVER) if nodes & 1 and shape.node_count == 1 else NEVER
        """Of the one node, if the cluster has no other."""
        self.mixed = mixed
        """Classes of nodes where it depends on the row which types of GPU are taken."""


class Packing:
    """How the nodes of one cluster become rows, and shapes become asks."""

    def __init__(self, nodes: Sequence[Node], partitions: Mapping[PartitionName, Iterable[int]]) -> None:
        kinds = sorted({kind for node in nodes for kind in node.gpus})
        names = sorted({name for node in nodes for name, _ in node.generic})
        fields = ["cpus", "memory", *(["gpus"] if kinds else ()), *(f"gpu:{kind}" for kind in kinds)]
        fields += [f"generic:{name}" for name in names]
        self.shift_of = {field: FIELD_BITS * place for place, field in enumerate(fields)}
        self.guards = sum(1 << shift + FIELD_BITS - 1 for shift in self.shift_of.values())
        self.class_shift = FIELD_BITS * len(fields)
        self.partition_nodes = {name: mask_of(numbers) for name, numbers in partitions.items()}
        self.group_of = partition_groups(self.partition_nodes)
        self.group_nodes: dict[PartitionName, int] = {}
        for name, nodes_of_it in self.partition_nodes.items():
            group = self.group_of[name]
            self.group_nodes[group] = self.group_nodes.get(group, 0) | nodes_of_it
        self._asks: dict[Shape, Ask] = {}
        self.classes: list[Node] = []
        """One node of each class: nodes of a class differ in nothing that a shape could ask for."""
        self.class_of: list[int] = []
        numbers_of: dict[tuple[object, ...], int] = {}
        self.has_mixed = any(len(set(node.gpus)) > 1 for node in nodes)
        """Whether any node has GPUs of several types."""
        for node in nodes:
            key = (node.cpu_count, node.memory_bytes, node.gpus, node.generic, node.features)
            number = numbers_of.setdefault(key, len(self.classes))
            if number == len(self.classes):
                self.classes.append(node)
            self.class_of.append(number)

    def row(self, columns: NodeColumns, number: int) -> int:
        """The row of a node: what is free there, and above it the class."""
        packed = self._amounts(columns.free_cpus[number], columns.free_memory_bytes[number])
        for kind, count in columns.free_gpus[number].items():
            for field in ("gpus", f"gpu:{kind}") if count > 0 else ():
                packed += count << self.shift_of[field]
        for name, count in columns.free_generic[number].items():
            if count > 0 and f"generic:{name}" in self.shift_of:
                packed += count << self.shift_of[f"generic:{name}"]
        return packed | self.class_of[number] << self.class_shift

    def idle_row(self, number: int) -> int:
        """The row of a node on which nothing runs."""
        return self._capacity(self.classes[self.class_of[number]]) | self.class_of[number] << self.class_shift

    def ask(self, shape: Shape) -> Ask:
        """The shape in packed form; made once."""
        found = self._asks.get(shape)
        if found is None:
            if len(self._asks) >= ASKS_KEPT:
                self._asks.clear()
            found = self._asks[shape] = self._make_ask(shape)
        return found

    def _make_ask(self, shape: Shape) -> Ask:
        need_of: dict[int, int] = {}
        mixed: set[int] = set()
        features = set(shape.features)
        for number, node in enumerate(self.classes):
            if not features.issubset(node.features):
                continue
            if shape.is_exclusive:
                need = self._capacity(node)
                fits = self._fits_capacity(shape, node)
            else:
                need, fits = self._need(shape, node), True
                if shape.gpus and not shape.gpu_type and len(set(node.gpus)) > 1:
                    mixed.add(number)
            if fits and need >= 0:
                need_of[number] = need
        return Ask(shape, self.partition_nodes.get(shape.partition, 0), need_of, frozenset(mixed))

    def _amounts(self, cpus: int, memory_bytes: int) -> int:
        return min(max(cpus, 0), AMOUNT_MAX) | min(max(memory_bytes, 0), AMOUNT_MAX) << FIELD_BITS

    def _capacity(self, node: Node) -> int:
        packed = self._amounts(node.cpu_count, node.memory_bytes)
        for kind in node.gpus:
            packed += (1 << self.shift_of["gpus"]) + (1 << self.shift_of[f"gpu:{kind}"])
        for name, count in node.generic:
            packed += count << self.shift_of[f"generic:{name}"]
        return packed

    def _need(self, shape: Shape, node: Node) -> int:
        """What the shape takes on such a node; -1 if the cluster has no such resource at all."""
        packed = self._amounts(shape.cpus, shape.memory_bytes)
        kinds = set(node.gpus)
        kind = shape.gpu_type or (next(iter(kinds)) if len(kinds) == 1 else "")
        for field, count in (("gpus", shape.gpus), (f"gpu:{kind}", shape.gpus if kind else 0)):
            if count and field not in self.shift_of:
                return -1
            packed += count << self.shift_of[field] if count else 0
        for name, count in shape.generic:
            if f"generic:{name}" not in self.shift_of:
                return -1
            packed += count << self.shift_of[f"generic:{name}"]
        return packed

    def _fits_capacity(self, shape: Shape, node: Node) -> bool:
        need = self._need(shape, node)
        return need >= 0 and (self._capacity(node) | self.guards) - need & self.guards == self.guards

    def by_type(self, row: int, gpus: int) -> int:
        """Which types an ask for any GPUs takes of a row of a mixed node: the first of the node that have some free.
        Of which types they were when they are given back (fewer than 0) is not known: the first that lack some."""
        packed, left = 0, abs(gpus)
        node = self.classes[row >> self.class_shift]
        for kind in dict.fromkeys(node.gpus):
            shift = self.shift_of[f"gpu:{kind}"]
            free = row >> shift & FIELD_MASK
            moved = min(left, free if gpus > 0 else node.gpus.count(kind) - free)
            packed += moved << shift
            left -= moved
        return packed


class Room:
    """What is free at one moment, on available nodes only. A copy is cheap and independent."""

    __slots__ = ("_base", "_moved", "_packing", "_rows")

    def __init__(self, packing: Packing, base: list[int], rows: dict[int, int], moved: dict[int, int]) -> None:
        self._packing = packing
        self._base = base
        """Row by node number, as it was when the first of all copies was made; -1 where nothing may start."""
        self._moved = moved
        """Rows that differ from that."""
        self._rows = rows
        """Nodes (as bits) by row."""

    @classmethod
    def of(cls, packing: Packing, columns: NodeColumns) -> Room:
        """As the columns say."""
        is_available = columns.is_available
        base = [packing.row(columns, n) if is_available[n] else -1 for n in range(len(columns.nodes))]
        return cls.of_rows(packing, base)

    @classmethod
    def of_rows(cls, packing: Packing, base: list[int]) -> Room:
        """From the rows of all nodes; -1 for one that is not available. Keeps the list."""
        if len(base) == 1 and base[0] >= 0 and not packing.has_mixed:
            return Pool(packing, base)
        numbers_of: dict[int, list[int]] = {}
        for number, row in enumerate(base):
            if row >= 0:
                numbers_of.setdefault(row, []).append(number)
        return cls(packing, base, {row: mask_of(numbers) for row, numbers in numbers_of.items()}, {})

    @property
    def packing(self) -> Packing:
        return self._packing

    def copy(self) -> Room:
        return Room(self._packing, self._base, self._rows.copy(), self._moved.copy())

    @property
    def row_count(self) -> int:
        """How many different rows there are: what a question costs."""
        return len(self._rows)

    @property
    def node_count(self) -> int:
        return len(self._base)

    def row_of(self, number: int) -> int:
        """The row of a node; -1 if it is not available."""
        return self._row(number)

    def most_cpus(self, nodes: int = -1) -> int:
        """The free CPUs of the emptiest of the nodes: a quick no for whatever asks for more."""
        return max((row & FIELD_MASK for row, members in self._rows.items() if members & nodes), default=0)

    def fitting(self, ask: Ask, nodes: int = -1) -> int:
        """Of these nodes, those where one node's part of the ask fits."""
        guards, shift, need_of = self._packing.guards, self._packing.class_shift, ask.need_of
        nodes &= ask.nodes
        found = 0
        for row, members in self._rows.items():
            if members & nodes:
                need = need_of.get(row >> shift)
                if need is not None and (row | guards) - need & guards == guards:
                    found |= members
        return found & nodes

    def choose(self, ask: Ask, nodes: int = -1) -> tuple[int, ...]:
        """The nodes that the ask fills best: least CPUs left over, then lowest number. Empty if there are too few."""
        guards, shift, need_of = self._packing.guards, self._packing.class_shift, ask.need_of
        nodes &= ask.nodes
        by_cpus: dict[int, int] = {}
        for row, members in self._rows.items():
            hit = members & nodes
            if hit:
                need = need_of.get(row >> shift)
                if need is not None and (row | guards) - need & guards == guards:
                    cpus = row & FIELD_MASK
                    by_cpus[cpus] = by_cpus.get(cpus, 0) | hit
        if not by_cpus:
            return ()
        if ask.node_count == 1:
            best = by_cpus[min(by_cpus)]
            return ((best & -best).bit_length() - 1,)
        chosen, left = 0, ask.node_count
        for _, members in sorted(by_cpus.items()):
            if members.bit_count() >= left:
                return tuple(members_of(chosen | lowest_bits(members, left)))
            chosen |= members
            left -= members.bit_count()
        return ()

    def count(self, number: int, ask: Ask) -> int:
        """How many elements of the ask (one node's part of each) fit on the node."""
        row = self._row(number)
        need = ask.need_of.get(row >> self._packing.class_shift) if row >= 0 and ask.nodes >> number & 1 else None
        if need is None:
            return 0
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

    def take(self, numbers: Iterable[int], ask: Ask, count: int = 1) -> None:
        """Allocate so many elements on each of the nodes, as commit will."""
        for number in numbers:
            row = self._row(number)
            self._set(number, row, row - self._need(row, ask, count))

    def give(self, numbers: Iterable[int], ask: Ask) -> None:
        """One element ends. Nodes that are not available stay so."""
        for number in numbers:
            row = self._row(number)
            if row >= 0:
                self._set(number, row, row + self._need(row, ask, -1))

    def wait_for(self, ask: Ask, running: Iterable[RunningJob], now_s: float) -> float | None:
        """Let what runs end, in the order given, until the ask fits: then. None: it never will.

        What has ended by then is given back to this room.
        """
        packing, allowed, wanted = self._packing, ask.nodes, ask.node_count
        fitting = self.fitting(ask)
        time_s = now_s
        for job in running:
            if fitting.bit_count() >= wanted and job.expected_end_s > time_s:
                break
            time_s = max(time_s, job.expected_end_s)
            self.give(job.node_numbers, packing.ask(job.shape))
            for number in job.node_numbers:
                if allowed >> number & 1 and not fitting >> number & 1 and self.count(number, ask):
                    fitting |= 1 << number
        return time_s if fitting.bit_count() >= wanted else None

    def _need(self, row: int, ask: Ask, count: int) -> int:
        """What so many elements take of the row, or, if the count is negative, give back to it."""
        node_class = row >> self._packing.class_shift
        need = ask.need_of.get(node_class, 0) * abs(count)
        if node_class in ask.mixed:
            need += self._packing.by_type(row, ask.shape.gpus * count)
        return need

    def _row(self, number: int) -> int:
        row = self._moved.get(number)
        return self._base[number] if row is None else row

    def _set(self, number: int, old: int, new: int) -> None:
        rows, bit = self._rows, 1 << number
        rest = rows[old] ^ bit
        if rest:
            rows[old] = rest
        else:
            del rows[old]
        rows[new] = rows.get(new, 0) | bit
        self._moved[number] = new



class Pool(Room):
    """The room of a cluster that is a single node: one row, and no choice."""

    __slots__ = ("_row_now",)

    def __init__(self, packing: Packing, base: list[int]) -> None:
        super().__init__(packing, base, {}, {})
        self._row_now = base[0]

    def copy(self) -> Room:
        twin = Pool.__new__(Pool)
        twin._packing, twin._base, twin._row_now = self._packing, self._base, self._row_now
        return twin

    @property
    def row_count(self) -> int:
        return 1

    def most_cpus(self, nodes: int = -1) -> int:
        return self._row_now & FIELD_MASK if nodes & 1 else 0

    def fitting(self, ask: Ask, nodes: int = -1) -> int:
        need, guards = ask.pool_need, self._packing.guards
        return 1 if nodes & 1 and (self._row_now | guards) - need & guards == guards else 0

    def choose(self, ask: Ask, nodes: int = -1) -> tuple[int, ...]:
        return (0,) if self.fitting(ask, nodes) else ()

    def take(self, numbers: Iterable[int], ask: Ask, count: int = 1) -> None:
        self._row_now -= ask.pool_need * count

    def give(self, numbers: Iterable[int], ask: Ask) -> None:
        self._row_now += ask.pool_need

    def settle(self) -> None:
        self._base[0] = self._row_now

    def wait_for(self, ask: Ask, running: Iterable[RunningJob], now_s: float) -> float | None:
        ask_of, guards, need = self._packing.ask, self._packing.guards, ask.pool_need
        row = self._row_now
        time_s = now_s
        fits = (row | guards) - need & guards == guards
        for job in running:
            if fits and job.expected_end_s > time_s:
                break
            if job.expected_end_s > time_s:
                time_s = job.expected_end_s
            row += ask_of(job.shape).pool_need
            fits = (row | guards) - need & guards == guards
        self._row_now = row
        return time_s if fits else None

    def _row(self, number: int) -> int:
        return self._row_now


def mask_of(numbers: Iterable[int]) -> int:
    """Numbers as bits of one integer."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def members_of(mask: int) -> Iterator[int]:
    """The inverse of `mask_of`, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def lowest_bits(mask: int, count: int) -> int:
    """The `count` lowest set bits of a mask that has at least that many."""
    rest = mask
    for _ in range(count):
        rest &= rest - 1
    return mask ^ rest


def partition_groups(partitions: Mapping[PartitionName, int]) -> dict[PartitionName, PartitionName]:
    """Partition -> name of its group: partitions that share nodes, directly or through others, are one group."""
    group_of: dict[PartitionName, PartitionName] = {}
    nodes_of: dict[PartitionName, int] = {}
    for name, nodes in partitions.items():
        touched = [group for group, its in nodes_of.items() if its & nodes]
        for group in touched:
            nodes |= nodes_of.pop(group)
        nodes_of[name] = nodes
        group_of = {key: name if group in touched else group for key, group in group_of.items()}
        group_of[name] = name
    return group_of
