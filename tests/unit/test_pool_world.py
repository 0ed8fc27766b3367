"""Pools in the core: from a job that waits to an instance that is gone, and what may go wrong between."""

from __future__ import annotations

import attrs
import pytest

from hal_core.errors import NotFound, Refused
from hal_core.models.cloud_pool import SpendLimit
from hal_core.models.event import JobEnded, JobRequeued
from hal_core.models.job import End, EndKind, JobState
from hal_core.models.message import (
    DrainNode,
    InstancesEnded,
    InstancesMade,
    MadeInstance,
    NodeLeaving,
    NodeLost,
    NodeReported,
    NodeSilent,
    ProvisionFailed,
    ResumePool,
    StopPool,
)
from hal_core.models.node import NodeName, NodeStatus
from hal_core.models.pool_decision import InstanceState
from hal_core.models.pool_event import (
    InstanceDrained,
    InstanceGone,
    InstancesRequested,
    InstancesStarted,
    JobAdmitted,
    LeaseExtended,
    OfferClosed,
)
from hal_core.rules.explain import explain
from hal_core.rules.reports import ATTEMPTS_MAX
from tests.support.pool_world import BURST, PoolWorld, pool_cluster

LIMIT_S = 600.0


def test_a_job_is_served_by_an_instance_which_is_then_given_back():
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S)
    world.settle()
    assert world.job(job).state is JobState.PENDING
    world.serve()
    (instance,) = world.instances
    assert (instance.state, instance.node) == (InstanceState.READY, "c0")
    assert [share.node for share in world.activity(job).shares] == ["c0"]

    world.end(world.activity(job).key)
    world.now_s += 30.0
    world.decide()
    assert world.instances[0].state is InstanceState.RELEASING
    world.tell(InstancesEnded(BURST, (instance.name,), was_asked=True))

    assert world.instances == []
    assert world.state.table.status[0] is NodeStatus.UNKNOWN
    assert world.state.pools.admitted == {}
    world.check_at_end()


def test_demand_for_a_thousand_under_a_cap_of_ten_gives_ten():
    world = PoolWorld(pool_cluster(rented=1000, count_max=10))
    world.submit(array="0-999", walltime_s=LIMIT_S, cpus_per_task=4)
    for _ in range(5):
        world.serve()
    assert len(world.instances) == 10
    assert sum(event.count for event in world.of(InstancesRequested)) == 10
    assert len(world.state.allocations) == 10


def test_many_small_elements_share_instances():
    world = PoolWorld()
    world.submit(array="0-11", walltime_s=LIMIT_S)
    world.serve()
    assert len(world.instances) == 3
    assert len(world.state.allocations) == 12


def test_a_budget_is_never_promised_away():
    """Each instance is committed for 300 + 60 of boot, 600 of the job, 300 to spare: 0.35. Three would be more."""
    world = PoolWorld(pool_cluster(budget=SpendLimit(1.0)))
    world.submit(array="0-2", walltime_s=LIMIT_S, cpus_per_task=4)
    world.serve()
    ledger = world.ledger
    assert len(world.instances) == 2
    assert ledger.spent(world.now_s) + ledger.committed(world.now_s) <= 1.0


def test_own_nodes_are_used_by_all_and_rented_ones_by_those_that_were_admitted():
    world = PoolWorld(pool_cluster(own=1))
    world.join("n0")
    first = world.submit(walltime_s=36_000.0, cpus_per_task=4)
    world.settle()
    served = world.submit(walltime_s=LIMIT_S, cpus_per_task=4)
    world.settle()
    world.serve()
    endless = world.submit(cpus_per_task=1)
    small = world.submit(walltime_s=36_000.0, cpus_per_task=1)
    world.end(world.activity(served).key)
    world.settle()
    assert [share.node for share in world.activity(first).shares] == ["n0"]
    assert world.job(endless).state is JobState.PENDING, "a job without a limit would run beyond any lease"
    assert world.job(small).state is JobState.PENDING, "nobody has admitted it"


