"""From where a node is to take a dataset: nearest first, so that what is far is crossed once. Pure.

Other nodes that have a copy, or are getting one, are sources like the dataset's own replicas. They are ordered by what
the link between the two nodes takes for it, in time and money, as the topology has it; all replicas of its own count as
being at the rate that nodes were seen to have. So the first node of a rack, or of a site, that wants a dataset gets it
from afar, and all others there take it from that one, or from each other: among those that are equally near, from the
one that fewer read from. No node is sent to one that waits for itself.

What is on its way is no state: after a restart of the daemon it is ordered again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.dataset import PEER, Dataset, DatasetId
from hal_core.models.masks import members_of
from hal_core.models.node import NodeName, NodeStatus
from hal_core.models.topology import Link

if TYPE_CHECKING:
    from hal_core.rules.state import State

LENDERS_MAX: Final = 4
"""Nodes that one node is told of: what all of them have lost comes from the dataset's own replicas."""
LOOKED_AT_MAX: Final = 200
UNDECLARED: Final = Link(0.001, float(1 << 30))
"""Between nodes of a cluster without a topology: one network, faster than what it gets its data from."""


@attrs.define
class _Coming:
    """A dataset on its way to a node."""

    lenders: tuple[NodeName, ...]
    replicas: tuple[str, ...]
    order_count: int = 0


class Sources:
    """`state_of` gives the state of the moment."""

    def __init__(self, state_of: Callable[[], State]) -> None:
        self._state_of = state_of
        self._coming: dict[DatasetId, dict[NodeName, _Coming]] = {}
        self._borrowers: Counter[NodeName] = Counter()
        """How many are expected to read from a node now."""

    @contextmanager
    def routed(self, node: NodeName, datasets: Sequence[Dataset]) -> Iterator[list[Dataset]]:
        """While they are brought to the node: the datasets, with the replicas that it is to read, in that order."""
        begun = [(each, self._begin(node, each)) for each in datasets]
        try:
            yield [attrs.evolve(each, replicas=coming.replicas) for each, coming in begun]
        finally:
            for each, coming in begun:
                self._end(node, each.id, coming)

    def _begin(self, node: NodeName, dataset: Dataset) -> _Coming:
        """An order that is repeated meanwhile has the same sources."""
        of_dataset = self._coming.setdefault(dataset.id, {})
        coming = of_dataset.get(node)
        if coming is None:
            coming = of_dataset[node] = self._ranked(node, dataset)
            self._borrowers.update(coming.lenders[:1])
        coming.order_count += 1
        return coming

    def _end(self, node: NodeName, dataset_id: DatasetId, coming: _Coming) -> None:
        coming.order_count -= 1
        if coming.order_count:
            return
        self._borrowers.subtract(coming.lenders[:1])
        self._borrowers += Counter()  # forgets those that are at 0
        del self._coming[dataset_id][node]
        if not self._coming[dataset_id]:
            del self._coming[dataset_id]

    def _ranked(self, node: NodeName, dataset: Dataset) -> _Coming:
        state = self._state_of()
        number = state.table.number_of.get(node)
        if number is None or dataset.file_version:  # what another node says it has, without a digest nobody can check
            return _Coming((), dataset.replicas)
        size_bytes, coming = dataset.size_bytes, self._coming[dataset.id]
        ranked = sorted(
            (_link(state, number, each).transfer_cost_s(size_bytes), self._load(each, coming), name, each)
            for name, each in self._candidates(state, number, dataset.id)
        )
        own_s = size_bytes / state.catalogue.pace.rate(state.cluster.stage_bytes_per_s)
        chosen = ranked[:LENDERS_MAX]
        nearer = [name for cost_s, _, name, _ in chosen if cost_s <= own_s]
        farther = [name for cost_s, _, name, _ in chosen if cost_s > own_s]
        replicas = (*map(_replica, nearer), *dataset.replicas, *map(_replica, farther))
        return _Coming(tuple(nearer + farther), replicas)

    def _load(self, number: int, coming: dict[NodeName, _Coming]) -> int:
        name = self._state_of().table.nodes[number].name
        return self._borrowers[name] + (name in coming)

    def _candidates(self, state: State, number: int, dataset_id: DatasetId) -> Iterator[tuple[NodeName, int]]:
        """Nodes that are up and have it, or wait for it and not for this one."""
        table, coming = state.table, self._coming[dataset_id]
        node = table.nodes[number].name
        waiting = [each for each in coming if not _leads_to(each, node, coming)]
        holders = state.catalogue.copies.get(dataset_id, set()).difference(coming)
        for name in _near(state, number, {*holders, *waiting}):
            other = table.number_of.get(name)
            if other is not None and other != number and table.status[other] is NodeStatus.UP:
                yield name, other


def _near(state: State, number: int, names: set[NodeName]) -> Iterable[NodeName]:
    """All of them, or of very many some of the nearest."""
    domains, nodes = state.packing.domains, state.table.nodes
    if len(names) <= LOOKED_AT_MAX or domains is None:
        return islice(names, LOOKED_AT_MAX)
    for depth in range(domains.depth_max, 0, -1):
        inside = (nodes[each].name for each in members_of(domains.around(number, depth).nodes))
        found = list(islice((name for name in inside if name in names), LOOKED_AT_MAX))
        if found:
            return found
    return islice(names, LOOKED_AT_MAX)


def _leads_to(name: NodeName, node: NodeName, coming: dict[NodeName, _Coming]) -> bool:
    """Whether what comes to the one may have to come from the other."""
    seen: set[NodeName] = set()
    ahead = [name]
    while ahead:
        each = ahead.pop()
        if each == node:
            return True
        if each in coming and each not in seen:
            ahead += coming[each].lenders
        seen.add(each)
    return False


def _link(state: State, one: int, other: int) -> Link:
    domains = state.packing.domains
    return UNDECLARED if domains is None else domains.span(1 << one | 1 << other).link


def _replica(name: NodeName) -> str:
    return f"{PEER}{name}"
