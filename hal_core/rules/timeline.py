"""Room over time: the toolbox of every backfill engine. Pure; works on copies of what is free (models/room.py).

`earliest_start` lets running jobs end in order until a shape fits: the shadow time of EASY backfill (Mu'alem and
Feitelson, IEEE TPDS 12(6), 2001).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from hal_core.models.plan import RunningJob
from hal_core.models.room import Ask, Room


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
    packing, allowed, wanted = room.packing, ask.nodes, ask.node_count
    fitting = later.fitting(ask)
    time_s = now_s
    for job in running:
        if fitting.bit_count() >= wanted and job.expected_end_s > time_s:
            break
        time_s = max(time_s, job.expected_end_s)
        later.give(job.node_numbers, packing.ask(job.shape))
        for number in job.node_numbers:
            if allowed >> number & 1 and not fitting >> number & 1 and later.count(number, ask):
                fitting |= 1 << number
    if fitting.bit_count() < wanted:
        return None
    chosen = later.choose(ask)
    later.take(chosen, ask)
    return Promise(time_s, chosen, later)
