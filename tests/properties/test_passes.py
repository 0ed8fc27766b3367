"""One pass of each engine over random snapshots: nothing oversubscribed, gangs whole, no promise spoilt by
backfill, and nothing left idle that a waiting job could have used.

Whoever judges here knows nothing of packed room or profiles: it counts columns, node by node and end by end.
"""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import PendingJob, Plan, RunningJob
from hal_core.models.room import Room
from hal_core.rules.profile import NodesProfile
from hal_core.rules.steps import Hold
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_engine_backfill.fcfs import Fcfs
from tests.support.engines import ENGINES

ALL = PartitionName("all")
NOW_S = 1000.0
GIB = 1 << 30
seeds = st.integers(0, 1 << 32)


def a_snapshot(random: Random) -> FakeSnapshot:
    """Few nodes, fairly full, and a queue in which shapes repeat."""
    nodes = [Node(NodeName(f"n{number}"), 4, 8 * GIB) for number in range(random.randint(1, 5))]
    columns = FakeColumns.of_idle(nodes)
    shapes = [a_shape(random, len(nodes)) for _ in range(random.randint(1, 4))]
    running = []
    for number in range(random.randint(0, 8)):
        shape = random.choice(shapes)
        numbers = [at for at in range(len(nodes)) if columns.fits(at, shape)][: shape.node_count]
        if len(numbers) == shape.node_count:
            for at in numbers:
                columns.take(at, shape)
            end_s = NOW_S + 10.0 * random.randint(1, 30)
            running.append(RunningJob(JobId(1000 + number), 0, shape, tuple(numbers), end_s))
    pending = []
    for number in range(random.randint(1, 15)):
        shape = random.choice(shapes)
        count = random.choice([1, 1, 1, 3]) if shape.node_count == 1 else 1
        walltime_s = 10.0 * random.randint(1, 30)
        pending.append(PendingJob(JobId(number), count, shape, walltime_s, 0, NOW_S - 100.0 + number))
    everywhere = Partition(ALL, tuple(node.name for node in nodes), True)
    return FakeSnapshot(NOW_S, 1, columns, {ALL: everywhere}, tuple(pending), tuple(running))


def a_shape(random: Random, node_count: int) -> Shape:
    wide = random.choice([1, 1, min(2, node_count)])
    return Shape(ALL, wide, random.randint(1, 4), random.randint(0, 4) * GIB, is_exclusive=random.random() < 0.1)


class Judge:
    """What was free, and what a plan has taken of it."""

    def __init__(self, snapshot: FakeSnapshot, plan: Plan) -> None:
        self.job_of = {job.job_id: job for job in snapshot.pending_jobs}
        self.columns = FakeColumns.copy_of(snapshot.columns)
        self.left = {job.job_id: job.element_count for job in snapshot.pending_jobs}
        self.running = list(snapshot.running())
        for start in plan.starts:
            job = self.job_of[start.job_id]
            assert len(set(start.node_numbers)) == len(start.node_numbers) == job.shape.node_count, "no whole gang"
            self.left[start.job_id] -= start.element_count
            assert self.left[start.job_id] >= 0, f"more of job {start.job_id} was started than waits"
            for _ in range(start.element_count):
                for number in start.node_numbers:
                    assert self.columns.fits(number, job.shape), f"{start}: node {number} has no room for it"
                    self.columns.take(number, job.shape)
                begun = RunningJob(job.job_id, 0, job.shape, start.node_numbers, NOW_S + job.walltime_s)
                self.running.append(begun)

    def fitting(self, shape: Shape, columns: FakeColumns | None = None) -> list[int]:
        columns = columns or self.columns
        return [number for number in range(len(columns.nodes)) if columns.fits(number, shape)]

    def earliest_s(self, shape: Shape) -> float:
        """When enough of what runs has ended, as limits say."""
        times = sorted({NOW_S, *(job.end_time_s for job in self.running)})
        for time_s in times:
            if len(self.fitting(shape, self.at(time_s))) >= shape.node_count:
                return time_s
        return math.inf

    def at(self, time_s: float) -> FakeColumns:
        """What is free then, if nothing else starts."""
        columns = FakeColumns.of_idle(self.columns.nodes)
        for job in self.running:
            if job.end_time_s > time_s:
                for number in job.node_numbers:
                    columns.take(number, job.shape)
        return columns


