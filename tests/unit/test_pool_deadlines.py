"""Deadlines and the value of time in the core: what a user says of a job, as the pool's rule sees it."""

from __future__ import annotations

import attrs
import pytest

from hal_core.models.cloud_pool import Market
from hal_core.models.job import JobState
from hal_core.models.message import InstancesEnded, NodeSilent
from hal_core.models.node import Cluster, NodeName
from hal_core.models.pool_event import InstancesRequested
from hal_core.rules.explain import explain
from tests.support.pool_world import BURST, SMALL, PoolWorld, pool_cluster

HOUR_S = 3600.0
LONG_S = 20 * HOUR_S


def busy(**terms: float) -> PoolWorld:
    """One node of the site's own, and a job on all of it for long."""
    world = PoolWorld(with_spot(pool_cluster(own=1, **terms)))
    world.join("n0")
    world.submit(walltime_s=LONG_S, cpus_per_task=4)
    world.settle()
    return world


def with_spot(cluster: Cluster) -> Cluster:
    """Its last rented node is cheaper, and taken back at times."""
    (pool,) = cluster.pools
    (offer,) = pool.offers
    spot = attrs.evolve(offer, name="spot", market=Market.SPOT, price_per_hour=0.3, nodes=offer.nodes[-1:], count_max=1)
    lasting = attrs.evolve(offer, nodes=offer.nodes[:-1], count_max=len(offer.nodes) - 1)
    return attrs.evolve(cluster, pools=(attrs.evolve(pool, offers=(lasting, spot)),))


def rented(world: PoolWorld) -> list[str]:
    return [event.offer for event in world.of(InstancesRequested)]


def sum_of(world: PoolWorld, job: int) -> str:
    (text,) = explain(world.state, world.job(job), world.now_s).pools
    return text


def test_a_deadline_is_put_off_and_then_kept_by_spot_if_there_is_time_to_begin_again():
    world = busy()
    job = world.submit(walltime_s=HOUR_S, cpus_per_task=4, can_requeue=True, deadline_time_s=world.now_s + 8 * HOUR_S)
    world.decide()
    assert rented(world) == []
    assert "keeps its deadline until later" in sum_of(world, job)

    world.now_s += 5.78 * HOUR_S
    world.serve()
    assert rented(world) == ["spot"]
    assert world.job(job).state is not JobState.PENDING


def test_without_that_time_and_without_leave_to_begin_again_it_is_kept_on_demand():
    world = busy()
    near, once = ((HOUR_S * 1.5, True), (HOUR_S * 3.0, False))
    for slack_s, can_requeue in (near, once):
        world.submit(walltime_s=HOUR_S, cpus_per_task=4, can_requeue=can_requeue, deadline_time_s=world.now_s + slack_s)
    for step_s in (0.39 * HOUR_S, 1.5 * HOUR_S):
        world.now_s += step_s
        world.decide()
    assert rented(world) == [SMALL, SMALL]


def test_a_deadline_that_the_sites_own_nodes_keep_costs_nothing():
    world = busy()
    job = world.submit(walltime_s=HOUR_S, cpus_per_task=4, deadline_time_s=world.now_s + LONG_S + 2 * HOUR_S)
    world.decide()
    assert rented(world) == []
    assert "the site's own nodes keep its deadline" in sum_of(world, job)


def test_who_must_not_begin_again_is_not_put_where_nodes_are_taken_back_and_is_told():
    world = PoolWorld(with_spot(pool_cluster(rented=1)))
    job = world.submit(walltime_s=HOUR_S)
    world.serve()
    assert rented(world) == []
    assert "with --requeue it may" in sum_of(world, job)


def test_a_user_may_say_that_an_hour_is_worth_less_than_the_pool_does_and_not_more():
    for said, count in ((None, 1), (0.0, 0), (1e6, 1)):
        world = busy(value_per_hour=1000.0)
        world.submit(walltime_s=HOUR_S, cpus_per_task=4, value_per_hour=said)
        world.decide()
        assert len(rented(world)) == count, said
    world = busy(value_per_hour=0.001)
    world.submit(walltime_s=HOUR_S, cpus_per_task=4, value_per_hour=1e6)
    world.decide()
    assert rented(world) == []


def test_interruptions_that_were_seen_correct_what_was_said_of_them():
    """None an hour, as the configuration has it; one in twenty-five hours, as it was."""
    world = PoolWorld(with_spot(pool_cluster()))
    (pool,) = world.state.cluster.pools
    spot = pool.offer("spot")
    assert spot is not None
    assert world.ledger.interruptions_per_hour(spot, world.now_s) == 0.0
    world.submit(walltime_s=HOUR_S, can_requeue=True)
    world.serve()
    (instance,) = [each for each in world.instances if each.offer == "spot"]
    world.now_s = instance.ready_s + HOUR_S
    world.nodes[NodeName(instance.node)].is_in_contact = False
    world.tell(NodeSilent(NodeName(instance.node)))
    world.tell(InstancesEnded(BURST, (instance.name,), was_asked=False))

    assert world.ledger.interruptions_per_hour(spot, world.now_s) == 1 / 25
    (seen,) = [each for each in world.ledger.as_seen(pool, world.now_s).offers if each.name == "spot"]
    assert seen.interruptions_per_hour == 1 / 25


@pytest.mark.parametrize(("per_hour", "is_rented"), [(0.02, True), (0.2, False)])
def test_spot_that_is_taken_back_before_a_job_can_end_is_not_rented_again_and_again(per_hour: float, is_rented: bool):
    """Two nodes for ten hours, which the site will never have, so that any price were worth it: of the latter, four
    interruptions are to be expected before it ends."""
    cluster = pool_cluster()
    (pool,) = cluster.pools
    (offer,) = pool.offers
    spot = attrs.evolve(offer, market=Market.SPOT, interruptions_per_hour=per_hour)
    world = PoolWorld(attrs.evolve(cluster, pools=(attrs.evolve(pool, offers=(spot,)),)))
    job = world.submit(walltime_s=10 * HOUR_S, node_count=2, task_count=2, cpus_per_task=4, can_requeue=True)
    world.decide()
    assert bool(rented(world)) is is_rented
    assert ("taken back too often" in sum_of(world, job)) is not is_rented
