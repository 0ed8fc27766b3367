"""Pools of allocations of another cluster: nobody can move their ends, and there are as many as there is work left."""

from __future__ import annotations

import math

import attrs
from hypothesis import given, settings, strategies as st

from hal_core.models.job import JobId, JobState
from hal_core.models.message import PredictionsMade
from hal_core.models.node import Cluster
from hal_core.models.pool_decision import InstanceState
from hal_core.models.pool_event import InstancesRequested, LeaseExtended
from hal_core.models.prediction import Prediction
from hal_core.rules.pool_choice import LEASE_SPARE_S
from tests.support.pool_world import PoolWorld, pool_cluster

LIFE_S = 3600.0
BOOT_S = 100.0
CPUS = 4


def pilots(rented: int = 3, life_s: float = LIFE_S, **terms: object) -> Cluster:
    """They cost nothing, and a job is worth nothing: what bounds them is their number."""
    cluster = pool_cluster(rented=rented, value_per_hour=0.0, **terms)
    (pool,) = cluster.pools
    offers = tuple(attrs.evolve(offer, price_per_hour=0.0, life_s=life_s) for offer in pool.offers)
    return attrs.evolve(cluster, pools=(attrs.evolve(pool, offers=offers),))


def predict(world: PoolWorld, job: JobId, seconds: float) -> None:
    world.tell(PredictionsMade("test", ((job, Prediction(seconds, seconds, seconds)),)))


def test_a_job_that_outlasts_every_allocation_is_not_served():
    world = PoolWorld(pilots())
    job = world.submit(walltime_s=LIFE_S - LEASE_SPARE_S + 1.0)
    fitting = world.submit(walltime_s=LIFE_S - LEASE_SPARE_S)
    world.serve()
    assert world.job(job).state is JobState.PENDING
    assert world.job(fitting).state is JobState.RUNNING


def test_the_lease_of_an_allocation_ends_with_it_and_what_is_too_long_for_the_rest_gets_another_one():
    world = PoolWorld(pilots(idle_s=1e6))
    first = world.submit(walltime_s=3000.0)
    world.serve()
    (instance,) = world.instances
    world.end(world.activity(first).key)
    world.now_s += 1000.0
    short, long = world.submit(walltime_s=2000.0), world.submit(walltime_s=3000.0)
    world.serve()
    assert [share.node for share in world.activity(short).shares] == ["c0"]
    assert [share.node for share in world.activity(long).shares] == ["c1"]
    assert all(each.until_s <= each.until_s_max for each in world.instances)
    world.now_s = instance.ready_s + LIFE_S - LEASE_SPARE_S / 2
    world.decide()
    assert world.instances[0].state is InstanceState.RELEASING, "before Slurm ends it"
    world.check_at_end()


def test_an_allocation_of_the_minimum_is_followed_by_another_one():
    world = PoolWorld(pilots(count_min=1))
    world.decide().make().boot()
    (first,) = world.instances
    for _ in range(100):
        world.now_s += 60.0
        world.decide().make().boot()
    assert first.name not in {each.name for each in world.instances if each.state is InstanceState.READY}
    assert [each.state for each in world.instances if each.state is not InstanceState.RELEASING] == [
        InstanceState.READY
    ]
    assert first.name not in {event.instance for event in world.of(LeaseExtended)}, "it had its hour from the beginning"


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 90), st.sampled_from([1.0, 5.0, 20.0, 50.0, BOOT_S, 400.0]), st.integers(1, 12), st.booleans())
def test_there_are_as_many_as_the_work_that_is_left_keeps_busy_until_one_more_could_help(count, run_s, most, is_array):
    """However many jobs it is cut into."""
    world = PoolWorld(pilots(rented=most))
    jobs = (
        [world.submit(array=f"0-{count - 1}", walltime_s=600.0)]
        if is_array
        else [world.submit(walltime_s=600.0) for _ in range(count)]
    )
    for job in jobs:
        predict(world, job, run_s)
    world.decide()
    work = count / CPUS * min(1.0, run_s / BOOT_S)
    asked = sum(event.count for event in world.of(InstancesRequested))
    assert asked == min(most, math.ceil(work - 1e-6))
    for _ in range(2):
        world.decide().make()
        assert sum(event.count for event in world.of(InstancesRequested)) == asked, (
            "asked again, there is no more to do"
        )


def test_short_jobs_that_run_do_not_call_for_more_while_they_are_worked_off():
    world = PoolWorld(pilots(rented=8))
    job = world.submit(array="0-59", walltime_s=600.0)
    predict(world, job, 5.0)
    world.serve()
    assert len(world.instances) == 1
    while world.job(job).state is not JobState.COMPLETED:
        running = [activity.key for activity in world.state.allocations.values()]
        assert len(running) == min(CPUS, len(running) or CPUS)
        world.now_s += 5.0
        for key in running:
            world.end(key)
        world.decide().settle()
    assert sum(event.count for event in world.of(InstancesRequested)) == 1
    world.check_at_end()