@settings(max_examples=150, deadline=None)
@given(seed=seeds, engine=st.sampled_from(sorted(ENGINES)))
def test_nothing_is_given_twice_and_no_gang_or_array_is_torn(seed: int, engine: str) -> None:
    snapshot = a_snapshot(Random(seed))
    Judge(snapshot, ENGINES[engine]().plan(snapshot))


@settings(max_examples=150, deadline=None)
@given(seed=seeds)
def test_fcfs_lets_nobody_pass(seed: int) -> None:
    snapshot = a_snapshot(Random(seed))
    plan = Fcfs().plan(snapshot)
    judge = Judge(snapshot, plan)
    started = {start.job_id for start in plan.starts}
    waiting = [job.job_id for job in snapshot.pending_jobs if judge.left[job.job_id]]
    assert not [job_id for job_id in started if waiting and job_id > waiting[0]]
    assert not waiting or len(judge.fitting(judge.job_of[waiting[0]].shape)) < judge.job_of[waiting[0]].shape.node_count


@settings(max_examples=200, deadline=None)
@given(seed=seeds, engine=st.sampled_from(["easy", "easy-sjbf"]))
def test_backfill_makes_no_promise_later_and_leaves_nothing_idle_that_it_could_use(seed: int, engine: str) -> None:
    snapshot = a_snapshot(Random(seed))
    plan = ENGINES[engine]().plan(snapshot)
    judge = Judge(snapshot, plan)
    waiting = [job for job in snapshot.pending_jobs if judge.left[job.job_id]]
    if not plan.reserves:
        assert not [job for job in waiting if len(judge.fitting(job.shape)) >= job.shape.node_count]
        return
    (promise,) = plan.reserves
    head = judge.job_of[promise.job_id]
    before = [job for job in snapshot.pending_jobs if job.job_id <= head.job_id]
    alone = ENGINES[engine]().plan(attrs.evolve(snapshot, pending_jobs=tuple(before)))
    assert [each.start_time_s for each in alone.reserves] == [promise.start_time_s], "backfill moved the promise"
    assert judge.earliest_s(head.shape) <= promise.start_time_s, "what was started stands in the way of the promise"
    then = judge.at(promise.start_time_s)
    for number in promise.node_numbers:
        assert then.fits(number, head.shape), f"node {number} is promised and will not be free"
        then.take(number, head.shape)
    for job in waiting:
        if job.job_id == head.job_id:
            continue
        fitting = set(judge.fitting(job.shape))
        if NOW_S + job.expected_s > promise.start_time_s:
            fitting &= set(judge.fitting(job.shape, then))
        assert len(fitting) < job.shape.node_count, f"job {job.job_id} could have been started and disturbs nobody"


