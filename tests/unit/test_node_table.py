"""Columns of nodes: what is free is what is declared less what is held, also while a configuration changes."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core.models.job import Shape
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.placement import Share
from hal_core.models.ranges import count_of, parse_ranges
from hal_core.rules.node_table import NodeTable, devices_of, lowest, mask_of, split_share
from hal_core.rules.state import State
from tests.support.core_world import GIB, World, make_cluster
from tests.support.invariants import check_dump, check_state

SHAPE = Shape(PartitionName("all"), 1, 1, 0)


def table_of(**fields):
    table = NodeTable()
    table.define(make_cluster(1, **fields))
    table.is_available[0] = True
    return table


@given(st.integers(0, 2**80))
def test_masks_and_texts_are_inverse(mask):
    assert mask_of(devices_of(mask)) == mask
    assert count_of(parse_ranges(devices_of(mask))) == mask.bit_count()


@given(st.integers(1, 2**70), st.data())
def test_lowest_takes_the_lowest(mask, data):
    count = data.draw(st.integers(0, mask.bit_count()))
    taken = lowest(mask, count)
    assert taken & mask == taken
    assert taken.bit_count() == count
    rest = mask & ~taken
    assert not taken or not rest or taken.bit_length() <= (rest & -rest).bit_length()


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2), st.integers(0, 2**40))
def test_a_split_share_is_cut_into_equal_disjoint_chunks(count, cpus, gpus, noise):
    mask = noise
    while mask.bit_count() < count * cpus:
        mask = mask << 1 | 1
    share = Share(
        NodeName("n"), 1, devices_of(lowest(mask, count * cpus)), 7, devices_of((1 << count * gpus) - 1), (("x", 1),)
    )
    parts = split_share(share, count)
    assert len(parts) == count
    assert sum(mask_of(part.cpus) for part in parts) == mask_of(share.cpus)
    assert {mask_of(part.cpus).bit_count() for part in parts} == {cpus}
    assert sum(mask_of(part.gpus) for part in parts) == mask_of(share.gpus)
    assert {(part.memory_bytes, part.generic) for part in parts} == {(7, (("x", 1),))}
    assert [mask_of(part.cpus) for part in parts] == sorted(mask_of(part.cpus) for part in parts)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 4),
        ({"cpus": 3}, 1),
        ({"cpus": 5}, 0),
        ({"memory_bytes": 3 * GIB}, 2),
        ({"memory_bytes": 9 * GIB}, 0),
        ({"gpus": 1}, 3),
        ({"gpus": 1, "gpu_type": "a100"}, 2),
        ({"gpus": 1, "gpu_type": "v100"}, 0),
        ({"generic": (("licence", 2),)}, 1),
        ({"generic": (("other", 1),)}, 0),
        ({"features": ("ib",)}, 4),
        ({"features": ("ib", "fast")}, 0),
        ({"is_exclusive": True}, 1),
    ],
)
def test_room_is_the_scarcest_of_all(changes, count):
    table = table_of(gpus=("a100", "a100", "h100"), generic=(("licence", 3),), features=("ib",))
    assert table.room_count(0, attrs.evolve(SHAPE, **changes)) == count


def test_an_exclusive_share_is_the_whole_node():
    table = table_of(gpus=("a100", "h100"), generic=(("licence", 3),))
    shape = attrs.evolve(SHAPE, is_exclusive=True)
    share = table.choose(0, shape, 1)
    assert share == Share(NodeName("n0"), 1, "0-3", 8 * GIB, "0-1", (("licence", 3),))
    table.allocate(share)
    assert table.room_count(0, SHAPE) == table.room_count(0, shape) == 0
    table.release(share)
    assert table.room_count(0, SHAPE) == 4


def test_typed_gpus_are_of_their_type():
    table = table_of(gpus=("a100", "h100", "a100", "h100"))
    share = table.choose(0, attrs.evolve(SHAPE, gpus=2, gpu_type="h100"), 1)
    assert share.gpus == "1,3"
    table.allocate(share)
    assert table.free_gpus == [{"a100": 2, "h100": 0}]


def test_what_is_held_is_not_given_again():
    table = table_of()
    share = table.choose(0, SHAPE, 1)
    table.allocate(share)
    with pytest.raises(AssertionError, match="not free"):
        table.allocate(share)
    table.release(share)
    with pytest.raises(AssertionError, match="free already"):
        table.release(share)


def test_memory_is_not_given_twice():
    table = table_of()
    table.allocate(Share(NodeName("n0"), 1, "0", 5 * GIB))
    with pytest.raises(AssertionError, match="oversubscribed"):
        table.allocate(Share(NodeName("n0"), 1, "1", 5 * GIB))


# -- the configuration changes while jobs run --------------------------------------------------------------------------

BIG = {"cpu_count": 4, "gpus": ("a100", "a100"), "generic": (("licence", 4),)}
SMALL = {"cpu_count": 2, "memory_bytes": GIB, "gpus": ("h100",), "generic": ()}
FULL = {
    "cpus_per_task": 4,
    "memory_bytes_per_node": 4 * GIB,
    "gpus_per_node": 2,
    "generic_per_node": (("licence", 4),),
}


def test_a_node_shrinks_under_its_job_and_grows_again():
    world = World(make_cluster(1, **BIG)).join()
    key = world.start(**FULL)
    world.define(make_cluster(1, **SMALL))
    check_dump(world.state)
    world.define(make_cluster(1, **BIG))
    waiting = world.submit()
    world.settle()
    assert not world.job(waiting).active, "every CPU is still held by the first"
    world.end(key)
    assert world.state.table.free_cpu_mask == [0b1111]
    assert world.state.table.free_generic == [{"licence": 4}]
    world.settle()
    assert world.job(waiting).active
    world.check_at_end()


def test_a_job_ends_on_a_node_that_shrank():
    world = World(make_cluster(1, **BIG)).join()
    key = world.start(**FULL)
    world.define(make_cluster(1, **SMALL))
    world.end(key)
    table = world.state.table
    assert (table.free_cpu_mask, table.free_cpus, table.free_gpus) == ([0b11], [2], [{"h100": 1}])
    world.start(is_exclusive=True)
    check_state(world.state)
    world.check_at_end()


def test_a_node_that_left_the_configuration_ends_its_jobs_and_gets_no_more():
    world = World(make_cluster(2)).join()
    key = world.start(node_count=2, task_count=2)
    world.define(make_cluster(1))
    check_dump(world.state)
    assert world.state.table.drain[1] is not None
    world.end(key)
    assert world.job(key.job_id).is_finished
    world.check_at_end()


def test_a_node_that_comes_back_into_the_configuration_gets_work_again():
    world = World(make_cluster(2)).join()
    world.define(make_cluster(1))
    world.define(make_cluster(2))
    assert world.state.table.drain == [None, None]
    world.start(node_count=2, task_count=2)
    world.check_at_end()


def test_an_operators_drain_outlives_the_configuration():
    world = World(make_cluster(2)).join()
    world.state.table.set_drain(1, ("repair", "root"))
    world.define(make_cluster(1))
    world.define(make_cluster(2))
    assert world.state.table.drain[1] == ("repair", "root")


def test_rows_keep_their_numbers_through_a_dump():
    nodes = tuple(Node(NodeName(name), 1, GIB) for name in ("b", "a", "c"))
    cluster = Cluster("c", nodes, (Partition(PartitionName("all"), ("c", "b")),))
    world = World(cluster).join()
    world.define(attrs.evolve(cluster, nodes=nodes[::-1]))
    loaded = State.load(world.state.dump())
    assert loaded.table.number_of == world.state.table.number_of == {"b": 0, "a": 1, "c": 2}
    assert loaded.partition_numbers == world.state.partition_numbers == {"all": [0, 2]}
