"""The quick replay: against naive schedulers written here, against the whole core, and against published waits.

A property of the policies is checked on the plans themselves: what was promised is never moved to a later time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.event import JobPlaced
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.plan import Plan, Snapshot
from hal_core.planes import Engine
from hal_core.rules.core import Core
from hal_core.sim.expectations import CORRECTIONS, Expectations
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.simulation import Simulation
from hal_core.sim.trace import TraceJob
from hal_core.sim.workload import Workload, WorkloadJob
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import LENGTH_POWER, Expansion
from hal_engine_backfill.fcfs import Fcfs
from tests.support.replays import (
    PUBLISHED,
    PUBLISHED_TRACES,
    STARVATION_S,
    Setting,
    published_waits,
    read_trace,
    replay,
    traces,
)
from tests.support.simple_traces import some_jobs

PROCESSORS = 16
SLICE_COUNT = 3000
POLICIES = ("fcfs", "easy", "easy-sjbf", "conservative", "hal", "hal-soon-starved")


# -- against naive schedulers ------------------------------------------------------------------------------------------


class Naive:
    """The policies as the papers put them, second by second of what matters, without any cleverness."""

    def __init__(self, jobs: Sequence[TraceJob], policy: str) -> None:
        self.jobs = jobs
        self.policy = policy
        self.waiting: list[int] = []
        self.promised: dict[int, float] = {}
        self.start_s: dict[int, float] = {}

    def run(self) -> list[float]:
        arrived = 0
        now_s = -1.0
        while arrived < len(self.jobs) or self.waiting:
            times = [job.submit_s for job in self.jobs[arrived : arrived + 1]]
            times += [time_s for job_id in self.start_s if (time_s := self._end_s(job_id)) > now_s]
            times += [time_s for time_s in self.promised.values() if time_s > now_s]
            before_s, now_s = now_s, min(times)
            did_end = any(before_s < self._end_s(job_id) <= now_s for job_id in self.start_s)
            new = [at for at in range(arrived, len(self.jobs)) if self.jobs[at].submit_s <= now_s]
            arrived += len(new)
            if self.policy == "conservative":
                self._conservative(now_s, new, did_end)
            else:
                self.waiting += new
                self._backfill(now_s)
        return [self.start_s[at] for at in range(len(self.jobs))]

    def _end_s(self, at: int) -> float:
        return self.start_s[at] + self.jobs[at].run_s

    def _running(self, now_s: float) -> list[tuple[float, int]]:
        """(expected end, processors) of what runs."""
        return [
            (start + self.jobs[at].limit_s, self.jobs[at].processors)
            for at, start in self.start_s.items()
            if start <= now_s < self._end_s(at)
        ]

    def _start(self, at: int, now_s: float) -> None:
        self.waiting.remove(at)
        self.start_s[at] = now_s

    def _expansion_order(self, at: int, now_s: float, starvation_s: float) -> tuple[bool, float]:
        """Who has waited too long comes first, in the order of submission; of the others, the larger factor."""
        job = self.jobs[at]
        waited_s = now_s - job.submit_s
        if waited_s >= starvation_s:
            return False, job.submit_s
        return True, -(waited_s + job.limit_s) / max(job.limit_s, 60.0) ** LENGTH_POWER

    def _backfill(self, now_s: float) -> None:
        if self.policy.startswith("hal"):
            starvation_s = STARVATION_S if self.policy == "hal-soon-starved" else 432_000.0
            self.waiting.sort()
            self.waiting.sort(key=lambda at: self._expansion_order(at, now_s, starvation_s))
        while self.waiting and self.jobs[self.waiting[0]].processors <= self._free(now_s):
            self._start(self.waiting[0], now_s)
        if not self.waiting or self.policy == "fcfs":
            return
        head = self.jobs[self.waiting[0]]
        ends = sorted(self._running(now_s))
        shadow_s = next(end for end, _ in ends if self._free_at(end, ends) >= head.processors)
        extra = self._free_at(shadow_s, ends) - head.processors
        behind = self.waiting[1:]
        if self.policy == "easy-sjbf":
            behind.sort(key=lambda at: self.jobs[at].limit_s)
        for at in behind:
            job = self.jobs[at]
            ends_before = now_s + job.limit_s <= shadow_s
            if job.processors <= self._free(now_s) and (ends_before or job.processors <= extra):
                extra -= 0 if ends_before else job.processors
                self._start(at, now_s)

    def _free(self, now_s: float) -> int:
        return PROCESSORS - sum(processors for _, processors in self._running(now_s))

    def _free_at(self, time_s: float, ends: list[tuple[float, int]]) -> int:
        return PROCESSORS - sum(processors for end, processors in ends if end > time_s)

    def _conservative(self, now_s: float, new: list[int], did_end: bool) -> None:
        if did_end:
            for at in self.waiting:
                self.promised[at] = self._earliest_s(at, now_s) if self.promised[at] > now_s else now_s
        for at in new:
            self.waiting.append(at)
            self.promised[at] = self._earliest_s(at, now_s)
        for at in list(self.waiting):
            if self.promised[at] <= now_s:
                del self.promised[at]
                self._start(at, now_s)

    def _earliest_s(self, at: int, now_s: float) -> float:
        job = self.jobs[at]
        taken = [(now_s, end, processors) for end, processors in self._running(now_s)]
        for other, start in self.promised.items():
            if other != at:
                taken.append((start, start + self.jobs[other].limit_s, self.jobs[other].processors))
        for start in sorted({now_s, *(end for _, end, _ in taken)}):
            moments = [start, *(begin for begin, _, _ in taken if start < begin < start + job.limit_s)]
            used = [sum(p for begin, end, p in taken if begin <= moment < end) for moment in moments]
            if max(used) + job.processors <= PROCESSORS:
                return start
        raise AssertionError("a job that never fits")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("step_s", [1, 100])
def test_replay_starts_jobs_as_a_naive_scheduler_does(policy: str, step_s: int) -> None:
    for seed in range(4):
        jobs = some_jobs(seed, 70, step_s)
        expected = Naive(jobs, policy).run()
        assert replay(jobs, Machine.pool(PROCESSORS), Setting(policy)) == expected, f"seed {seed}"


# -- against the whole core --------------------------------------------------------------------------------------------


def cluster_of(node_count: int, cpus: int) -> Cluster:
    nodes = tuple(Node(NodeName(f"n{number}"), cpus, 1 << 40) for number in range(node_count))
    names = tuple(node.name for node in nodes)
    return Cluster("test", nodes, (Partition(PartitionName("all"), names, is_default=True),))


def core_starts(jobs: Sequence[TraceJob], machine: Machine, engine: Engine) -> list[float]:
    """What the daemon's own core makes of the same jobs."""
    simulation = Simulation(Core(engine, "test"), machine.cluster)
    rows = []
    for job in jobs:
        shape = machine.shape_of(job)
        spec = JobSpec(
            name=f"job{job.number}",
            partition=shape.partition,
            command=("true",),
            node_count=shape.node_count,
            task_count=shape.node_count,
            cpus_per_task=shape.cpus,
            walltime_s=job.limit_s,
        )
        rows.append(WorkloadJob(job.submit_s, spec, Owner(job.user, 1, 1), job.run_s))
    simulation.add_workload(Workload(tuple(rows)))
    simulation.run()
    placed = {event.job_id: event.time_s for event in simulation.events if isinstance(event, JobPlaced)}
    return [placed[JobId(at + 1)] for at in range(len(jobs))]


