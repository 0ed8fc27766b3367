"""Packing: the amounts of a node as one integer, so that asking and taking are single operations.

All amounts of a node (CPUs, memory, GPUs by type, generic resources) are fields of one integer, its row; a guard bit
above each field keeps them apart, so that one subtraction compares them all. Pure.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from copy import copy
from typing import TYPE_CHECKING

import attrs

from hal_core.models.demand import Demand, GpuRequest
from hal_core.models.domains import Domains
from hal_core.models.fragmentation import Fragmentation
from hal_core.models.gpu_parts import GpuParts
from hal_core.models.job import Shape
from hal_core.models.masks import mask_of, members_of
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.placing import Wish, holds
from hal_core.models.row_fields import AMOUNT_MAX as AMOUNT_MAX, FIELD_BITS as FIELD_BITS, FIELD_MASK as FIELD_MASK
from hal_core.models.topology import Topology

if TYPE_CHECKING:
    from hal_core.models.plan import NodeColumns

NEVER = AMOUNT_MAX
"""More CPUs than there are: a need that never fits."""
ASKS_KEPT = 100_000


class Ask:
    """A shape in packed form: what one node's part of it takes, by the class of the node, and which nodes may serve."""

    __slots__ = (
        *("classes", "cpus", "domains", "family", "gpu_milli", "has_gpus_near", "held_of", "home", "ideal_s"),
        *("lack_of", "licences", "mixed", "need_of", "node_count", "nodes", "parts", "pool_need", "shape"),
        *("strict", "wish"),
    )

    def __init__(self, shape: Shape, nodes: int, need_of: dict[int, int], mixed: frozenset[int]) -> None:
        self.shape = shape
        self.family: object = None
        """The same one for all shapes that differ in how many nodes they want, and in nothing else: where there is no
        room for one of them, there is none for a wider one."""
        self.node_count = shape.node_count
        self.nodes = nodes
        """The nodes of the partition, as bits."""
        self.need_of = need_of
        """By class of node; without those that can never serve."""
        self.held_of = need_of
        """The same, with nodes where an exclusive one could not start, and yet may have gone on beside another."""
        self.classes: list[int] = []
        """Of nodes that may serve."""
        self.lack_of: list[int] = []
        """By class of node, what makes a row keep all its guards if it fits: they and then the need are added to it
        in one. Nothing keeps them where it can never serve."""
        self.cpus = min((need & FIELD_MASK for need in need_of.values()), default=NEVER)
        """The least that it takes anywhere."""
        self.pool_need = need_of.get(0, NEVER) if nodes & 1 and shape.node_count == 1 else NEVER
        """Of the one node, if the cluster has no other."""
        self.mixed = mixed
        """Classes of nodes where it depends on the row which types of GPU are taken."""
        self.licences = 0
        """What one element takes of the cluster's licences, packed in the same way."""
        self.gpu_milli = 0 if shape.is_exclusive else shape.gpu_milli
        self.has_gpus_near = False
        """Nodes with GPUs may serve it, so that it matters which are left over."""
        self.domains: Domains | None = None
        """Where the topology has a say in which nodes are chosen."""
        self.wish = Wish(shape.node_count)
        self.home = 0
        """The nodes of the domain that it prefers; 0 if it prefers none."""
        self.ideal_s: float | None = None
        """An exchange between the nearest nodes that the cluster has for it; None: not looked at yet."""
        self.strict: Ask | None = None
        """The same with what it prefers as its requirement; None if it prefers nothing."""
        self.parts: tuple[Ask, ...] = ()
        """What each component asks for, if there are several; then nothing fits the whole on a single node."""

    def assigned(self, numbers: Sequence[int]) -> Iterator[tuple[Ask, Sequence[int]]]:
        """Each component with its own of the nodes that were chosen for the whole; mostly there is one."""
        first = 0
        for part in self.parts or (self,):
            yield part, numbers[first : first + part.node_count]
            first += part.node_count

    def holds(self, nodes: int) -> bool:
        """Whether these nodes, on each of which it fits, are enough, and close enough together."""
        if self.domains is None or not self.wish.depth:
            return nodes.bit_count() >= self.node_count
        return holds(self.domains, nodes, self.wish)

    def is_allowed(self, nodes: int) -> bool:
        """Whether it may be on just these nodes, as far as the topology is concerned."""
        return self.domains is None or (not nodes & ~self.nodes and self.holds(nodes))

    def holds_near(self, nodes: int, new: int) -> bool:
        """As `holds`, if only these new ones among the nodes were not there when it was asked before."""
        if self.domains is None or not self.wish.depth:
            return nodes.bit_count() >= self.node_count
        while new:
            domain = self.domains.around((new & -new).bit_length() - 1, self.wish.depth)
            if (nodes & domain.nodes).bit_count() >= self.node_count:
                return True
            new &= ~domain.nodes
        return False

    def within(self, nodes: int) -> Ask:
        """The same of these nodes only."""
        twin = copy(self)
        twin.nodes &= nodes
        twin.ideal_s = None
        twin.family = object()  # where one of another family has no room this one may have some
        if not nodes & 1:
            twin.pool_need = NEVER
        twin.strict = None if self.strict is None else self.strict.within(nodes)
        twin.parts = tuple([part.within(nodes) for part in self.parts])
        return twin


