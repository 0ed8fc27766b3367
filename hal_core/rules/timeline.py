"""Room over time: the toolbox of every backfill engine. Pure; works on copies of what is free (models/room.py).

`earliest_start` lets running jobs end in order until a shape fits: the shadow time of EASY backfill (Mu'alem and
Feitelson, IEEE TPDS 12(6), 2001).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import attrs

from hal_core.models.packing import Ask
from hal_core.models.plan import RunningJob
from hal_core.models.room import Room
from hal_core.rules.permit import Permit

EDGES_MAX = 200
"""Reservations may recur for ever: so many of their beginnings and ends are looked at, and no more."""


@attrs.frozen
class Promise:
    """Where and when a blocked shape can start at the latest, and what is left beside it at that moment."""

    time_s: float
    """Infinity if that takes the end of a job without a limit."""
    node_numbers: tuple[int, ...]
    spare: Room


def earliest_start(
    room: Room, running: Iterable[RunningJob], ask: Ask, now_s: float, permit: Permit | None = None
) -> Promise | None:
    """Let the running jobs end as expected, until the ask fits. None: it never will.

    `room` is what is free now and is not changed; `running` is in the order of expected ends and includes what this
    pass has started already. With a permit, the start is also within what that allows then.
    """
    later = room.copy()
    if permit is not None:
        return _earliest_permitted(later, running, ask, now_s, permit)
    time_s = later.wait_for(ask, running, now_s)
    if time_s is None:
        return None
    chosen = later.choose(ask)
    later.take(chosen, ask)
    return Promise(time_s, chosen, later)


def _earliest_permitted(
    later: Room, running: Iterable[RunningJob], ask: Ask, now_s: float, permit: Permit
) -> Promise | None:
    """The same, but what is allowed changes with the time: at each end, and at each edge of a reservation."""
    packing = later.packing
    ends = deque(running)
    fitting = 0 if ask.parts else later.fitting(ask)
    time_s = now_s
    edges_left = EDGES_MAX
    while edges_left:
        while ends and ends[0].expected_end_s <= time_s:
            job = ends.popleft()
            later.give(job.node_numbers, packing.ask(job.shape))
            for number in job.node_numbers:
                if ask.nodes >> number & 1 and not fitting >> number & 1 and later.count(number, ask):
                    fitting |= 1 << number
        allowed = permit.nodes(time_s)
        if later.has_room(ask, allowed) if ask.parts else ask.holds(fitting & allowed):
            chosen = later.choose(ask, allowed)
            later.take(chosen, ask)
            return Promise(time_s, chosen, later)
        next_end_s = ends[0].expected_end_s if ends else math.inf
        time_s = min(next_end_s, permit.next_s(time_s))
        if time_s == math.inf:
            break
        edges_left -= time_s < next_end_s
    for job in ends:
        later.give(job.node_numbers, packing.ask(job.shape))
    chosen = later.choose(ask) if ends else ()
    later.take(chosen, ask)
    return Promise(math.inf, chosen, later) if chosen else None