def test_a_lease_covers_the_limit_of_whatever_starts():
    world = PoolWorld()
    first = world.submit(walltime_s=LIMIT_S)
    world.serve()
    world.now_s += 500.0
    second = world.submit(walltime_s=3 * LIMIT_S)
    world.settle()
    assert world.job(second).state is JobState.PENDING
    world.serve()
    (instance,) = world.instances
    assert world.of(LeaseExtended)
    assert world.activity(second).shares[0].node == world.activity(first).shares[0].node
    assert instance.until_s >= world.now_s + 3 * LIMIT_S


def test_a_node_without_an_instance_is_refused_and_one_whose_request_has_no_answer_waits():
    world = PoolWorld()
    node = world.state.cluster.nodes[0]
    with pytest.raises(Refused, match="c0 belongs to pool burst"):
        world.tell(NodeReported(node, "boot"))
    job = world.submit(walltime_s=LIMIT_S)
    world.decide()
    world.join("c0")
    world.settle()
    assert world.job(job).state is JobState.PENDING, "no instance stands behind it yet"
    world.make()
    world.settle()
    assert world.activity(job).shares[0].node == "c0"
    world.check_at_end()


def test_what_vanishes_is_given_up_and_its_successor_begins_with_nothing():
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S, can_requeue=True)
    world.serve()
    (instance,) = world.instances
    world.tell(InstancesEnded(BURST, (instance.name,), was_asked=False))
    assert world.instances, "its node is in contact: a list that lacks it is not believed"
    world.nodes[NodeName("c0")].is_in_contact = False
    world.tell(NodeSilent(NodeName("c0")))
    world.tell(InstancesEnded(BURST, (instance.name,), was_asked=False))
    assert not world.instances
    assert world.job(job).state is JobState.PENDING
    world.serve()
    activity = world.activity(job)
    assert (activity.attempt, activity.shares[0].node) == (2, "c0")
    assert [event.instance for event in world.of(InstanceGone)] == [instance.name]
    world.check_at_end()


def test_a_slot_that_another_machine_took_does_not_inherit_what_ran_there():
    world = PoolWorld()
    lost = world.submit(walltime_s=LIMIT_S)
    world.serve()
    world.submit(walltime_s=LIMIT_S, cpus_per_task=4)
    world.decide()
    (token,) = world.ledger.requests
    world.tell(InstancesMade(BURST, token, (MadeInstance("i2", "c0"),)))
    assert world.ended(lost).kind is EndKind.NODE_LOST
    assert [(each.name, each.native_id) for each in world.instances] == [(f"{token}-1", "i2")]
    assert world.state.table.status[0] is NodeStatus.UNKNOWN
    world.check_at_end()


def test_a_refusal_closes_the_offer_for_longer_and_longer_and_says_why():
    world = PoolWorld()
    world.submit(walltime_s=LIMIT_S)
    closed_s = []
    for _ in range(3):
        world.decide()
        (token,) = world.ledger.requests
        world.tell(ProvisionFailed(BURST, token, "no capacity", is_certain=True))
        assert not world.instances
        closed_s.append(world.ledger.closed_until_s["small"] - world.now_s)
        world.decide()
        assert not world.ledger.requests, "it is left alone"
        world.now_s += closed_s[-1]
    assert closed_s == [60.0, 120.0, 240.0]
    assert world.ledger.closed_why == {"small": "no capacity"}
    world.check_at_end()


def test_a_failure_that_says_nothing_leaves_the_request_and_closes_the_offer():
    world = PoolWorld()
    world.submit(walltime_s=LIMIT_S)
    world.decide()
    (token,) = world.ledger.requests
    for _ in range(3):
        world.tell(ProvisionFailed(BURST, token, "no answer", is_certain=False))
    assert len(world.of(OfferClosed)) == 1
    assert list(world.ledger.requests) == [token]
    world.make().boot().settle()
    assert len(world.state.allocations) == 1
    world.tell(InstancesMade(BURST, token, (MadeInstance("i9", "c1"),)))
    assert len(world.of(InstancesStarted)) == 1, "an answer that comes twice is one"


