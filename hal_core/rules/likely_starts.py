"""Where jobs that wait are likely to start, so that their inputs can be brought there meanwhile. A guess, no promise.

The first jobs of the queue, in order, each take what comes free soon where their wait and stage-in together are least,
as the engine will choose when that time has come. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from hal_core.models.plan import PendingJob

if TYPE_CHECKING:
    from hal_core.models.plan import RunningJob, Snapshot

JOBS_MAX: Final = 32
ENDS_MAX: Final = 64
"""So many jobs and so many ends are looked at: farther ahead it is no more than fortune-telling."""

Guess = tuple[PendingJob, float, int, float]
"""A job, when it is likely to start, on which node, and its stage-in time there."""


def likely_starts(snapshot: Snapshot, within_s: float) -> Iterator[Guess]:
    """For jobs of one node with inputs that are likely to start within that time."""
    until_s = snapshot.now_s + within_s
    ends = islice(takewhile(lambda job: job.expected_end_s <= until_s, snapshot.running()), ENDS_MAX)
    free = [_Free(job) for job in ends]
    waiting = (job for job in snapshot.pending() if job.inputs and job.shape.node_count == 1)
    for job in islice(waiting, JOBS_MAX) if free else ():
        best: tuple[float, float, _Free] | None = None
        tiers = snapshot.stage_in(job.inputs)
        for each in free if tiers else ():
            if each.cpus >= job.shape.cpus:
                cost_s, stage_s = next((t.cost_s, t.stage_s) for t in tiers if t.nodes >> each.number & 1)
                if best is None or each.time_s + cost_s < best[0]:
                    best = each.time_s + cost_s, stage_s, each
        if best is not None:
            _, stage_s, taken = best
            taken.cpus -= job.shape.cpus
            yield job, max(taken.time_s, snapshot.now_s), taken.number, stage_s


class _Free:
    """What one job gives back."""

    __slots__ = ("cpus", "number", "time_s")

    def __init__(self, job: RunningJob) -> None:
        self.time_s = job.expected_end_s
        self.number = job.node_numbers[0]
        self.cpus = job.shape.cpus
