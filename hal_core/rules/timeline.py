"""Room over time: the toolbox of every backfill engine. Pure; works on copies of what is free (models/room.py).

`earliest_start` lets running jobs end in order until a shape fits: the shadow time of EASY backfill (Mu'alem and
Feitelson, IEEE TPDS 12(6), 2001).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from hal_core.models.packing import Ask
from hal_core.models.plan import RunningJob
from hal_core.models.room import Room


@attrs.frozen
class Promise:
    """Where and when a blocked shape can start at the latest, and what is left beside it at that moment."""

    time_s: float
    """Infinity if that takes the end of a job without a limit."""
    node_numbers: tuple[int, ...]
    spare: Room


def earliest_start(room: Room, running: Iterable[RunningJob], ask: Ask, now_s: float) -> Promise | None:
    """Let the running jobs end as expected, until the ask fits. None: it never will.

    `room` is what is free now and is not changed; `running` is in the order of expected ends and includes what this
    pass has started already.
    """
    later = room.copy()
    time_s = later.wait_for(ask, running, now_s)
    if time_s is None:
        return None
    chosen = later.choose(ask)
    later.take(chosen, ask)
    return Promise(time_s, chosen, later)
