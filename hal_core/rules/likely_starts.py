"""Where jobs that wait are likely to start, so that their inputs can be brought there meanwhile. A guess, no promise.

The first jobs of the queue, in the order in which the engine tries them, each take what comes free soon where their
wait and stage-in together are least, as the engine will choose when that time has come. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from hal_core.models.job import JobId
from hal_core.models.plan import PendingJob
from hal_core.models.staging import Tier
from hal_core.rules.coming_free import ComingFree

if TYPE_CHECKING:
    from hal_core.models.packing import Ask
    from hal_core.models.plan import Snapshot
    from hal_core.models.staging import Tiers

JOBS_MAX: Final = 32
"""So many jobs are looked at: farther ahead it is no more than fortune-telling. With three times as many, more was
brought for nothing than was hidden (tests/benchmarks/three_sites.py)."""
LEAD: Final = 2.0
"""An input is brought ahead when the start is no farther off than so many times what bringing it takes: jobs start
sooner than it was guessed rather than later."""
AGAIN: Final = 0.5
"""For the same job it is brought to another node if that takes no more than this part of the time before: from a node
of that site, when the site was right. So all that was guessed wrong costs less than the first transfer once more."""
FORGOTTEN_S: Final = 3600.0
"""What was brought so long ago for a job that still waits may have had to go."""
NOWHERE: Final = (Tier(-1, 0.0),)
"""The tiers of a job that reads nothing: it takes room all the same."""

Guess = tuple[PendingJob, float, int, float]
"""A job, when it is likely to start, on which node, and its stage-in time there."""


def likely_starts(snapshot: Snapshot, within_s: float, waiting: Iterable[PendingJob] = ()) -> Iterator[Guess]:
    """For jobs of one node with inputs that are likely to start within that time. `waiting`: the jobs that the engine
    will try first (Plan.waiting); else they are taken as the snapshot has them."""
    narrow = (job for job in waiting or snapshot.pending() if job.shape.total_nodes == 1)
    jobs = list(islice(narrow, JOBS_MAX))
    if not any(job.inputs for job in jobs):
        return
    until_s = snapshot.now_s + within_s
    room = snapshot.room()
    coming = ComingFree(snapshot, room)
    for job in jobs:
        ask = room.packing.ask(job.shape)
        tiers = snapshot.stage_in(job.inputs) if job.inputs else ()
        found = _soonest(coming, ask, tiers or NOWHERE, until_s)
        if found is None:
            continue
        time_s, number, stage_s = found
        coming.claim(number, ask)
        if tiers:
            yield job, time_s, number, stage_s


def _soonest(coming: ComingFree, ask: Ask, tiers: Tiers, until_s: float) -> tuple[float, int, float] | None:
    """When and where wait and stage-in together are least, and the stage-in there."""
    best: tuple[float, int, float] | None = None
    best_s, before = math.inf, 0
    for tier in tiers:
        bound_s = min(until_s, best_s - tier.cost_s)
        is_last = tier.nodes == tiers[-1].nodes
        nodes = tier.nodes & ~before & ask.nodes
        found = coming.first_of_all(ask, bound_s) if is_last else coming.first(ask, nodes, bound_s)
        if found is not None:
            best, best_s = (*found, tier.stage_s), found[0] + tier.cost_s
        before = tier.nodes
    return best


class Brought:
    """For which jobs that wait something was brought ahead, and how long that was to take."""

    def __init__(self) -> None:
        self._before: dict[JobId, tuple[float, float]] = {}
        """Job -> when something was brought for it last, and how long that was to take."""

    def is_due(self, guess: Guess, now_s: float) -> bool:
        """Whether to bring the inputs of the job to that node now."""
        job, start_s, _, stage_s = guess
        if not stage_s or start_s - now_s > LEAD * stage_s:
            return False
        time_s, before_s = self._before.get(job.job_id, (-math.inf, 0.0))
        return stage_s <= AGAIN * before_s or now_s >= time_s + FORGOTTEN_S

    def bring(self, guess: Guess, now_s: float) -> None:
        self._before[guess[0].job_id] = now_s, guess[3]

    def forget(self, job_id: JobId) -> None:
        """It has started, or does not wait any more."""
        self._before.pop(job_id, None)

    def __len__(self) -> int:
        return len(self._before)
