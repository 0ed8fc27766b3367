"""Money of rented nodes: in the metrics of the pool, and in the receipt of the job."""

from __future__ import annotations

import attrs

from hal_core.kernel.pool_meter import PoolMeter
from hal_core.models.cloud_pool import SpendLimit
from hal_core.models.event import ClusterDefined, JobEnded, JobPlaced, JobSubmitted, PartStarted
from hal_core.rules.pool_status import pool_status
from hal_core.rules.receipt import MILLIONTHS, ReceiptFold, prices_of
from tests.support.pool_world import PoolWorld, pool_cluster


def test_a_job_pays_its_part_of_the_node_that_was_rented():
    """One of four CPUs for half an hour, of a node that costs 1 an hour."""
    world = PoolWorld()
    job = world.submit(walltime_s=3600.0)
    world.serve()
    world.now_s += 1800.0
    world.end(world.activity(job).key)
    (defined,) = world.of(ClusterDefined)
    (submitted,) = world.of(JobSubmitted)
    fold = ReceiptFold(submitted, prices_of(defined))
    for event in world.events:
        if isinstance(event, JobPlaced | PartStarted | JobEnded):
            fold.apply(event)
    assert fold.totals.money / MILLIONTHS == 0.125


def test_instances_and_money_are_metrics():
    world = PoolWorld(pool_cluster(budget=SpendLimit(5.0, 3600.0)))
    meter = PoolMeter(lambda: world.state, lambda: world.now_s)
    world.submit(walltime_s=3600.0)
    world.serve()
    world.now_s += 360.0
    lines = meter.render().decode().splitlines()
    assert 'hal_pool_instances{pool="burst",state="ready"} 1' in lines
    assert 'hal_pool_instances{pool="burst",state="booting"} 0' in lines
    assert 'hal_pool_spent{pool="burst"} 0.1' in lines
    assert 'hal_pool_budget{pool="burst"} 5' in lines
    assert any(line.startswith('hal_pool_committed{pool="burst"} ') for line in lines)


def test_a_forecast_goes_on_as_before_and_not_beyond_the_budget():
    world = PoolWorld(pool_cluster(budget=SpendLimit(50.0, 36_000.0)))
    world.now_s = 36_000.0
    world.submit(walltime_s=3600.0)
    world.serve()
    kept = world.state.pools.pools["burst"]
    assert pool_status(world.state, kept, world.now_s).forecast is None
    early, late = (pool_status(world.state, kept, 36_000.0 + each) for each in (7200.0, 9000.0))
    assert (early.per_hour, early.spent) == (1.0, 2.0)
    assert early.forecast == 10.0
    assert late.forecast == 10.0
    kept.pool = attrs.evolve(kept.pool, budget=SpendLimit(5.0, 36_000.0))
    assert pool_status(world.state, kept, 36_000.0 + 7200.0).forecast == 5.0


def test_a_cluster_without_pools_has_no_such_metrics():
    world = PoolWorld(pool_cluster())
    world.state.pools.pools.clear()
    assert PoolMeter(lambda: world.state, lambda: world.now_s).render() == b""
