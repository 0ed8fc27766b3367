"""Where copies are decides where jobs go: tiers against a plain sum, and an engine that sees them in the real state."""

from __future__ import annotations

import attrs
from hypothesis import given, strategies as st

from hal_core.models.dataset import DataFile, Dataset, DatasetId
from hal_core.models.message import AddDataset, CopiesReported
from hal_core.models.node import NodeName
from hal_core.rules.excerpt import excerpt
from hal_core.rules.forecast import forecast
from hal_core.rules.stage_in import tiers
from hal_engine_backfill.easy import Easy
from tests.support.core_world import World, make_cluster

RATE = 100.0
SIZES = {"big": 5000, "middle": 300, "none": 0}


def a_world(node_count: int) -> World:
    world = World(attrs.evolve(make_cluster(node_count), stage_bytes_per_s=RATE), Easy()).join()
    for name, size_bytes in SIZES.items():
        files = (DataFile("a", size_bytes, name[0] * 64),)
        world.tell(AddDataset(Dataset(name, "1", files, ("/data",), "ada", 1000, 1000)))
    return world


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
