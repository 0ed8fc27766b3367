"""When a job that waits will start: half of such jobs by then (p50), nine in ten by then (p90). Pure.

Planning over sampled run times: each sample gives every running and waiting job a run time that its prediction allows,
lets who stands before the job start in order as processors come free, and notes when it is the job's turn. That leaves
out what no plan knows: who will come and overtake it, and what fits into holes. How far off such plans were is learned
from the jobs that did start: a factor for each quantile, moved after each job so that nine in ten are covered in the
long run whatever happens (Gibbs and Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from random import Random

    from hal_core.models.plan import PendingJob, RunningJob, Snapshot

SAMPLE_COUNT: Final = 12
AHEAD_MAX: Final = 300
"""Who stands further back is taken to come after so many."""
SPREAD: Final = 0.8
"""Of the logarithm of what is left of a running job, of which no more is known than when it is expected to end."""
SPREAD_MAX: Final = 2.5
LEAST_S: Final = 60.0
"""Added to each wait: factors cannot make something of nothing."""
STEP: Final = 0.1
"""Of the logarithm of a factor, for one job that was too late."""


@attrs.frozen
class StartTimes:
    """Seconds from now, p50 <= p90."""

    p50_s: float
    p90_s: float


def planned_starts(snapshot: Snapshot, job: PendingJob, random: Random) -> StartTimes | None:
    """By the plan alone. None if it cannot be said: more processors than there are, or a job without a limit is waited
    for."""
    ahead = _ahead(snapshot, job)
    numbers = frozenset(snapshot.partition_nodes(job.shape.partition))
    running = [each for each in snapshot.running() if not numbers.isdisjoint(each.node_numbers)]
    columns = snapshot.columns
    free_cpus = sum(columns.free_cpus[number] for number in numbers if columns.is_available[number])
    waits_s = sorted(_turn_s(free_cpus, running, ahead, snapshot.now_s, random) for _ in range(SAMPLE_COUNT))
    if waits_s[-1] == math.inf:
        return None
    return StartTimes(_quantile(waits_s, 0.5), _quantile(waits_s, 0.9))


def _ahead(snapshot: Snapshot, job: PendingJob) -> list[PendingJob]:
    """Who will stand before the job when it has waited as long as it runs, in that order; and the job."""
    then_s = snapshot.now_s + job.mean_s if job.mean_s < math.inf else snapshot.now_s

    def order(each: PendingJob) -> tuple[int, float]:
        return -each.rank, -(then_s - each.submit_time_s) / max(each.mean_s, LEAST_S)

    own = order(job)
    partition = job.shape.partition
    others = [each for each in snapshot.pending() if each.shape.partition == partition and each is not job]
    keyed = sorted((order(each), each.job_id, each) for each in others if order(each) <= own)
    return [*(each for _, _, each in keyed[:AHEAD_MAX]), job]


def _turn_s(
    free_cpus: int, running: Sequence[RunningJob], ahead: Sequence[PendingJob], now_s: float, random: Random
) -> float:
    """In one sample: how long until the last of them can start."""
    ends = [(_left_s(each, now_s, random), each.shape.cpus * len(each.node_numbers)) for each in running]
    heapify(ends)
    time_s = 0.0
    for job in ahead:
        cpus = job.shape.cpus * job.shape.node_count
        while free_cpus < cpus:
            if not ends:
                return math.inf
            time_s, freed_cpus = heappop(ends)
            free_cpus += freed_cpus
        free_cpus -= cpus
        heappush(ends, (time_s + _run_s(job, random), cpus))
    return time_s


def _run_s(job: PendingJob, random: Random) -> float:
    """A lognormal time of this median and mean, within the limit; any share of the limit if nothing else is known."""
    if job.expected_s >= job.walltime_s:
        return job.walltime_s * random.random() if job.walltime_s < math.inf else math.inf
    ratio = job.mean_s / max(job.expected_s, 1.0)
    spread = min(math.sqrt(2.0 * math.log(ratio)), SPREAD_MAX) if ratio > 1.0 else 0.0
    return min(job.expected_s * math.exp(spread * random.gauss(0.0, 1.0)), job.walltime_s)


def _left_s(job: RunningJob, now_s: float, random: Random) -> float:
    expected_s, most_s = job.expected_end_s - now_s, job.end_time_s - now_s
    if expected_s >= most_s:
        return max(most_s, 0.0) * random.random() if most_s < math.inf else math.inf
    return min(max(expected_s, 1.0) * math.exp(SPREAD * random.gauss(0.0, 1.0)), most_s)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class Calibration:
    """What plans have to be multiplied with, learned from how long jobs did wait."""

    def __init__(self) -> None:
        self._logs = [0.0, 0.0]
        """Of the factors of p50 and p90."""

    def corrected(self, planned: StartTimes) -> StartTimes:
        p50_s, p90_s = (
            math.exp(log) * (wait_s + LEAST_S)
            for log, wait_s in zip(self._logs, (planned.p50_s, planned.p90_s), strict=True)
        )
        return StartTimes(min(p50_s, p90_s), p90_s)

    def started(self, planned: StartTimes, wait_s: float) -> None:
        """A job started of which the plan said this; `wait_s` from the moment of that plan."""
        said = self.corrected(planned)
        for at, (tau, said_s) in enumerate(((0.5, said.p50_s), (0.9, said.p90_s))):
            self._logs[at] += STEP * (tau if wait_s > said_s else tau - 1.0)
