"""When waiting jobs would start without any more nodes: what a pool holds against the price of more.

Each job in turn takes the earliest room that is left beside those before it, as conservative backfill does: one pass
over one profile says it of all of them. Asking the engine itself, for each job, with and without more nodes, is better
by what the engine's order differs from this one, and costs a forecast for each (docs/explanation/decisions). Whoever
was admitted to a pool is asked about as if nobody had.

A daemon waits for this at every decision, so it takes bounded time: on a thousand nodes that run as many jobs each step
of the profile costs. Ends that lie close together count as one there, and who is not reached in time is taken to start
after the last of those before him. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from hal_core.models.job import JobId
from hal_core.models.plan import PendingJob, RunningJob, Snapshot
from hal_core.models.pool import Pool
from hal_core.rules.permit import Permit
from hal_core.rules.profile import profile_of

JOBS_MAX = 200
"""So many take room from those behind them; who stands further back is taken to start after the last of them."""
ENDS_MAX = 64
"""On many nodes so many moments at which something ends are told apart."""
STEPS_MAX = 25_000
"""So much is looked at in all, as profiles count it (some 1.3 us each): then nobody takes room any more."""
FLOOR_S = 60.0
"""Shorter run times count as this one in the order."""


def expected_starts(snapshot: Snapshot, jobs: Iterable[PendingJob]) -> dict[JobId, float]:
    """In seconds since the epoch; infinity: never. `jobs` may be all that wait, or fewer."""
    rows = tuple(jobs)
    return {job.job_id: start_s for job, start_s in zip(rows, starts_in_turn(snapshot, rows), strict=True)}


def starts_in_turn(snapshot: Snapshot, jobs: Sequence[PendingJob]) -> list[float]:
    """The same for each of `jobs`, among which a job may stand several times: once for each of its elements."""
    now_s = snapshot.now_s
    room, holds = snapshot.room(), snapshot.holds
    running = snapshot.running()
    profile = profile_of(room, running if isinstance(room, Pool) else fewer_ends(running), now_s, holds)
    ordered = sorted(
        range(len(jobs)),
        key=lambda at: (-jobs[at].rank, -(now_s - jobs[at].submit_time_s) / max(jobs[at].mean_s, FLOOR_S)),
    )
    found = [now_s] * len(jobs)
    latest_s = now_s
    never: set[int] = set()
    count = 0
    for at in ordered[:JOBS_MAX]:
        if profile.step_count > STEPS_MAX:
            break
        count += 1
        job = jobs[at]
        ask = room.packing.ask(job.shape)
        permit = Permit(holds, job.reservation, job.walltime_s) if holds else None
        earliest = profile.earliest(ask, job.expected_s, permit)
        if earliest is None:
            found[at] = math.inf
            never.add(id(job.shape))
            continue
        found[at], numbers = earliest
        profile.take(found[at], job.expected_s, ask, numbers)
        latest_s = max(latest_s, found[at])
    for at in ordered[count:]:
        found[at] = math.inf if id(jobs[at].shape) in never else latest_s
    return found


def fewer_ends(running: Iterable[RunningJob]) -> Iterable[RunningJob]:
    """The same jobs, of which as many end together as it takes for few ends: with the last of those that do, so nobody
    starts earlier than he can. They are in the order of their ends."""
    rows = tuple(row for row in running if row.expected_end_s < math.inf)
    size = -(-len(rows) // ENDS_MAX)
    if size < 2:
        return rows
    last_s = (rows[min(at // size * size + size, len(rows)) - 1].expected_end_s for at in range(len(rows)))
    return [attrs.evolve(row, expected_end_s=end_s) for row, end_s in zip(rows, last_s, strict=True)]
