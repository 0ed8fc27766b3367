"""Nearer nodes later, or farther ones now: whichever is expected to end the job sooner."""

from __future__ import annotations

import attrs
import pytest

from hal_core.models.job import JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob
from hal_core.models.topology import Level, Link, Topology
from hal_core.rules.patience import is_later_better, slow_down
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy

ALL = PartitionName("all")
TOPOLOGY = Topology((Level("region", Link(20e-6, 5e9)), Level("rack", Link(2e-6, 10e9))), Link(30e-3, 1e9))
PLACES = [("eu", "a"), ("eu", "a"), ("eu", "b"), ("eu", "b"), ("us", "c"), ("us", "c")]
ENGINES = [Easy, Conservative]


def snapshot_of(job: Shape, expected_s: float, busy: dict[int, float]) -> FakeSnapshot:
    """One job waits; the nodes in `busy` are taken until then."""
    nodes = [Node(NodeName(f"n{number}"), 4, 0, location=where) for number, where in enumerate(PLACES)]
    partition = Partition(ALL, tuple(node.name for node in nodes), is_default=True)
    columns, whole = FakeColumns.of_idle(nodes), Shape(ALL, 1, 4, 0)
    running = []
    for number, end_s in busy.items():
        columns.take(number, whole)
        running.append(RunningJob(JobId(number + 1), 0, whole, (number,), end_s))
    pending = PendingJob(JobId(100), 1, job, expected_s, 0, 0.0)
    return FakeSnapshot(0.0, 1, columns, {ALL: partition}, (pending,), tuple(running), topology=TOPOLOGY)


def gang(**fields) -> Shape:
    return Shape(ALL, 2, 4, 0, **{"communication": 0.4, **fields})


def test_the_slow_down_is_the_growth_of_an_exchange_in_the_share_that_communicates():
    packing = snapshot_of(gang(), 1.0, {}).room().packing
    ask = packing.ask(gang())
    near_s, far_s = TOPOLOGY.levels[1].link.exchange_s, TOPOLOGY.levels[0].link.exchange_s
    assert slow_down(ask, mask_of((0, 1))) == 1.0
    assert slow_down(ask, mask_of((1, 2))) == pytest.approx(1 + 0.4 * (far_s / near_s - 1))
    assert slow_down(packing.ask(gang(communication=0.0)), mask_of((1, 4))) == 1.0
    assert slow_down(packing.ask(Shape(ALL, 1, 4, 0, communication=0.4)), mask_of((3,))) == 1.0


def test_a_domain_that_is_named_is_what_the_job_exchanges_data_with():
    home = snapshot_of(gang(), 1.0, {}).room().packing.ask(gang(level="region", domain="eu"))
    assert slow_down(home, mask_of((0, 1))) == 1.0
    across = TOPOLOGY.across.exchange_s / TOPOLOGY.levels[1].link.exchange_s
    assert slow_down(home, mask_of((4, 5))) == pytest.approx(1 + 0.4 * (across - 1))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("end_s", "does_wait"), [(10.0, True), (5000.0, False)])
def test_a_rack_is_waited_for_while_that_is_worth_it(engine, end_s, does_wait):
    shape = gang(level="rack")
    snapshot = snapshot_of(shape, 1000.0, {0: end_s, 2: 9000.0, 4: 9000.0, 5: 9000.0})
    plan = engine().plan(snapshot)
    ask = snapshot.room().packing.ask(shape)
    now, then = mask_of((1, 3)), mask_of((0, 1))
    assert is_later_better(ask, 1000.0, end_s, then, now) == does_wait
    assert bool(plan.starts) != does_wait
    if does_wait:
        (promise,) = plan.reserves
        assert (promise.start_time_s, promise.node_numbers) == (end_s, (0, 1))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("level", ["", "region"])
def test_a_gang_stays_in_one_region_until_waiting_takes_longer(engine, level):
    busy = {1: 100.0, 2: 1e9, 3: 1e9, 4: 1e9}
    assert not engine().plan(snapshot_of(gang(level=level), 1000.0, busy)).starts, "eu is whole again in 100 s"
    busy[1] = 1e9
    (start,) = engine().plan(snapshot_of(gang(level=level), 1000.0, busy)).starts
    assert start.node_numbers == (0, 5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_preferred_region_is_left_only_when_the_predicted_finish_says_so(engine):
    shape = attrs.evolve(gang(level="region", domain="us"), communication=0.1)
    assert not engine().plan(snapshot_of(shape, 100.0, {4: 500.0})).starts
    (start,) = engine().plan(snapshot_of(shape, 100.0, {4: 50_000.0})).starts
    assert set(start.node_numbers) <= {0, 1, 2, 3}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_required_level_is_waited_for_however_long(engine):
    shape = gang(level="rack", is_level_required=True)
    plan = engine().plan(snapshot_of(shape, 1.0, {0: 1e8, 2: 2e8, 4: 3e8}))
    assert not plan.starts
    (promise,) = plan.reserves
    assert (promise.start_time_s, promise.node_numbers) == (1e8, (0, 1))
