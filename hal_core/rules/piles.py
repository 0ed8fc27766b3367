"""Who stands on whom on the CPUs of a node (see `suspension`), of one state at one moment. Pure.

Each node is walked once, when it is first asked for: what is asked of its elements afterwards depends on no others than
those that have a CPU in common with them. A `Piles` is good until the next event is applied.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from hal_core.models.masks import members_of
from hal_core.rules.node_table import mask_of

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State


def cpus_on(activity: Activity, number: int) -> int:
    """The CPUs of its share of that node, as bits."""
    return mask_of(activity.shares[activity.node_numbers.index(number)].cpus)


class Piles:
    """Answers for all nodes of a state. Who is aside is on no pile, but may be asked about."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._nodes: dict[int, _NodePiles] = {}

    def is_covered(self, activity: Activity) -> bool:
        """Whether anybody is above it."""
        return any(self._on(number).above[activity] for number in activity.node_numbers)

    def above(self, activity: Activity) -> list[Activity]:
        """Who is above it on some of its CPUs: placed after it, or before it stepped aside. Node by node, each in the
        order of their placement; a gang once for each node that they have in common."""
        return [other for number in activity.node_numbers for other in self._on(number).all_above(activity)]

    def top_cpus(self, activity: Activity, number: int) -> int:
        """The CPUs of that node on which nobody is above it, as bits."""
        node = self._on(number)
        return node.cpus[activity] & ~node.above[activity]

    def own_cpus(self, activity: Activity) -> dict[int, int]:
        """By node number: how many of its CPUs it has not borrowed. Only of nodes where it has borrowed some."""
        found: dict[int, int] = {}
        for number in activity.node_numbers:
            node = self._on(number)
            if borrowed := node.below[activity]:
                found[number] = (node.cpus[activity] & ~borrowed).bit_count()
        return found

    def _on(self, number: int) -> _NodePiles:
        found = self._nodes.get(number)
        if found is None:
            activities = self._state.on_node[self._state.table.nodes[number].name].values()
            found = self._nodes[number] = _NodePiles(activities, number)
        return found


class _NodePiles:
    """One node: `above` and `below` say which of an element's CPUs are those of who came after or before."""

    def __init__(self, activities: Iterable[Activity], number: int) -> None:
        self.cpus = {activity: cpus_on(activity, number) for activity in activities}
        self.below: dict[Activity, int] = {}
        self.above: dict[Activity, int] = {}
        seen = 0
        for activity, cpus in self.cpus.items():
            self.below[activity] = cpus & seen
            if not activity.is_aside:
                seen |= cpus
        seen = 0
        for activity, cpus in reversed(self.cpus.items()):
            self.above[activity] = cpus & seen
            if not activity.is_aside:
                seen |= cpus

    def all_above(self, activity: Activity) -> list[Activity]:
        contested = self.above[activity]
        if not contested:
            return []
        place = self._places[activity]
        found = {its for cpu in members_of(contested) for its in self._piles[cpu] if its > place}
        return [self._in_order[its] for its in sorted(found)]

    @cached_property
    def _in_order(self) -> list[Activity]:
        return list(self.cpus)

    @cached_property
    def _places(self) -> dict[Activity, int]:
        return {activity: place for place, activity in enumerate(self.cpus)}

    @cached_property
    def _piles(self) -> dict[int, list[int]]:
        """By CPU, if it has several elements: their places, from the lowest."""
        shared = 0
        for cpus in self.above.values():
            shared |= cpus
        piles: dict[int, list[int]] = {cpu: [] for cpu in members_of(shared)}
        for place, (activity, cpus) in enumerate(self.cpus.items()):
            for cpu in members_of(cpus & shared) if not activity.is_aside else ():
                piles[cpu].append(place)
        return piles
