"""Jobs that can be requeued, when their nodes are lost: what is queued again, when, and how often."""

from __future__ import annotations

import pytest

from hal_core.models.event import JobRequeued, NodeDrained
from hal_core.models.job import End, EndKind, JobState, Spread
from hal_core.models.message import NodeLost, PartsChanged, PartStatus
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.rules.reports import ATTEMPTS_MAX
from tests.support.core_world import World, make_cluster

N0, N1 = NodeName("n0"), NodeName("n1")
CANCELLED = End(EndKind.CANCELLED)


@pytest.fixture
def world() -> World:
    world = World(make_cluster(2))
    world.join()
    return world


def lose(world: World, node: NodeName) -> None:
    world.nodes[node].is_in_contact = False
    world.nodes[node].parts.clear()
    world.tell(NodeLost(node, "no contact"))


def node_of(world: World, job_id: int) -> NodeName:
    return world.activity(job_id).shares[0].node


def test_a_lost_job_waits_again_as_the_next_attempt(world: World) -> None:
    key = world.start(can_requeue=True)
    node = node_of(world, key.job_id)
    lose(world, node)
    world.settle()
    assert world.activity(key.job_id).key.attempt == 2
    assert node_of(world, key.job_id) != node
    (requeued,) = world.of(JobRequeued)
    assert requeued.end.kind is EndKind.NODE_LOST
    assert requeued.by == "hal"


def test_without_the_wish_it_ends(world: World) -> None:
    key = world.start()
    lose(world, node_of(world, key.job_id))
    assert world.ended(key.job_id).kind is EndKind.NODE_LOST
    assert world.of(JobRequeued) == []


def test_what_the_node_ended_at_the_end_of_its_lease_waits_again(world: World) -> None:
    key = world.start(can_requeue=True)
    part = PartStatus(key, world.now_s, world.now_s, CANCELLED)
    world.tell(PartsChanged(node_of(world, key.job_id), (part,)))
    (requeued,) = world.of(JobRequeued)
    assert requeued.end.kind is EndKind.NODE_LOST


def test_a_cancel_that_was_asked_for_is_one(world: World) -> None:
    key = world.start(can_requeue=True)
    world.cancel(key.job_id)
    world.tell(PartsChanged(node_of(world, key.job_id), (PartStatus(key, world.now_s, world.now_s, CANCELLED),)))
    assert world.ended(key.job_id).kind is EndKind.CANCELLED


def test_a_cancel_in_the_scheduler_that_it_was_forwarded_to_is_one(world: World) -> None:
    key = world.start(can_requeue=True)
    end = End(EndKind.CANCELLED, by="slurm")
    world.tell(PartsChanged(node_of(world, key.job_id), (PartStatus(key, world.now_s, world.now_s, end),)))
    assert world.ended(key.job_id) == end


def test_a_gang_waits_again_only_when_all_of_it_has_ended(world: World) -> None:
    key = world.start(can_requeue=True, node_count=2, task_count=2, spread=Spread.NODE)
    lose(world, N0)
    assert world.activity(key.job_id).key == key, "its other part still runs"
    world.tell(PartsChanged(N1, (PartStatus(key, world.now_s, world.now_s, CANCELLED),)))
    (requeued,) = world.of(JobRequeued)
    assert requeued.key == key
    assert world.job(key.job_id).state is JobState.PENDING


def test_a_job_that_outlives_no_node_ends_at_last(world: World) -> None:
    key = world.start(can_requeue=True)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        assert world.activity(key.job_id).key == key._replace(attempt=attempt)
        node = node_of(world, key.job_id)
        lose(world, node)
        world.join(node)
        world.settle()
    assert world.ended(key.job_id).kind is EndKind.NODE_LOST
    assert len(world.of(JobRequeued)) == ATTEMPTS_MAX - 1


def test_after_a_reboot_it_waits_again(world: World) -> None:
    key = world.start(can_requeue=True)
    node = node_of(world, key.job_id)
    world.reboot(node)
    world.join(node)
    (requeued,) = world.of(JobRequeued)
    assert requeued.end.kind is EndKind.NODE_LOST
    assert requeued.key == key


PROLOG_FAILED = End(EndKind.PROLOG_FAILED, detail="prolog /etc/hal/prolog: ended with exit code 1")


def fail_prolog(world: World, key: AttemptKey, node: NodeName) -> None:
    part = PartStatus(key, None, world.now_s, PROLOG_FAILED, node_fault=PROLOG_FAILED.detail)
    world.tell(PartsChanged(node, (part,)))


def test_what_never_began_because_of_a_prolog_waits_again_and_the_node_gets_no_more(world: World) -> None:
    job_id = world.submit()
    world.plan()
    key, node = world.activity(job_id).key, node_of(world, job_id)
    fail_prolog(world, key, node)
    (requeued,) = world.of(JobRequeued)
    assert requeued.end == PROLOG_FAILED
    (drained,) = world.of(NodeDrained)
    assert (drained.node, drained.reason, drained.by) == (node, PROLOG_FAILED.detail, "hal")
    world.plan()
    assert node_of(world, job_id) != node


@pytest.mark.parametrize("can_requeue", [False, True])
def test_a_gang_that_had_begun_elsewhere_must_bear_a_restart(world: World, can_requeue: bool) -> None:
    key = world.start(can_requeue=can_requeue, node_count=2, task_count=2, spread=Spread.NODE)
    fail_prolog(world, key, N1)
    world.tell(PartsChanged(N0, (PartStatus(key, world.now_s, world.now_s, CANCELLED),)))
    assert [each.key for each in world.of(JobRequeued)] == [key] * can_requeue
    if not can_requeue:
        assert world.ended(key.job_id).kind is EndKind.PROLOG_FAILED


def test_what_is_told_again_does_not_drain_a_node_that_was_put_back(world: World) -> None:
    key = world.start()
    node = node_of(world, key.job_id)
    world.end(key)
    part = PartStatus(key, world.now_s, world.now_s, End(EndKind.EXITED, exit_code=0), node_fault="epilog: failed")
    world.tell(PartsChanged(node, (part,)))
    assert world.of(NodeDrained) == []