def test_the_kill_switch_rents_nothing_and_may_take_all_back():
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S)
    world.serve()
    world.tell(StopPool(BURST, False, "root"))
    waiting = world.submit(walltime_s=LIMIT_S, cpus_per_task=4)
    world.decide()
    assert len(world.instances) == 1
    assert world.job(job).state is JobState.RUNNING
    world.tell(StopPool(BURST, True, "root"))
    assert world.instances[0].state is InstanceState.RELEASING
    world.tell(ResumePool(BURST, "root"))
    world.decide()
    assert world.state.pools.admitted.keys() == {waiting}
    with pytest.raises(NotFound, match=r"no pool named 'brust' .did you mean 'burst'"):
        world.tell(StopPool("brust", False, "root"))
    world.check_at_end()


def test_a_gang_has_all_its_nodes_in_the_pool():
    world = PoolWorld(pool_cluster(own=1))
    world.join("n0")
    gang = world.submit(node_count=2, task_count=2, walltime_s=LIMIT_S)
    world.serve()
    assert [share.node for share in world.activity(gang).shares] == ["c0", "c1"]


def test_a_pool_that_the_configuration_lost_gives_its_instances_back():
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S)
    world.serve()
    world.define(attrs.evolve(world.state.cluster, pools=()))
    world.end(world.activity(job).key)
    world.decide()
    assert [each.state for each in world.instances] == [InstanceState.RELEASING]
    world.check_at_end()


def test_jobs_of_other_accounts_are_not_served():
    world = PoolWorld(pool_cluster(accounts=("physics",)))
    world.submit(walltime_s=LIMIT_S)
    paid = world.submit(walltime_s=LIMIT_S, account="physics")
    world.decide()
    assert [event.job_id for event in world.of(JobAdmitted)] == [paid]


def test_it_is_told_what_a_job_waits_for_and_why_another_one_is_not_served():
    world = PoolWorld(pool_cluster(own=1, value_per_hour=0.0))
    world.join("n0")
    world.submit(walltime_s=3600.0, cpus_per_task=4)
    world.settle()
    declined = world.submit(walltime_s=3600.0, cpus_per_task=4)
    endless = world.submit(cpus_per_task=4)
    world.decide()
    (text,) = explain(world.state, world.job(declined), world.now_s).pools
    assert text == "burst: 1.03 on small to start 1.0 h sooner: worth only 0.00"
    assert explain(world.state, world.job(endless), world.now_s).pools == (
        "burst: it has no time limit, and nobody knows what it would cost",
    )
    gang = world.submit(node_count=2, task_count=2, walltime_s=LIMIT_S)
    world.decide()
    found = explain(world.state, world.job(gang), world.now_s)
    assert found.text == "waits for small of pool burst: 2 boot, expected in 100 s"
    assert found.pools[0].startswith("burst: admitted: 0.39 on small: no nodes of the site would ever do; it waits")


def test_what_its_cloud_takes_back_gets_no_more_work_and_its_successor_is_not_drained():
    world = PoolWorld()
    first = world.submit(walltime_s=LIMIT_S)
    world.serve()
    world.tell(DrainNode(NodeName("c0"), "the cloud takes it back", "cloud"))
    second = world.submit(walltime_s=LIMIT_S)
    world.decide()
    assert [event.instance for event in world.of(InstanceDrained)] == ["burst-1-1"]
    world.make().boot().settle()
    assert world.activity(second).shares[0].node == "c1"
    world.end(world.activity(first).key)
    world.now_s += 30.0
    world.decide()
    world.tell(InstancesEnded(BURST, ("burst-1-1",), was_asked=True))
    third = world.submit(walltime_s=LIMIT_S, cpus_per_task=4)
    world.serve()
    assert world.activity(third).shares[0].node == "c0"
    world.check_at_end()


