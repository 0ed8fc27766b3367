"""When a job that waits will start: half of such jobs by then (p50), nine in ten by then (p90). Pure.

Planning over sampled run times: each sample gives every running and waiting job a run time that its prediction allows,
lets who stands before the job start in order as processors come free, and notes when it is the job's turn. That leaves
out what no plan knows: who will come and overtake it, and what fits into holes. How far off such plans were is learned
from the jobs that did start: a factor for each quantile, moved after each job so that nine in ten are covered in the
long run whatever happens (Gibbs and Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from random import Random

    from hal_core.models.job import JobId, Shape
    from hal_core.models.node import Node
    from hal_core.models.plan import PendingJob, RunningJob, Snapshot

SAMPLE_COUNT: Final = 12
AHEAD_MAX: Final = 300
"""Who stands further back is taken to come after so many."""
SPREAD: Final = 0.8
"""Of the logarithm of what is left of a running job, of which no more is known than when it is expected to end."""
SPREAD_MAX: Final = 2.5
LEAST_S: Final = 60.0
"""Added to each wait: factors cannot make something of nothing."""
WATCHED_MAX: Final = 10_000
STEP: Final = 0.1
"""Of the logarithm of a factor, for one job that was too late."""


@attrs.frozen
class StartTimes:
    """Seconds from now, p50 <= p90."""

    p50_s: float
    p90_s: float


def planned_starts(snapshot: Snapshot, job: PendingJob, random: Random) -> StartTimes | None:
    """By the plan alone. None if it cannot be said: more than there is, or a job without a limit is waited for.

    GPUs are counted instead of CPUs for a job that asks for them.
    """
    columns = snapshot.columns
    numbers = frozenset(snapshot.partition_nodes(job.shape.partition))
    usable = [number for number in numbers if columns.is_available[number]]
    if not all(_has_enough([columns.nodes[number] for number in usable], part) for part in job.shape.parts):
        return None
    running = [each for each in snapshot.running() if not numbers.isdisjoint(each.node_numbers)]
    if job.shape.total_gpus:
        scarce = _Scarce(sum(sum(columns.free_gpus[number].values()) for number in usable), _gpus)
    else:
        scarce = _Scarce(sum(columns.free_cpus[number] for number in usable), _cpus)
    ahead = _ahead(snapshot, job)
    waits_s = sorted(_turn_s(scarce, running, ahead, snapshot.now_s, random) for _ in range(SAMPLE_COUNT))
    if waits_s[-1] == math.inf:
        return None
    return StartTimes(_quantile(waits_s, 0.5), _quantile(waits_s, 0.9))


def _has_enough(nodes: Sequence[Node], shape: Shape) -> bool:
    """Whether so many are large enough, when nothing else is on them."""
    return shape.node_count <= sum(
        node.cpu_count >= shape.cpus and node.memory_bytes >= shape.memory_bytes and len(node.gpus) >= shape.gpus
        for node in nodes
    )


@attrs.frozen
class _Scarce:
    """What is waited for: how much of it is free now, and how much of it a shape takes on each node."""

    free: int
    of: Callable[[Shape], int]

    def taken(self, shape: Shape, node_count: int) -> int:
        """By one element, on so many nodes if all are alike."""
        if not shape.also:
            return self.of(shape) * node_count
        return sum(self.of(part) * part.node_count for part in shape.parts)


def _cpus(shape: Shape) -> int:
    return shape.cpus


def _gpus(shape: Shape) -> int:
    return shape.gpus


def _ahead(snapshot: Snapshot, job: PendingJob) -> list[PendingJob]:
    """Who will stand before the job when it has waited as long as it runs, in that order; and the job."""
    then_s = snapshot.now_s + job.mean_s if job.mean_s < math.inf else snapshot.now_s

    def order(each: PendingJob) -> tuple[int, float]:
        return -each.rank, -(then_s - each.submit_time_s) / max(each.mean_s, LEAST_S)

    own = order(job)
    partition = job.shape.partition
    others = [each for each in snapshot.pending() if each.shape.partition == partition and each.job_id != job.job_id]
    keyed = sorted((order(each), each.job_id, each) for each in others if order(each) <= own)
    elements = chain.from_iterable(repeat(each, each.element_count) for _, _, each in keyed)
    return [*islice(elements, AHEAD_MAX), job]


def _turn_s(
    scarce: _Scarce, running: Sequence[RunningJob], ahead: Sequence[PendingJob], now_s: float, random: Random
) -> float:
    """In one sample: how long until the last of them can start."""
    free = scarce.free
    ends = [(sampled_left_s(each, now_s, random), scarce.taken(each.shape, len(each.node_numbers))) for each in running]
    heapify(ends)
    time_s = 0.0
    for job in ahead:
        taken = scarce.taken(job.shape, job.shape.node_count)
        while free < taken:
            if not ends:
                return math.inf
            time_s, freed = heappop(ends)
            free += freed
        free -= taken
        heappush(ends, (time_s + sampled_run_s(job, random), taken))
    return time_s


def sampled_run_s(job: PendingJob, random: Random) -> float:
    """A lognormal time of this median and mean, within the limit; any share of the limit if nothing else is known."""
    if job.expected_s >= job.walltime_s:
        return job.walltime_s * random.random() if job.walltime_s < math.inf else math.inf
    ratio = job.mean_s / max(job.expected_s, 1.0)
    spread = min(math.sqrt(2.0 * math.log(ratio)), SPREAD_MAX) if ratio > 1.0 else 0.0
    return min(job.expected_s * math.exp(spread * random.gauss(0.0, 1.0)), job.walltime_s)


def sampled_left_s(job: RunningJob, now_s: float, random: Random) -> float:
    """How long it may still run, from now: as little is known of that as of when it is expected to end."""
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


class Watched:
    """Jobs that were asked about, until they start: what teaches how far off plans are."""

    def __init__(self) -> None:
        self._calibration = Calibration()
        self._open: dict[JobId, tuple[float, StartTimes, StartTimes]] = {}
        """When it was asked about, what the plan said, and what was made of that."""
        self.checked_count = 0
        """So many of them have started."""

    def __contains__(self, job_id: JobId) -> bool:
        return job_id in self._open

    def corrected(self, planned: StartTimes) -> StartTimes:
        return self._calibration.corrected(planned)

    def asked(self, job_id: JobId, now_s: float, planned: StartTimes) -> None:
        self._open[job_id] = (now_s, planned, self.corrected(planned))
        if len(self._open) > WATCHED_MAX:
            del self._open[next(iter(self._open))]

    def started(self, job_id: JobId, now_s: float) -> bool | None:
        """Whether it started by its p90; None if it was not asked about."""
        known = self._open.pop(job_id, None)
        if known is None:
            return None
        asked_s, planned, said = known
        wait_s = now_s - asked_s
        self._calibration.started(planned, wait_s)
        self.checked_count += 1
        return wait_s <= said.p90_s

    def forget(self, job_id: JobId) -> None:
        """It will not start."""
        self._open.pop(job_id, None)