@settings(max_examples=100, deadline=None)
@given(seed=seeds, engine=st.sampled_from(["conservative", "reserve"]))
def test_all_promises_can_be_kept_together(seed: int, engine: str) -> None:
    snapshot = a_snapshot(Random(seed))
    plan = ENGINES[engine]().plan(snapshot)
    judge = Judge(snapshot, plan)
    for promise in plan.reserves:
        then = judge.at(promise.start_time_s)
        for other in plan.reserves:
            job = judge.job_of[other.job_id]
            if other.start_time_s <= promise.start_time_s < other.start_time_s + job.expected_s:
                for number in other.node_numbers:
                    assert then.fits(number, job.shape), f"{other} cannot be kept beside {promise}"
                    then.take(number, job.shape)


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_what_is_exchanged_in_a_profile_of_nodes_becomes_earlier_or_stays(seed: int) -> None:
    """And whatever happens, the profile holds the same as one in which everything was put at its place anew."""
    random = Random(seed)
    snapshot = a_snapshot(random)
    packing = Packing(snapshot.columns.nodes, {ALL: range(len(snapshot.columns.nodes))})
    room = Room.of(packing, snapshot.columns)
    profile = NodesProfile(room, snapshot.running(), NOW_S)
    held: list[Hold] = []
    for job in snapshot.pending_jobs:
        ask = packing.ask(job.shape)
        found = profile.earliest(ask, job.expected_s)
        if found is not None:
            late_s = found[0] + 10.0 * random.choice([0, 0, 1, 5, 20])
            hold = Hold(late_s, job.expected_s, ask, found[1])
            if profile.take_if_possible([hold]) == [True]:
                held.append(hold)
    for at, hold in enumerate(held):
        others = NodesProfile(room, snapshot.running(), NOW_S)
        assert others.take_if_possible([*held[:at], *held[at + 1 :]]) == [True] * (len(held) - 1)
        best = others.earliest(hold.ask, hold.duration_s)
        assert best is not None
        found = profile.improve(hold)
        if hold.start_s <= NOW_S or best[0] >= hold.start_s:
            assert found is None, "it was moved to no earlier time"
            continue
        assert found is not None, "there was an earlier start"
        assert found[0] == best[0]
        held[at] = Hold(found[0], hold.duration_s, hold.ask, found[1])
    fresh = NodesProfile(room, snapshot.running(), NOW_S)
    assert fresh.take_if_possible(held) == [True] * len(held)


def test_elements_of_an_array_are_counted_as_they_are_started() -> None:
    nodes = [Node(NodeName("n0"), 4, 8 * GIB)]
    partition = Partition(ALL, (NodeName("n0"),), True)
    array = PendingJob(JobId(1), 3, Shape(ALL, 1, 1, 0), 60.0, 0, 0.0)
    snapshot = FakeSnapshot(NOW_S, 1, FakeColumns.of_idle(nodes), {ALL: partition}, (array,))
    for name, engine in ENGINES.items():
        started: Counter[JobId] = Counter()
        for start in engine().plan(snapshot).starts:
            started[start.job_id] += start.element_count
        assert started == {JobId(1): 3}, name


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_job_that_asks_for_all_that_is_free_gets_it(engine: str) -> None:
    nodes = [Node(NodeName("n0"), 4, 8 * GIB)]
    columns = FakeColumns.of_idle(nodes)
    partition = Partition(ALL, (NodeName("n0"),), True)
    whole = PendingJob(JobId(1), 1, Shape(ALL, 1, 4, 8 * GIB), 60.0, 0, 0.0)
    plan = ENGINES[engine]().plan(FakeSnapshot(NOW_S, 1, columns, {ALL: partition}, (whole,)))
    assert [start.job_id for start in plan.starts] == [1]


@pytest.mark.parametrize("engine", ["easy", "conservative", "reserve"])
def test_a_job_too_long_for_the_hole_does_not_speak_for_a_shorter_one_like_it(engine: str) -> None:
    columns = FakeColumns.of_idle([Node(NodeName("n0"), 4, 8 * GIB)])
    runs, blocked, small = (Shape(ALL, 1, cpus, memory * GIB) for cpus, memory in ((2, 2), (3, 6), (1, 4)))
    columns.take(0, runs)
    running = RunningJob(JobId(9), 0, runs, (0,), NOW_S + 100.0)
    walltimes = ((blocked, 100.0), (small, 200.0), (small, 50.0))
    jobs = [PendingJob(JobId(number), 1, shape, limit_s, 0, 0.0) for number, (shape, limit_s) in enumerate(walltimes)]
    partition = Partition(ALL, (NodeName("n0"),), True)
    plan = ENGINES[engine]().plan(FakeSnapshot(NOW_S, 1, columns, {ALL: partition}, tuple(jobs), (running,)))
    assert [start.job_id for start in plan.starts] == [2]
