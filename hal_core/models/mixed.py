"""Nodes for a job whose components ask for different things: all of them get theirs, or none does. Pure.

No node serves two components. Whether there are enough follows from Hall's theorem (J. London Math. Soc. 10, 1935):
each can have its nodes just when every few of them together find as many as they want. The sets of nodes that one may
take so that the others still find theirs are a matroid: taking the best one after the other never ends in a corner.
Components are few (parsing/components.py), so that all sets of them can be looked at.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hal_core.models.masks import mask_of, members_of

if TYPE_CHECKING:
    from hal_core.models.job import Shape
    from hal_core.models.packing import Ask
    from hal_core.models.room import Room


def fitting(room: Room, ask: Ask, nodes: int = -1, beside: Room | None = None) -> list[int]:
    """For each component the nodes where it fits, in the room `beside` too; only of `nodes`."""
    rooms = (room,) if beside is None else (room, beside)
    return [functools.reduce(operator.and_, [each.fitting(part) for each in rooms], nodes) for part in ask.parts]


def are_enough(parts: Sequence[Ask | Shape], fitting: Sequence[int]) -> bool:
    """Whether each component can have its nodes, of those where it fits, and no two have the same."""
    sets = [(0, 0)]
    for part, nodes in zip(parts, fitting, strict=True):
        for before in tuple(sets):
            wanted, found = before[0] + part.node_count, before[1] | nodes
            if found.bit_count() < wanted:
                return False
            sets.append((wanted, found))
    return True


def choose(room: Room, ask: Ask, fitting: Sequence[int], beside: Room | None = None) -> tuple[int, ...]:
    """The nodes of the first component, then those of the next. Empty if there are too few.

    `fitting`: for each, the nodes where it fits, in the room `beside` too. Each gets the ones that it fills best, as
    far as that leaves the others theirs.
    """
    left = list(fitting)
    if not are_enough(ask.parts, left):
        return ()
    found: list[int] = []
    for at, part in enumerate(ask.parts):
        others = ask.parts[at + 1 :]
        nodes = left.pop(0)
        chosen = room.choose(part, nodes, beside)
        if not chosen or not are_enough(others, _without(left, mask_of(chosen))):
            chosen = _sparing(part, (*chosen, *members_of(nodes & ~mask_of(chosen))), others, left)
        left = _without(left, mask_of(chosen))
        found += chosen
    return tuple(found)


def _sparing(part: Ask, numbers: Sequence[int], others: Sequence[Ask], fitting: Sequence[int]) -> tuple[int, ...]:
    """As many of the nodes as the component wants, the first ones that leave enough to those that come after it."""
    chosen: list[int] = []
    for number in numbers:
        if len(chosen) == part.node_count:
            break
        if are_enough(others, _without(fitting, mask_of([*chosen, number]))):
            chosen.append(number)
    return tuple(chosen)


def _without(fitting: Sequence[int], nodes: int) -> list[int]:
    return [each & ~nodes for each in fitting]
