"""EASY backfill.

The first blocked job gets a promise: the earliest time at which enough running jobs will have ended. A later job may
start now if it ends before that time, or if it only takes what the promise leaves over.
Guarantee: the promised job never starts later because of a backfilled one, if no job exceeds its limit.
Partitions that share nodes, directly or through others, have one promise together; separate ones have one each.
Jobs without a limit end at infinity: they are backfilled only into what the promise leaves over.
Mu'alem and Feitelson, IEEE TPDS 12(6), 2001; Lifka, JSSPP 1995.
"""

from __future__ import annotations

import itertools
import math

from hal_core import (
    JobId,
    PartitionName,
    PendingJob,
    Plan,
    Promise,
    Reserve,
    Room,
    RunningJob,
    Shape,
    Snapshot,
    Start,
    earliest_start,
    tightest,
)
from hal_engine_backfill.fifo import start_elements


class Easy:
    """Start in order; promise the first blocked job its time; fill the holes with later jobs that do not disturb it."""

    def __init__(self, depth_max: int = 1000, scan_max: int = 20_000) -> None:
        self._depth_max = depth_max
        self._scan_max = scan_max

    def plan(self, snapshot: Snapshot) -> Plan:
        one_pass = _Pass(snapshot)
        for job in itertools.islice(snapshot.pending(), self._scan_max):
            if one_pass.depth >= self._depth_max or one_pass.is_full():
                break
            one_pass.consider(job)
        reserves = tuple(
            Reserve(job_id, promise.time_s, promise.node_numbers)
            for job_id, promise in one_pass.promised
            if promise.time_s < math.inf
        )
        return Plan(tuple(one_pass.starts), reserves, one_pass.depth)


class _Pass:
    """One pass over the queue: what is still free, what was promised, which requests were found not to fit."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._room = Room(snapshot.columns)
        self._group_of = _groups(snapshot)
        self._numbers_of = {
            group: sorted(
                {n for name, its in self._group_of.items() if its == group for n in snapshot.partition_nodes(name)}
            )
            for group in set(self._group_of.values())
        }
        self._promise_of: dict[PartitionName, Promise] = {}
        """By group: what its first blocked job was promised. A job that can never start holds nobody up."""
        self._started: list[RunningJob] = []
        self._unfit: set[Shape] = set()
        self._unfit_beside: set[Shape] = set()
        self._full: set[PartitionName] = set()
        self.promised: list[tuple[JobId, Promise]] = []
        self.starts: list[Start] = []
        self.depth = 0

    def is_full(self) -> bool:
        """Every group has its blocked job and no free CPU is left: nothing more can come of this pass."""
        return len(self._full) == len(self._numbers_of)

    def consider(self, job: PendingJob) -> None:
        group = self._group_of.get(job.shape.partition)
        if group is None or group in self._full or job.shape in self._unfit:
            return
        self.depth += 1
        if group not in self._promise_of:
            self._in_order(job, group)
        else:
            self._backfill(job, self._promise_of[group])
        if group in self._promise_of and not self._room.has_any(self._numbers_of[group]):
            self._full.add(group)

    def _in_order(self, job: PendingJob, group: PartitionName) -> None:
        started = start_elements(self._snapshot, self._room, job)
        self._note(job, started)
        if sum(start.element_count for start in started) == job.element_count:
            return
        self._unfit.add(job.shape)
        running = itertools.chain(self._snapshot.running(), self._started)
        numbers = self._snapshot.partition_nodes(job.shape.partition)
        promise = earliest_start(self._room, running, job.shape, numbers, self._snapshot.now_s)
        if promise is not None:
            self._promise_of[group] = promise
            self.promised.append((job.job_id, promise))

    def _backfill(self, job: PendingJob, promise: Promise) -> None:
        end_s = self._snapshot.now_s + job.walltime_s
        ends_before = end_s <= promise.time_s and end_s < math.inf
        if not ends_before and job.shape in self._unfit_beside:
            return
        shape, left = job.shape, job.element_count
        while left:
            numbers = self._snapshot.partition_nodes(shape.partition)
            if not ends_before:
                numbers = [number for number in numbers if promise.spare.count(number, shape)]
            chosen = tightest(self._room, shape, numbers)
            if chosen is None:
                (self._unfit if ends_before else self._unfit_beside).add(shape)
                return
            count = 1
            if len(chosen) == 1:
                count = min(left, self._room.count(chosen[0], shape))
                count = count if ends_before else min(count, promise.spare.count(chosen[0], shape))
            for number in chosen:
                self._room.take(number, shape, count)
                if not ends_before:
                    promise.spare.take(number, shape, count)
            self._note(job, [Start(job.job_id, chosen, count)])
            left -= count

    def _note(self, job: PendingJob, started: list[Start]) -> None:
        """What starts in this pass runs from now on, as far as later promises are concerned."""
        self.starts += started
        end_s = self._snapshot.now_s + job.walltime_s
        for start in started:
            running = RunningJob(job.job_id, 0, job.shape, start.node_numbers, end_s)
            self._started += [running] * start.element_count


def _groups(snapshot: Snapshot) -> dict[PartitionName, PartitionName]:
    """Partition -> name of its group: partitions that share nodes, directly or through others, are one group."""
    group_of: dict[PartitionName, PartitionName] = {name: name for name in snapshot.partitions}
    owner: dict[int, PartitionName] = {}
    for name in snapshot.partitions:
        for number in snapshot.partition_nodes(name):
            first = group_of[owner.setdefault(number, name)]
            if first != group_of[name]:
                mine = group_of[name]
                group_of = {key: first if group == mine else group for key, group in group_of.items()}
    return group_of
