"""The room on a pool's instances while a decision is made: what jobs that were admitted will take, and what is left.

A job that needs one instance or more has them for itself; smaller ones stand beside each other, as close as they fit.
Pure; works on its own copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import attrs

from hal_core.models.pool_decision import InstanceState, PoolInstance

WHOLE = 1.0
EPSILON = 1e-9


@attrs.define
class Place:
    """An instance, or one that is about to be requested, and what is free on it."""

    offer: str
    free: float
    ready_s: float
    until_s: float
    price_per_hour: float
    name: str = ""
    """Empty: it is not there yet."""
    latest_s: float = -math.inf
    """Ready by then, or never; of one that is ready, long ago."""
    until_s_max: float = math.inf
    """Nobody can pay for it beyond."""


class Supply:
    """All places of a pool that can be given work."""

    def __init__(self, instances: Iterable[PoolInstance], free: Mapping[str, float], now_s: float) -> None:
        """`free`: of instances that are ready, which share of each; those that are not named get no more work. Nor does
        one that should have been ready long ago: it never will be."""
        self._places: dict[str, list[Place]] = {}
        for each in instances:
            is_ready = each.state is InstanceState.READY
            share = free.get(each.name, 0.0) if is_ready else WHOLE if now_s < each.latest_s else 0.0
            if each.state is not InstanceState.RELEASING and share > EPSILON:
                ready_s = now_s if is_ready else max(each.ready_s, now_s)
                latest_s = -math.inf if is_ready else each.latest_s
                terms = (each.until_s, each.price_per_hour, each.name, latest_s, each.until_s_max)
                self.add(Place(each.offer, share, ready_s, *terms))

    def add(self, place: Place) -> None:
        self._places.setdefault(place.offer, []).append(place)

    def find(self, offer: str, need: float, until_s: float = -math.inf) -> list[Place]:
        """The places for so many instances until then: the fullest that is not too full, or the earliest empty ones.
        Fewer than are needed if there are not enough."""
        places = [place for place in self._places.get(offer, ()) if until_s <= place.until_s_max]
        if need < WHOLE - EPSILON:
            fitting = [place for place in places if place.free >= need - EPSILON]
            return [min(fitting, key=lambda place: (place.free, place.ready_s, place.name))] if fitting else []
        empty = sorted(
            (place for place in places if place.free >= WHOLE - EPSILON), key=lambda place: (place.ready_s, place.name)
        )
        return empty[: count_of(need)]

    def take(self, places: Iterable[Place], need: float) -> None:
        for place in places:
            place.free -= min(need, place.free)


def count_of(need: float) -> int:
    """How many instances that is."""
    return max(1, math.ceil(need - EPSILON))
