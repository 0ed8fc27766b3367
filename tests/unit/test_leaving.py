"""A node whose cloud takes it back: nothing new, and what can be queued again ends in time, as a gang."""

from __future__ import annotations

import pytest

from hal_core.models.effect import CancelPart
from hal_core.models.event import JobCancelRequested, JobRequeued, NodeDrained
from hal_core.models.job import JobState, Spread
from hal_core.models.message import Cancel, DrainNode, NodeLeaving
from hal_core.models.node import NodeName
from hal_core.rules.leaving import MARGIN_S
from tests.support.core_world import World, make_cluster, select

N0, N1 = NodeName("n0"), NodeName("n1")
GANG = {"node_count": 2, "task_count": 2, "spread": Spread.NODE, "can_requeue": True}
REASON = "AWS takes this spot instance back (terminate at 10:00)"


@pytest.fixture
def world():
    world = World(make_cluster(3)).join()
    yield world
    world.check_at_end()


def leaving(world, left_s=120.0, reason=REASON, node=N0):
    return world.tell(NodeLeaving(node, reason, left_s))


def test_a_gang_is_told_on_all_of_its_nodes_and_queued_again(world):
    key = world.start(**GANG)
    leaving(world)
    (drained,) = world.of(NodeDrained)
    assert (drained.node, drained.reason, drained.by) == (N0, REASON, "cloud")
    (asked,) = world.of(JobCancelRequested)
    assert (asked.does_requeue, asked.by, asked.detail) == (True, "cloud", f"n0: {REASON}")
    assert asked.grace_s == 120.0 - MARGIN_S
    told = {name for name, node in world.nodes.items() if any(isinstance(each, CancelPart) for each in node.orders)}
    assert told == {N0, N1}
    assert world.job(key.job_id).state is JobState.RUNNING


def test_what_is_said_again_leads_to_nothing(world):
    world.start(**GANG)
    leaving(world)
    count = len(world.events)
    leaving(world, left_s=90.0)
    assert len(world.events) == count


def test_it_runs_elsewhere(world):
    key = world.start(**GANG)
    leaving(world)
    world.settle()
    (again,) = world.of(JobRequeued)
    assert (again.key, again.by) == (key, "cloud")
    nodes = {share.node for activity in world.state.allocations.values() for share in activity.shares}
    assert nodes == {N1, NodeName("n2")}


def test_what_cannot_be_queued_again_runs_on(world):
    key = world.start()
    leaving(world)
    assert world.of(JobCancelRequested) == []
    assert world.job(key.job_id).state is JobState.RUNNING


def test_a_hint_only_keeps_new_jobs_away(world):
    world.start(**GANG)
    leaving(world, left_s=None, reason="likely")
    assert world.of(JobCancelRequested) == []
    leaving(world)
    assert [each.reason for each in world.of(NodeDrained)] == ["likely", REASON]
    assert len(world.of(JobCancelRequested)) == 1


def test_an_operator_s_reason_stays_and_so_does_an_end_that_was_asked_for(world):
    key = world.start(**GANG)
    world.tell(DrainNode(N0, "disk", "ada"))
    world.tell(Cancel(select(key.job_id), "ada"))
    leaving(world)
    assert [each.by for each in world.of(NodeDrained)] == ["ada"]
    assert [each.by for each in world.of(JobCancelRequested)] == ["ada"]


@pytest.mark.parametrize(("left_s", "grace_s"), [(120.0, 105.0), (17.0, 5.0), (3.0, 3.0), (0.0, 0.0)])
def test_a_job_has_all_the_time_there_is_but_for_a_margin(world, left_s, grace_s):
    world.start(**GANG, kill_grace_s=5.0)
    leaving(world, left_s)
    (asked,) = world.of(JobCancelRequested)
    assert asked.grace_s == grace_s


def test_what_waits_for_its_inputs_is_queued_again_at_once(world):
    world.start(inputs=("/data",), **GANG)
    leaving(world)
    (again,) = world.of(JobRequeued)
    assert again.end.detail == f"n0: {REASON}"


def test_a_node_that_nobody_knows_leads_to_nothing(world):
    count = len(world.events)
    leaving(world, node=NodeName("n9"))
    assert len(world.events) == count
