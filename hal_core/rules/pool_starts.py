"""When waiting jobs would start without any more nodes: what a pool holds against the price of more.

Each job in turn takes the earliest room that is left beside those before it, as conservative backfill does: one pass
over one profile says it of all of them. Asking the engine itself, for each job, with and without more nodes, is better
by what the engine's order differs from this one, and costs a forecast for each (docs/explanation/decisions). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice

from hal_core.models.job import JobId
from hal_core.models.plan import PendingJob, Snapshot
from hal_core.rules.profile import profile_of

JOBS_MAX = 200
"""So many take room from those behind them; who stands further back is taken to start after the last of them."""
FLOOR_S = 60.0
"""Shorter run times count as this one in the order."""


def expected_starts(snapshot: Snapshot, jobs: Iterable[PendingJob]) -> dict[JobId, float]:
    """In seconds since the epoch; infinity: never. `jobs` may be all that wait, or fewer."""
    now_s = snapshot.now_s
    room = snapshot.room()
    profile = profile_of(room, snapshot.running(), now_s)
    ordered = sorted(jobs, key=lambda job: (-job.rank, -(now_s - job.submit_time_s) / max(job.mean_s, FLOOR_S)))
    found: dict[JobId, float] = {}
    latest_s = now_s
    for job in islice(ordered, JOBS_MAX):
        ask = room.packing.ask(job.shape)
        earliest = profile.earliest(ask, job.expected_s)
        if earliest is None:
            found[job.job_id] = math.inf
            continue
        start_s, numbers = earliest
        profile.take(start_s, job.expected_s, ask, numbers)
        found[job.job_id] = start_s
        latest_s = max(latest_s, start_s)
    found.update((job.job_id, latest_s) for job in ordered[JOBS_MAX:])
    return found
