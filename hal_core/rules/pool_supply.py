"""The room on a pool's instances while a decision is made: what jobs that were admitted will take, and what is left.

A job that needs one instance or more has them for itself; smaller ones stand beside each other, as close as they fit.
Pure; works on its own copy.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Mapping
from itertools import islice
from operator import attrgetter

import attrs

from hal_core.models.pool_decision import InstanceState, PoolInstance

WHOLE = 1.0
EPSILON = 1e-9


@attrs.define(eq=False)
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
    account: str = ""
    """Whose budget pays for it."""


class Supply:
    """All places of a pool that can be given work."""

    def __init__(self, instances: Iterable[PoolInstance], free: Mapping[str, float], now_s: float) -> None:
        """`free`: of instances that are ready, which share of each; those that are not named get no more work. Nor does
        one that should have been ready long ago: it never will be."""
        self._places: dict[tuple[str, str], list[Place]] = {}
        """By offer and by who pays, the earliest first."""
        for each in instances:
            if each.state is InstanceState.READY:
                share, ready_s, latest_s = free.get(each.name, 0.0), now_s, -math.inf
            elif each.state is InstanceState.BOOTING and now_s < each.latest_s:
                share, ready_s, latest_s = WHOLE, max(each.ready_s, now_s), each.latest_s
            else:
                continue
            if share > EPSILON:
                terms = (each.until_s, each.price_per_hour, each.name, latest_s, each.until_s_max, each.account)
                place = Place(each.offer, share, ready_s, *terms)
                self._places.setdefault((each.offer, each.account), []).append(place)
        for places in self._places.values():
            places.sort(key=_order)

    def add(self, place: Place) -> None:
        insort(self._places.setdefault((place.offer, place.account), []), place, key=_order)

    def find(self, offer: str, need: float, until_s: float = -math.inf, account: str = "") -> list[Place]:
        """The places for so many instances until then, of those that the account pays for: the fullest that is not too
        full, or the earliest empty ones. Fewer than are needed if there are not enough."""
        least = min(need, WHOLE) - EPSILON
        mine = self._places.get((offer, account), ())
        fitting = (place for place in mine if place.free >= least and until_s <= place.until_s_max)
        if need < WHOLE - EPSILON:
            fullest = min(fitting, key=_fullness, default=None)
            return [] if fullest is None else [fullest]
        return list(islice(fitting, count_of(need)))

    def take(self, places: Iterable[Place], need: float) -> None:
        for place in places:
            place.free -= min(need, place.free)
            if place.free <= EPSILON:
                self._places[place.offer, place.account].remove(place)


def _order(place: Place) -> tuple[float, str]:
    return place.ready_s, place.name


_fullness = attrgetter("free")
"""Of equals the first is taken, and they stand in their order."""


def count_of(need: float) -> int:
    """How many instances that is."""
    return max(1, math.ceil(need - EPSILON))
