"""Jobs in a cluster with a topology, through the whole core: admission, what commit refuses, ranks, old clusters."""

from __future__ import annotations

import attrs
import pytest

from hal_core.errors import InvalidInput
from hal_core.models.node import Cluster, NodeName
from hal_core.models.plan import Plan, Start
from hal_core.models.topology import Level, Link, Topology
from hal_core.rules.commit import refusal
from tests.support.core_world import World, make_cluster

TOPOLOGY = Topology((Level("rack", Link(1e-5, 1e10)), Level("leaf", Link(1e-6, 1e11))), Link(1e-3, 1e9))


def racks(locations: list[tuple[str, str]]) -> Cluster:
    """A node n0, n1 ... of 4 CPUs at each of these places."""
    cluster = make_cluster(len(locations))
    nodes = tuple(attrs.evolve(node, location=where) for node, where in zip(cluster.nodes, locations, strict=True))
    return attrs.evolve(cluster, nodes=nodes, topology=TOPOLOGY)


class Fixed:
    """An engine that starts one job on given nodes."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def plan(self, snapshot):
        return Plan(tuple(Start(job.job_id, self.numbers) for job in snapshot.pending()))


def test_ranks_follow_the_topology_whatever_the_engine_says():
    world = World(racks([("a", "x"), ("b", "x"), ("a", "y"), ("b", "x"), ("a", "x")])).join()
    job = world.submit(node_count=5, task_count=5)
    world.plan(Fixed(3, 2, 1, 0, 4))
    (activity,) = world.job(job).active.values()
    assert [share.node for share in activity.shares] == ["n0", "n4", "n2", "n1", "n3"]
    world.settle()
    world.check_at_end()


def test_a_start_outside_the_required_domain_is_refused():
    world = World(racks([("a", "x"), ("b", "x"), ("a", "y"), ("b", "x")])).join()
    bound = world.submit(node_count=2, task_count=2, level="rack", is_level_required=True)
    assert refusal(world.state, Start(bound, (0, 1)), world.now_s) == "it must be in one rack"
    assert refusal(world.state, Start(bound, (0, 2)), world.now_s) == ""
    assert "not in partition" in refusal(world.state, Start(bound, (0, -1)), world.now_s)
    assert "not in partition" in refusal(world.state, Start(bound, (0, 4)), world.now_s)
    named = world.submit(node_count=2, task_count=2, level="rack", domain="b", is_level_required=True)
    assert refusal(world.state, Start(named, (0, 2)), world.now_s) == "it must be in one rack b"
    assert refusal(world.state, Start(named, (1, 3)), world.now_s) == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"domain": "c"}, "no rack named 'c'"),
        ({"node_count": 3, "task_count": 3, "is_level_required": True}, "3 nodes in one rack are required"),
        ({"node_count": 2, "task_count": 2, "is_level_required": True, "domain": "b"}, "has 1 at most"),
    ],
)
def test_what_no_domain_can_hold_is_refused_at_once(fields, text):
    world = World(racks([("a", "x"), ("a", "y"), ("b", "x")])).join()
    with pytest.raises(InvalidInput, match=text):
        world.submit(level="rack", **fields)


def test_without_a_topology_locations_mean_nothing():
    cluster = attrs.evolve(racks([("b", "x"), ("a", "x")]), topology=None)
    world = World(cluster).join()
    job = world.submit(node_count=2, task_count=2)
    world.plan(Fixed(1, 0))
    (activity,) = world.job(job).active.values()
    assert [share.node for share in activity.shares] == [NodeName("n1"), NodeName("n0")]