class Packing:
    """How the nodes of one cluster become rows, and shapes become asks."""

    def __init__(
        self,
        nodes: Sequence[Node],
        partitions: Mapping[PartitionName, Iterable[int]],
        topology: Topology | None = None,
        licences: Iterable[tuple[str, int]] = (),
        demand: Demand | None = None,
    ) -> None:
        self._licences = tuple(licences)
        self._demand = demand or Demand()
        self.licence_guards = sum(1 << FIELD_BITS * (at + 1) - 1 for at in range(len(self._licences)))
        self.domains = Domains(topology, nodes) if topology is not None and topology.levels else None
        kinds = sorted({kind for node in nodes for kind in node.gpus})
        names = sorted({name for node in nodes for name, _ in node.generic})
        fields = ["cpus", "memory", *(["gpus"] if kinds else ()), *(f"gpu:{kind}" for kind in kinds)]
        fields += [f"generic:{name}" for name in names]
        self.shift_of = {field: FIELD_BITS * place for place, field in enumerate(fields)}
        self.guards = sum(1 << shift + FIELD_BITS - 1 for shift in self.shift_of.values())
        self.class_shift = FIELD_BITS * (len(fields) + bool(kinds))
        self.has_gpus = bool(kinds)
        self.parts = GpuParts(FIELD_BITS * len(fields), self.shift_of)
        amounts = {(node.cpu_count, node.memory_bytes, len(node.gpus)) for node in nodes if node.gpus}
        self._wholes = [GpuRequest(*each, 0, "") for each in sorted(amounts)]
        self.fragmentation = Fragmentation(self._demand, self.parts, self.shift_of, self._wholes)
        self.partition_nodes = {name: mask_of(numbers) for name, numbers in partitions.items()}
        self.group_of = partition_groups(self.partition_nodes)
        if self._licences:  # what all partitions draw from makes them one group
            self.group_of = dict.fromkeys(self.group_of, next(iter(self.group_of), PartitionName("")))
        self.group_nodes: dict[PartitionName, int] = {}
        for name, nodes_of_it in self.partition_nodes.items():
            group = self.group_of[name]
            self.group_nodes[group] = self.group_nodes.get(group, 0) | nodes_of_it
        self._group_numbers: dict[PartitionName, Set[int]] = {}
        self._asks: dict[Shape, Ask] = {}
        self._families: dict[Shape, object] = {}
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
        numbers_by_class: list[list[int]] = [[] for _ in self.classes]
        for number, node_class in enumerate(self.class_of):
            numbers_by_class[node_class].append(number)
        self.class_nodes = [mask_of(numbers) for numbers in numbers_by_class] * 2
        """Of each class its nodes, as bits."""
        self.shared_from = len(self.classes)
        """A node where a job stands aside is of another class, this number higher: all may be free there, and still no
        exclusive job may come."""
        self.classes += self.classes
        self._number_of = {node.name: number for number, node in enumerate(nodes)}
        self.nodes_without_gpus = mask_of(number for number, node in enumerate(nodes) if not node.gpus)

    def twin(self) -> Packing:
        """Reads the same rows and remembers nothing: for whoever works beside this one, perhaps in a thread."""
        twin = copy(self)
        twin._asks, twin._families, twin.parts = {}, {}, self.parts.copy()
        twin._demand = attrs.evolve(self._demand, weights=self._demand.weights.copy())
        twin.fragmentation = Fragmentation(twin._demand, twin.parts, self.shift_of, self._wholes)
        return twin

    def row(self, columns: NodeColumns, number: int) -> int:
        """The row of a node: what is free there, and above it the class."""
        packed = self._amounts(columns.free_cpus[number], columns.free_memory_bytes[number])
        for kind, count in columns.free_gpus[number].items():
            for field in ("gpus", f"gpu:{kind}") if count > 0 else ():
                packed += count << self.shift_of[field]
        for name, count in columns.free_generic[number].items():
            if count > 0 and f"generic:{name}" in self.shift_of:
                packed += count << self.shift_of[f"generic:{name}"]
        if self.has_gpus:
            packed |= self.parts.packed(columns.free_gpu_parts[number])
        row = packed | self.class_of[number] << self.class_shift
        return self.shared(row) if columns.aside_count[number] else row

    def shared(self, row: int) -> int:
        """The row of a node where as much is free, and which no exclusive job can have."""
        return row if self.is_shared(row) else row + (self.shared_from << self.class_shift)

    def is_shared(self, row: int) -> bool:
        return row >> self.class_shift >= self.shared_from

    @property
    def is_reversible(self) -> bool:
        """Whether what is taken and given back, in any order, leaves a row as it was: not where it depends on the row
        which GPUs are meant."""
        return not self.has_mixed and not self.parts.is_used

    def idle_row(self, number: int) -> int:
        """The row of a node on which nothing runs."""
        return self._capacity(self.classes[self.class_of[number]]) | self.class_of[number] << self.class_shift

    def ask(self, shape: Shape) -> Ask:
        """The shape in packed form; made once."""
        found = self._asks.get(shape)
        if found is None:
            if len(self._asks) >= ASKS_KEPT:
                self._asks.clear()
                self._families.clear()
            found = self._asks[shape] = self._make_mixed(shape) if shape.also else self._make_ask(shape)
        return found

    def _make_mixed(self, shape: Shape) -> Ask:
        """For a job of several components: what decides stands in its parts."""
        parts = tuple([self.ask(part) for part in shape.parts])
        ask = Ask(shape, functools.reduce(operator.or_, [part.nodes for part in parts]), {}, frozenset())
        ask.parts, ask.node_count, ask.cpus = parts, shape.total_nodes, min(part.cpus for part in parts)
        ask.family = object()
        ask.lack_of = [self.guards - NEVER] * len(self.classes)
        ask.licences = self.licences(shape.licences)
        return ask if ask.licences >= 0 else ask.within(0)

    def _make_ask(self, shape: Shape) -> Ask:
        need_of: dict[int, int] = {}
        mixed: set[int] = set()
        for number, node in enumerate(self.classes[: self.shared_from]):
            if not shape.suits(node.features):
                continue
            if shape.is_exclusive:
                need = self._capacity(node)
                fits = self._fits_capacity(shape, node)
            else:
                need, fits = self._need(shape, node), True
                if shape.gpus and not shape.gpu_type and len(set(node.gpus)) > 1:
                    mixed.add(number)
            if shape.gpu_milli and not (node.gpus.count(shape.gpu_type) if shape.gpu_type else node.gpus):
                continue
            if fits and need >= 0:
                need_of[number] = need
        held_of = need_of | {number + self.shared_from: need for number, need in need_of.items()}
        need_of = need_of if shape.is_exclusive else held_of
        mixed |= {number + self.shared_from for number in mixed}
        ask = Ask(shape, self._allowed(shape), need_of, frozenset(mixed))
        ask.held_of = held_of
        ask.family = self._families.setdefault(attrs.evolve(shape, node_count=1), object())
        never = self.guards - NEVER
        ask.lack_of = [self.guards - need_of[n] if n in need_of else never for n in range(len(self.classes))]
        ask.licences = self.licences(shape.licences)
        if ask.licences < 0:
            ask.nodes = 0
            ask.pool_need = NEVER
        ask.classes = [number for number in need_of if self.class_nodes[number] & ask.nodes]
        near = ask.nodes & ~self.nodes_without_gpus
        ask.has_gpus_near = bool(near) and any(self.classes[number].gpus for number in need_of)
        if self.domains is not None:
            self._place(ask, self.domains)
        return ask

    def _allowed(self, shape: Shape) -> int:
        """The nodes of its partition, without those that its names rule out."""
        allowed = self.partition_nodes.get(shape.partition, 0)
        if shape.only_nodes:
            allowed &= self._named(shape.only_nodes)
        return allowed & ~self._named(shape.excluded_nodes)

    def _named(self, names: tuple[NodeName, ...]) -> int:
        return mask_of([self._number_of[name] for name in names if name in self._number_of])

    def numbers_beside(self, partition: PartitionName) -> Set[int] | None:
        """The numbers of the nodes of its group; None if there is no other group."""
        group = self.group_of.get(partition)
        if group is None or len(self.group_nodes) < 2:
            return None
        if group not in self._group_numbers:
            self._group_numbers[group] = frozenset(members_of(self.group_nodes[group]))
        return self._group_numbers[group]

    def licences(self, counts: Iterable[tuple[str, int]] | None = None) -> int:
        """So many of each, packed; -1 if the cluster has no such licence. None: all that there are."""
        place_of = {name: at for at, (name, _) in enumerate(self._licences)}
        packed = 0
        for name, count in self._licences if counts is None else counts:
            if name not in place_of:
                return -1
            packed += min(max(count, 0), AMOUNT_MAX) << FIELD_BITS * place_of[name]
        return packed

    def _place(self, ask: Ask, domains: Domains) -> None:
        """What the topology means for the ask. What it requires and does not exist, it never gets."""
        shape = ask.shape
        ask.domains = domains
        depth = domains.topology.depth_of(shape.level) if shape.level else 0
        home = domains.named(shape.level, shape.domain) if shape.domain else 0
        if shape.is_level_required:
            if depth is None or (shape.domain and not home):
                ask.nodes = 0
            ask.nodes &= home or -1
            ask.wish = Wish(shape.node_count, depth or 0, shape.communication)
        else:
            ask.wish = Wish(shape.node_count, 0, shape.communication)
            ask.home = home
            if depth:
                ask.strict = self.ask(attrs.evolve(shape, is_level_required=True))
            elif shape.communication and shape.node_count > 1:  # nobody wants to be in two regions
                widest = domains.topology.levels[0].name
                ask.strict = self.ask(attrs.evolve(shape, level=widest, is_level_required=True))

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
