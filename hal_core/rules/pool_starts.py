"""When waiting jobs would start without any more nodes: what a pool holds against the price of more.

Each job in turn takes the earliest room that is left beside those before it, as conservative backfill does: one pass
over one profile says it of all of them. Asking the engine itself, for each job, with and without more nodes, is better
by what the engine's order differs from this one, and costs a forecast for each (docs/explanation/decisions). Whoever
was admitted to a pool is asked about as if nobody had.

A daemon waits for this at every decision, so it takes bounded time: on a thousand nodes that run as many jobs each step
of the profile costs. Ends that lie close together count as one there. Who is not reached in time is asked about beside
those who were, but takes no room from those behind him: so he, and they, are told too soon at worst, and never sooner
than if nobody waited; a pool rents for nobody who would start as soon by himself. If there is no time even for that,
which takes hundreds of different shapes on nodes that are all unlike, he is taken to wait for all that runs: that may
be too late. What no node can hold is known beforehand, costs nothing and is always told so. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from hal_core.models.job import JobId
from hal_core.models.packing import Ask
from hal_core.models.plan import PendingJob, RunningJob, Snapshot
from hal_core.models.pool import Pool
from hal_core.models.room import Room
from hal_core.rules.permit import Permit
from hal_core.rules.profile import profile_of

ENDS_MAX = 64
"""On many nodes so many moments at which something ends are told apart."""
FLOOR_S = 60.0
"""Shorter run times count as this one in the order."""


@attrs.frozen
class Bounds:
    """How much is looked at in all, in steps as profiles count them."""

    jobs: int = 200
    """So many take room from those behind them."""
    steps: int = 25_000
    """After so many nobody takes room any more: taking costs some 1.3 us a step."""
    asked_steps: int = 200_000
    """After so many nobody is asked about any more: asking alone costs some 0.2 us a step."""


BOUNDS = Bounds()


def expected_starts(snapshot: Snapshot, jobs: Iterable[PendingJob]) -> dict[JobId, float]:
    """In seconds since the epoch; infinity: never. `jobs` may be all that wait, or fewer."""
    rows = tuple(jobs)
    return {job.job_id: start_s for job, start_s in zip(rows, starts_in_turn(snapshot, rows), strict=True)}


def starts_in_turn(snapshot: Snapshot, jobs: Sequence[PendingJob], bounds: Bounds = BOUNDS) -> list[float]:
    """The same for each of `jobs`, among which a job may stand several times: once for each of its elements."""
    now_s = snapshot.now_s
    ordered = sorted(
        range(len(jobs)),
        key=lambda at: (-jobs[at].rank, -(now_s - jobs[at].submit_time_s) / max(jobs[at].mean_s, FLOOR_S)),
    )
    found = [now_s] * len(jobs)
    turns = _Turns(snapshot, bounds)
    for at in ordered:
        found[at] = turns.start_s(jobs[at])
    return found


class _Turns:
    """One pass: who is asked about sooner stands before those who are asked about later."""

    def __init__(self, snapshot: Snapshot, bounds: Bounds) -> None:
        now_s, room, running = snapshot.now_s, snapshot.room(), snapshot.running()
        self._bounds = bounds
        self._holds = snapshot.holds
        self._packing = room.packing
        self._idle = _idle(room)
        self._fits_idle: dict[Ask, bool] = {}
        few = running if isinstance(room, Pool) else fewer_ends(running)
        self._profile = profile_of(room, few, now_s, snapshot.holds)
        self._all_ended_s = max(self._profile.steps_between(now_s, math.inf), default=now_s)
        self._left = bounds.jobs
        self._told: dict[tuple[Ask, float, float, str], float] = {}
        """By whatever the answer depends on: who would never start, which stays so when more is taken; and all who are
        asked about when nothing is taken any more."""

    def start_s(self, job: PendingJob) -> float:
        """Infinity: never."""
        ask, steps = self._packing.ask(job.shape), self._profile.step_count
        if not self._would_fit(ask):
            return math.inf
        takes_room = self._left > 0 and steps <= self._bounds.steps
        expected_s = job.expected_s if takes_room else _rounded_down(job.expected_s)
        kind = (ask, expected_s, job.walltime_s, job.reservation) if self._holds else (ask, expected_s, 0.0, "")
        told_s = self._told.get(kind)
        if told_s is not None:
            return told_s
        if not takes_room and steps > self._bounds.asked_steps:
            return self._all_ended_s
        permit = Permit(self._holds, job.reservation, job.walltime_s) if self._holds else None
        earliest = self._profile.earliest(ask, expected_s, permit)
        start_s, numbers = earliest or (math.inf, ())
        if takes_room and earliest is not None:
            self._profile.take(start_s, expected_s, ask, numbers)
            self._left -= 1
        else:
            self._told[kind] = start_s
        return start_s

    def _would_fit(self, ask: Ask) -> bool:
        """Whether the nodes would hold it if nothing ran on them."""
        found = self._fits_idle.get(ask)
        if found is None:
            found = self._fits_idle[ask] = self._idle.has_room(ask)
        return found


def _idle(room: Room) -> Room:
    """The same nodes with nothing running on them: their rows are few, so a question costs next to nothing."""
    packing = room.packing
    numbers = range(len(packing.class_of))
    return Room.of_rows(packing, [packing.idle_row(at) if room.row_of(at) >= 0 else -1 for at in numbers])


def _rounded_down(expected_s: float) -> float:
    """To a power of two, so that there are few different ones; who runs shorter starts as soon or sooner."""
    return math.ldexp(0.5, math.frexp(expected_s)[1]) if 0.0 < expected_s < math.inf else expected_s


def fewer_ends(running: Iterable[RunningJob]) -> Iterable[RunningJob]:
    """The same jobs, of which as many end together as it takes for few ends: with the last of those that do, so nobody
    starts earlier than he can. They are in the order of their ends."""
    rows = tuple(row for row in running if row.expected_end_s < math.inf)
    size = -(-len(rows) // ENDS_MAX)
    if size < 2:
        return rows
    last_s = (rows[min(at // size * size + size, len(rows)) - 1].expected_end_s for at in range(len(rows)))
    return [attrs.evolve(row, expected_end_s=end_s) for row, end_s in zip(rows, last_s, strict=True)]