def test_an_instance_with_less_than_the_configuration_says_closes_its_offer():
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S)
    world.decide().make()
    small = attrs.evolve(world.state.cluster.nodes[0], cpu_count=1)
    world.tell(NodeReported(small, "boot"))
    assert world.instances[0].state is InstanceState.RELEASING
    assert world.ledger.closed_why == {"small": "its agent offers 1 CPU, the configuration says 4"}
    world.tell(InstancesEnded(BURST, ("burst-1-1",), was_asked=True))
    world.now_s += 120.0
    world.serve()
    assert world.activity(job).shares[0].node == "c0", "what was said of the one before it is not said of this one"
    world.check_at_end()


BY_ITSELF = End(EndKind.CANCELLED)
"""As an agent reports a job that it was not told to end."""


@pytest.mark.parametrize(("can_requeue", "kind"), [(True, EndKind.NODE_LOST), (False, EndKind.CANCELLED)])
def test_what_a_machine_ends_with_its_lease_says_why(can_requeue: bool, kind: EndKind) -> None:
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S, can_requeue=can_requeue)
    world.serve()
    (instance,) = world.instances
    world.now_s = instance.until_s - 60.0
    world.end(world.activity(job).key, BY_ITSELF)

    (event,) = world.of(JobRequeued if can_requeue else JobEnded)
    assert (event.end.kind, event.end.detail) == (kind, "c0: it is rented, and its lease was over")


def test_what_a_cloud_takes_back_is_queued_again_by_the_cloud_whoever_tells_it_first() -> None:
    """The machine itself ends its jobs when it sees the notice, before the daemon's order comes; or it just goes."""
    for is_told in (True, False):
        world = PoolWorld()
        job = world.submit(walltime_s=LIMIT_S, can_requeue=True)
        world.serve()
        key = world.activity(job).key
        world.tell(NodeLeaving(NodeName("c0"), "it is taken back", None))
        if is_told:
            world.end(key, BY_ITSELF)
        else:
            world.tell(NodeLost(NodeName("c0"), "it is silent"))
        (requeued,) = world.of(JobRequeued)
        assert requeued.by == "cloud"
        assert not is_told or requeued.end.detail == "c0: it is taken back"


def test_what_is_taken_back_again_and_again_is_queued_again_for_it_is_not_what_nodes_die_of() -> None:
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S, can_requeue=True)
    for _ in range(ATTEMPTS_MAX + 2):
        world.serve()
        (share,) = world.activity(job).shares
        world.tell(NodeLeaving(share.node, "it is taken back", None))
        world.nodes[share.node].is_in_contact = False
        world.tell(NodeSilent(share.node))
        world.tell(InstancesEnded(BURST, (world.instances[0].name,), was_asked=False))
        world.nodes[share.node].is_in_contact = True
    assert world.job(job).state is JobState.PENDING
    assert len(world.of(JobRequeued)) == ATTEMPTS_MAX + 2


def test_what_ends_by_itself_in_time_for_its_lease_is_known_to_have() -> None:
    """The daemon was away: the machine is not there any more when it comes back."""
    world = PoolWorld()
    job = world.submit(walltime_s=LIMIT_S)
    world.serve()
    (instance,) = world.instances
    world.nodes[NodeName("c0")].is_in_contact = False
    world.tell(NodeSilent(NodeName("c0")))
    world.now_s = instance.until_s + 5.0
    world.tell(InstancesEnded(BURST, (instance.name,), was_asked=False))
    assert "its lease was over" in world.job(job).ends[0].end.detail
    assert world.of(InstanceGone)[0].detail == "it is rented, and its lease was over"
