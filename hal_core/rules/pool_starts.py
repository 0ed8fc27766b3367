"""When waiting jobs would start without any more nodes: what a pool holds against the price of more.

Each job in turn takes the earliest room that is left beside those before it, as conservative backfill does: one pass
over one profile says it of all of them. Asking the engine itself, for each job, with and without more nodes, is better
by what the engine's order differs from this one, and costs a forecast for each (docs/explanation/decisions). Whoever
was admitted to a pool is asked about as if nobody had. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hal_core.models.job import JobId
from hal_core.models.plan import PendingJob, Snapshot
from hal_core.rules.permit import Permit
from hal_core.rules.profile import profile_of

JOBS_MAX = 200
"""So many take room from those behind them; who stands further back is taken to start after the last of them."""
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
    profile = profile_of(room, snapshot.running(), now_s, holds)
    ordered = sorted(
        range(len(jobs)),
        key=lambda at: (-jobs[at].rank, -(now_s - jobs[at].submit_time_s) / max(jobs[at].mean_s, FLOOR_S)),
    )
    found = [now_s] * len(jobs)
    latest_s = now_s
    never: set[int] = set()
    for at in ordered[:JOBS_MAX]:
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
    for at in ordered[JOBS_MAX:]:
        found[at] = math.inf if id(jobs[at].shape) in never else latest_s
    return found
