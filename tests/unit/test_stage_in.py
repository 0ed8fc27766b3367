"""Where copies are decides where jobs go: tiers against a plain sum, and an engine that sees them in the real state."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.dataset import DataFile, Dataset, DatasetId
from hal_core.models.message import AddDataset, CopiesReported
from hal_core.models.node import NodeName
from hal_core.models.topology import Level, Link, Topology
from hal_core.rules.excerpt import excerpt
from hal_core.rules.forecast import forecast
from hal_core.rules.stage_in import tiers
from hal_engine_backfill.easy import Easy
from tests.support.core_world import World, make_cluster

RATE = 100.0
SIZES = {"big": 5000, "middle": 300, "none": 0}


def a_world(node_count: int) -> World:
    world = World(attrs.evolve(make_cluster(node_count), stage_bytes_per_s=RATE), Easy()).join()
    for name in SIZES:
        world.tell(AddDataset(a_dataset(name)))
    return world


def a_dataset(name: str) -> Dataset:
    files = (DataFile("a", SIZES[name], name[0] * 64),)
    return Dataset(name, "1", files, ("/data",), "ada", 1000, 1000)


def reference(name: str) -> str:
    return f"dataset:{name}@1"


def report(world: World, number: int, *names: str) -> None:
    world.tell(CopiesReported(NodeName(f"n{number}"), tuple(DatasetId(f"{name}@1") for name in names)))


@given(
    st.lists(st.sets(st.sampled_from([*SIZES, "gone"])), min_size=1, max_size=5),
    st.lists(st.sampled_from(sorted(SIZES)), min_size=1, unique=True),
)
def test_the_tiers_are_what_is_missing_on_each_node(copies, inputs):
    world = a_world(len(copies))
    for number, names in enumerate(copies):
        report(world, number, *names)
    found = tiers(world.state, tuple(map(reference, inputs)))
    if not sum(SIZES[name] for name in inputs):
        assert found == ()
        return
    for number, names in enumerate(copies):
        missing_s = sum(SIZES[name] for name in inputs if name not in names) / RATE
        assert next(each.cost_s for each in found if each.nodes >> number & 1) == missing_s
    assert found[-1].nodes == -1


SITES = Topology((Level("site", Link(0.5, 1000.0)), Level("rack", Link(0.1, 10_000.0))), Link(2.0, 200.0, 1e3))
PLACES = [("s", "1"), ("s", "1"), ("s", "2"), ("t", "1"), ("t", "1")]
DEPTHS = [[next(depth for depth in (2, 1, 0) if one[:depth] == other[:depth]) for other in PLACES] for one in PLACES]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from(["big", "middle"])), min_size=5, max_size=5),
    st.lists(st.sampled_from(["big", "middle"]), min_size=1, unique=True),
)
def test_the_nearest_copy_or_replica_counts_by_the_topology(copies, inputs):
    cluster = make_cluster(len(PLACES))
    nodes = tuple(attrs.evolve(node, location=place) for node, place in zip(cluster.nodes, PLACES, strict=True))
    world = World(attrs.evolve(cluster, nodes=nodes, topology=SITES, stage_bytes_per_s=RATE), is_checked=False).join()
    for name in SIZES:
        world.tell(AddDataset(a_dataset(name)))
    for _ in range(2):  # what was told before copies moved is told anew
        found = tiers(world.state, tuple(map(reference, inputs)))
        for number, names in enumerate(copies):
            report(world, number, *names)
    found = tiers(world.state, tuple(map(reference, inputs)))
    links = (SITES.across, SITES.levels[0].link, SITES.levels[1].link)
    for number in range(len(PLACES)):
        wanted_s = 0.0
        for name in inputs:
            holders = [other for other, names in enumerate(copies) if name in names]
            ways_s = [links[DEPTHS[number][other]].transfer_cost_s(SIZES[name]) for other in holders]
            wanted_s += 0.0 if number in holders else min([SIZES[name] / RATE, *ways_s])
        assert next(each.cost_s for each in found if each.nodes >> number & 1) == pytest.approx(wanted_s)


def test_a_copy_of_a_file_without_a_digest_is_near_to_its_own_node_only():
    cluster = make_cluster(len(PLACES))
    nodes = tuple(attrs.evolve(node, location=place) for node, place in zip(cluster.nodes, PLACES, strict=True))
    world = World(attrs.evolve(cluster, nodes=nodes, topology=SITES, stage_bytes_per_s=RATE), is_checked=False).join()
    world.tell(AddDataset(attrs.evolve(a_dataset("big"), file_version="5-17")))
    report(world, 0, "big")
    found = tiers(world.state, (reference("big"),))
    assert [(each.nodes, each.cost_s) for each in found] == [(1, 0.0), (-1, SIZES["big"] / RATE)]


def test_a_job_goes_where_its_copies_are():
    world = a_world(3)
    report(world, 2, "big")
    key = world.start(inputs=("dataset:big",))
    assert [share.node for share in world.state.allocations[key.job_id, 0].shares] == ["n2"]


def test_it_waits_for_that_node_only_if_it_ends_sooner_so_and_a_forecast_says_the_same():
    for held_s, name, is_waiting in ((40.0, "big", True), (60.0, "big", False), (40.0, "middle", False)):
        world = a_world(2)
        report(world, 1, name)
        world.start(inputs=(reference(name),), cpus_per_task=4, walltime_s=held_s)
        waiting = world.submit(inputs=(reference(name),), cpus_per_task=4, walltime_s=100.0)
        found = forecast(excerpt(world.state, waiting, world.now_s), Easy(), world.now_s)
        world.plan()
        assert (waiting in world.state.queue) is is_waiting
        assert found.start_time_s == world.now_s + (held_s if is_waiting else 0.0)
