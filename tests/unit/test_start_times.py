"""Start times by planning over sampled run times: exact where nothing is random, calibrated where much is."""

from __future__ import annotations

import math
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob
from hal_core.rules.start_times import LEAST_S, Calibration, StartTimes, planned_starts
from hal_core.sim.expectations import CORRECTIONS, Perfect
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.start_watch import StartWatch
from hal_core.testing import FakeColumns, FakeSnapshot, snapshots
from hal_engine_backfill.expansion import Expansion
from tests.support.simple_traces import some_jobs


@given(snapshots(), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_quantiles_are_in_order_and_repeat(snapshot: FakeSnapshot, seed: int) -> None:
    for job in snapshot.pending():
        found = planned_starts(snapshot, job, Random(seed))
        assert found == planned_starts(snapshot, job, Random(seed))
        assert found is None or 0.0 <= found.p50_s <= found.p90_s < math.inf


def snapshot_of_a_node(waiting_count: int, cpus: int = 4) -> FakeSnapshot:
    """A node of four CPUs whose job is at its limit now. Those who wait take 50 s each, and are sure to."""
    node, all_ = Node(NodeName("n1"), 4, 0), PartitionName("all")
    columns, shape = FakeColumns.of_idle([node]), Shape(all_, 1, cpus, 0)
    columns.take(0, Shape(all_, 1, 4, 0))
    running = RunningJob(JobId(99), 0, Shape(all_, 1, 4, 0), (0,), 1000.0)
    waiting = tuple(PendingJob(JobId(at), 1, shape, 500.0, 0, 10.0 * at, 50.0) for at in range(waiting_count))
    partition = Partition(all_, (node.name,), is_default=True)
    return FakeSnapshot(1000.0, 1, columns, {all_: partition}, waiting, (running,))


@pytest.mark.parametrize(("cpus", "turn_s"), [(4, 150.0), (2, 50.0), (1, 0.0)])
def test_where_nothing_is_random_it_is_the_plan(cpus: int, turn_s: float) -> None:
    """The fourth of them waits until enough of those before it have ended."""
    snapshot = snapshot_of_a_node(4, cpus)
    assert planned_starts(snapshot, snapshot.pending_jobs[-1], Random(1)) == StartTimes(turn_s, turn_s)


def test_elements_of_an_array_before_it_count_each() -> None:
    snapshot = snapshot_of_a_node(2)
    array = attrs.evolve(snapshot.pending_jobs[0], element_count=3)
    snapshot = attrs.evolve(snapshot, pending_jobs=(array, snapshot.pending_jobs[1]))
    assert planned_starts(snapshot, snapshot.pending_jobs[1], Random(1)) == StartTimes(150.0, 150.0)


def test_who_asks_for_gpus_waits_for_gpus() -> None:
    """The CPUs are free; the only GPU is not."""
    node, all_ = Node(NodeName("n1"), 4, 0, ("a100",)), PartitionName("all")
    columns, shape = FakeColumns.of_idle([node]), Shape(all_, 1, 1, 0, gpus=1)
    columns.take(0, shape)
    waiting = (PendingJob(JobId(1), 1, shape, 500.0, 0, 0.0, 50.0), PendingJob(JobId(2), 1, shape, 500.0, 0, 1.0, 50.0))
    partition = Partition(all_, (node.name,), is_default=True)
    running = (RunningJob(JobId(99), 0, shape, (0,), 1030.0),)
    snapshot = FakeSnapshot(1000.0, 1, columns, {all_: partition}, waiting, running)
    found = planned_starts(snapshot, waiting[1], Random(1))
    assert found is not None
    assert 50.0 <= found.p50_s <= 80.0, "what is left of the first, and the one before it"
    plain = attrs.evolve(waiting[1], shape=Shape(all_, 1, 1, 0))
    assert planned_starts(attrs.evolve(snapshot, pending_jobs=(waiting[0], plain)), plain, Random(1)) == StartTimes(
        0, 0
    )


def test_who_cannot_start_or_waits_for_what_has_no_end_is_told_nothing() -> None:
    too_wide = snapshot_of_a_node(1, 8)
    assert planned_starts(too_wide, too_wide.pending_jobs[0], Random(1)) is None
    endless = snapshot_of_a_node(1)
    for_ever = attrs.evolve(endless.running_jobs[0], end_time_s=math.inf, expected_end_s=math.inf)
    endless = attrs.evolve(endless, running_jobs=(for_ever,))
    assert planned_starts(endless, endless.pending_jobs[0], Random(1)) is None


waits_s = st.floats(0.0, 1e6)


@given(st.lists(st.tuples(waits_s, waits_s, waits_s), max_size=50))
def test_corrected_quantiles_stay_in_order(past: list[tuple[float, float, float]]) -> None:
    calibration = Calibration()
    for first, second, wait_s in past:
        planned = StartTimes(*sorted((first, second)))
        found = calibration.corrected(planned)
        assert 0.0 < found.p50_s <= found.p90_s
        calibration.started(planned, wait_s)


@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_however_wrong_plans_are_nine_in_ten_are_covered(factor: float) -> None:
    dice, calibration = Random(3), Calibration()
    covered = [0, 0]
    for number in range(4000):
        planned = StartTimes(1000.0, 1000.0)
        said = calibration.corrected(planned)
        wait_s = factor * (1000.0 + LEAST_S) * math.exp(dice.gauss(0.0, 1.0))
        if number >= 1000:
            covered[0] += wait_s <= said.p50_s
            covered[1] += wait_s <= said.p90_s
        calibration.started(planned, wait_s)
    assert covered[0] / 3000 == pytest.approx(0.5, abs=0.03)
    assert covered[1] / 3000 == pytest.approx(0.9, abs=0.03)


def test_in_a_replay_jobs_that_wait_are_asked_about_and_scored() -> None:
    jobs = some_jobs(1, 800, step_s=60)
    watch = StartWatch(len(jobs))
    foresight = Foresight(Perfect(), CORRECTIONS["request"], watch)
    replay = Replay(Expansion(60.0, 432_000.0), Machine.pool(16), jobs, foresight)
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    assert watch.p90_coverage is not None
    assert 0.75 <= watch.p90_coverage <= 1.0


def test_nobody_who_starts_at_once_counts() -> None:
    jobs = [attrs.evolve(job, processors=1) for job in some_jobs(1, 20, step_s=1)]
    watch = StartWatch(len(jobs))
    foresight = Foresight(Perfect(), CORRECTIONS["request"], watch)
    replay = Replay(Expansion(60.0, 432_000.0), Machine.pool(64), jobs, foresight)
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    assert watch.p90_coverage is None
