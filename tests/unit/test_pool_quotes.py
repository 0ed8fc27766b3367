"""What a job would cost where, before it is submitted, and what a pool would do: told, and nothing is rented."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from hal_core.models.pool_event import InstancesRequested
from hal_core.models.pool_quote import PoolQuote
from hal_core.rules.excerpt import record_of
from hal_core.rules.pool_quotes import planned, quotes
from tests.support.core_world import ADA, make_spec
from tests.support.pool_world import BURST, SMALL, PoolWorld, pool_cluster

HOUR_S = 3600.0


def priced(own: int = 1, **terms: Any) -> PoolWorld:
    """An hour of an own CPU costs 0.1; of a rented one of four 0.25."""
    cluster = pool_cluster(own=own, **terms)
    (partition,) = cluster.partitions
    world = PoolWorld(attrs.evolve(cluster, partitions=(attrs.evolve(partition, money_per_cpu_hour=0.1),)))
    if own:
        world.join("n0")
    return world


def quoted(world: PoolWorld, **fields: Any) -> tuple[PoolQuote, ...]:
    record = record_of(world.state, ADA, make_spec(**{"cpus_per_task": 4, "walltime_s": HOUR_S, **fields}), world.now_s)
    sequence = world.state.sequence
    found = quotes(world.state, record, world.now_s)
    assert world.state.sequence == sequence
    assert world.of(InstancesRequested) == []
    return found


def test_each_way_to_run_it_has_its_sum_and_the_one_that_would_be_rented_is_marked() -> None:
    world = priced()
    world.submit(walltime_s=10 * HOUR_S, cpus_per_task=4)
    world.settle()
    own, rented = quoted(world)
    assert (own.pool, own.wait_s, own.cost) == ("", 10 * HOUR_S, pytest.approx(0.4))
    assert (rented.pool, rented.offer, rented.market) == (BURST, SMALL, "on-demand")
    assert (rented.wait_s, rented.boot_s, rented.run_s) == (100.0, 100.0, HOUR_S)
    assert rented.cost == pytest.approx(1.0 + 100.0 / HOUR_S), "the boot is paid for"
    assert rented.committed > rented.cost
    assert rented.is_chosen
    assert "9.97" not in rented.says
    assert "sooner: worth" in rented.says


def test_what_is_not_worth_it_says_why() -> None:
    own, rented = quoted(priced())
    assert own.wait_s == 0.0
    assert not rented.is_chosen
    assert rented.says == "more nodes would not start it sooner"


def test_an_array_is_told_with_all_of_its_elements_and_a_job_without_a_limit_with_none() -> None:
    world = priced(own=0, rented=3)
    own, rented = quoted(world, array="0-2")
    assert own.wait_s is None
    assert rented.cost == pytest.approx(3 * (1.0 + 100.0 / HOUR_S))
    own, rented = quoted(world, walltime_s=None)
    assert (own.run_s, own.cost) == (None, None)
    assert (rented.offer, rented.cost) == ("", None)
    assert "no time limit" in rented.says


def test_a_job_that_waits_already_is_quoted_as_one() -> None:
    world = priced(own=0)
    job = world.submit(walltime_s=HOUR_S, cpus_per_task=4)
    _, rented = quotes(world.state, world.job(job), world.now_s)
    assert rented.is_chosen


def test_without_pools_there_is_nothing_to_compare() -> None:
    world = PoolWorld(attrs.evolve(pool_cluster(own=1), pools=()))
    assert quoted(world) == ()


def test_a_plan_says_what_would_be_done_and_does_nothing() -> None:
    world = priced(own=0, count_max=1)
    for _ in range(2):
        world.submit(walltime_s=HOUR_S, cpus_per_task=4)
    kept = world.state.pools.pools[BURST]
    done = [(each.action, each.what) for each in planned(world.state, kept, world.now_s)]
    assert done == [("rent", "1 x small"), ("admit", "job 1"), ("let wait", "job 2")]
    assert world.instances == []