def expansion() -> Expansion:
    return Expansion(60.0, STARVATION_S)


@pytest.mark.parametrize("make", [Fcfs, Easy, lambda: Easy(is_shortest_first=True), Conservative, expansion])
@pytest.mark.parametrize("node_count", [1, 4])
def test_replay_decides_as_the_whole_core_does(make: Callable[[], Engine], node_count: int) -> None:
    machine = Machine(cluster_of(node_count, PROCESSORS // node_count))
    for seed in range(3):
        jobs = some_jobs(seed, 100)
        run = Replay(make(), machine, jobs, NO_FORESIGHT)
        for _ in run.run(EventOrder.TOGETHER):
            pass
        assert run.start_s == core_starts(jobs, machine, make()), f"seed {seed}"


# -- against published waits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", PUBLISHED)
@pytest.mark.parametrize("name", PUBLISHED_TRACES if traces() else ())
def test_waits_equal_those_that_were_published(name: str, column: str) -> None:
    """Of every job that started before the first one was submitted that is not in the slice."""
    trace = read_trace(name)
    jobs, cut_s = trace.jobs[:SLICE_COUNT], trace.jobs[SLICE_COUNT].submit_s
    waits = published_waits(name, column)
    start_s = replay(jobs, Machine.pool(trace.processors), PUBLISHED[column])
    compared = [
        (start - job.submit_s, waits[job.number])
        for job, start in zip(jobs, start_s, strict=True)
        if min(start, job.submit_s + waits[job.number]) < cut_s
    ]
    assert len(compared) > 0.9 * SLICE_COUNT
    assert [pair for pair in compared if pair[0] != pair[1]] == []


# -- guarantees --------------------------------------------------------------------------------------------------------


NO_FORESIGHT = Foresight(Expectations(), CORRECTIONS["request"])


@attrs.define
class Watched:
    """An engine, and what it promised: job -> the times, in the order of the plans."""

    engine: Engine
    promises: dict[JobId, list[float]] = attrs.Factory(dict)

    def plan(self, snapshot: Snapshot) -> Plan:
        plan = self.engine.plan(snapshot)
        for reserve in plan.reserves:
            self.promises.setdefault(reserve.job_id, []).append(reserve.start_time_s)
        for start in plan.starts:
            self.promises.setdefault(start.job_id, []).append(snapshot.now_s)
        return plan


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), node_count=st.sampled_from([1, 2, 4]), slack=st.sampled_from([0.0, 0.5, 2.0]))
def test_a_start_that_may_slip_slips_no_further_than_was_told_first(seed: int, node_count: int, slack: float) -> None:
    """Jobs run to their limits here, so that only backfill could make one later."""
    engine = Watched(Easy(slack=slack))
    jobs = [attrs.evolve(job, run_s=job.limit_s) for job in some_jobs(seed, 60)]
    run = Replay(engine, Machine(cluster_of(node_count, PROCESSORS // node_count)), jobs, NO_FORESIGHT)
    for _ in run.run(EventOrder.TOGETHER):
        pass
    for job_id, times_s in engine.promises.items():
        assert times_s == sorted(times_s, reverse=True), f"job {job_id} was told {times_s}"


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), node_count=st.sampled_from([1, 2, 4]), promise_count=st.sampled_from([1, 3, 1000]))
def test_promises_are_never_moved_to_a_later_time(seed: int, node_count: int, promise_count: int) -> None:
    engine = Watched(Conservative(promise_max=promise_count))
    jobs = some_jobs(seed, 60)
    machine = Machine(cluster_of(node_count, PROCESSORS // node_count))
    run = Replay(engine, machine, jobs, NO_FORESIGHT)
    for _ in run.run(EventOrder.TOGETHER):
        pass
    for job_id, times in engine.promises.items():
        assert all(later <= earlier for earlier, later in pairwise(times)), f"job {job_id}: {times}"


@attrs.frozen
class NeverSettled:
    """An engine whose promises are always looked at again."""

    engine: Engine

    def plan(self, snapshot: Snapshot) -> Plan:
        return attrs.evolve(self.engine.plan(snapshot), is_settled=False)


def test_looking_again_at_settled_promises_finds_nothing() -> None:
    for seed in range(20):
        jobs = some_jobs(seed, 300)
        starts = []
        for engine in (Conservative(), NeverSettled(Conservative())):
            machine = Machine.pool(PROCESSORS)
            run = Replay(engine, machine, jobs, NO_FORESIGHT)
            for _ in run.run(EventOrder.TOGETHER):
                pass
            starts.append(run.start_s)
        assert starts[0] == starts[1], f"seed {seed}"


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), policy=st.sampled_from(POLICIES), order=st.sampled_from(EventOrder))
def test_no_processor_is_given_twice_and_every_job_runs(seed: int, policy: str, order: EventOrder) -> None:
    jobs = some_jobs(seed, 60)
    start_s = replay(jobs, Machine.pool(PROCESSORS), Setting(policy, "last-two", "incremental", order))
    for moment in start_s:
        assert math.isfinite(moment)
        pairs = zip(jobs, start_s, strict=True)
        used = sum(job.processors for job, start in pairs if start <= moment < start + job.run_s)
        assert used <= PROCESSORS
    assert all(start >= job.submit_s for job, start in zip(jobs, start_s, strict=True))
