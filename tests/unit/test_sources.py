"""From where a node takes a dataset: what is far is crossed once, nobody waits for itself, and each has a way out."""

from __future__ import annotations

from contextlib import ExitStack

import attrs
from hypothesis import given, settings, strategies as st

from hal_core.models.dataset import PEER, DataFile, Dataset, DatasetId
from hal_core.models.message import AddDataset, CopiesReported, NodeSilent
from hal_core.models.node import NodeName
from hal_core.models.topology import Level, Link, Topology
from hal_core.rules.sources import Sources
from tests.support.core_world import World, make_cluster

GB = 10**9
GENOME = Dataset("genome", "1", (DataFile("a", GB, "a" * 64),), ("https://far/genome",), "ada", 1000, 1000)
SITES = Topology(
    (Level("site", Link(0.001, 1e9)), Level("rack", Link(0.0001, 1e10))), across=Link(0.05, 1e7, money_per_gb=0.1)
)
PLACES = [("s", "r1"), ("s", "r1"), ("s", "r2"), ("s", "r2"), ("t", "r1"), ("t", "r1"), ("t", "r2"), ("t", "r2")]
NAMES = [NodeName(f"n{number}") for number in range(len(PLACES))]


def a_world(topology: Topology | None = SITES, rate: float = 2e7) -> World:
    cluster = make_cluster(len(PLACES))
    nodes = tuple(attrs.evolve(node, location=place) for node, place in zip(cluster.nodes, PLACES, strict=True))
    world = World(
        attrs.evolve(cluster, nodes=nodes, topology=topology, stage_bytes_per_s=rate), is_checked=False
    ).join()
    world.tell(AddDataset(GENOME))
    return world


def have(world: World, *names: str) -> None:
    for name in names:
        world.tell(CopiesReported(NodeName(name), (GENOME.id,)))


def first_sources(world: World, names: list[NodeName]) -> dict[str, str]:
    """Of each node in this order, all of them at once: a node, or "" for the dataset's own replica."""
    sources, found = Sources(lambda: world.state), {}
    with ExitStack() as stack:
        for name in names:
            (dataset,) = stack.enter_context(sources.routed(name, [GENOME]))
            assert set(GENOME.replicas) <= set(dataset.replicas), "there is always a way out"
            first = dataset.replicas[0]
            found[name] = first.removeprefix(PEER) if first.startswith(PEER) else ""
    return found


@settings(max_examples=40, deadline=None)
@given(st.permutations(NAMES), st.sets(st.sampled_from(NAMES)))
def test_each_link_is_crossed_once_into_each_site_and_rack(order, holders):
    world = a_world()
    have(world, *holders)
    found = first_sources(world, [name for name in order if name not in holders])
    places = dict(zip(NAMES, PLACES, strict=True))
    for depth in (1, 2):
        for domain in {place[:depth] for place in PLACES}:
            inside = [name for name in NAMES if places[name][:depth] == domain]
            into = [each for each in inside if each in found and found[each] not in inside]
            assert len(into) == (0 if holders.intersection(inside) else 1), (domain, found)


@settings(max_examples=40, deadline=None)
@given(st.permutations(NAMES), st.sets(st.sampled_from(NAMES)))
def test_nobody_waits_for_itself(order, holders):
    world = a_world(None)
    have(world, *holders)
    found = first_sources(world, order)
    for name in order:
        at, steps = name, 0
        while at and at not in holders:
            at, steps = NodeName(found[at]), steps + 1
            assert steps <= len(order), found


def test_equally_near_ones_share_the_work():
    world = a_world(None)
    have(world, "n0", "n1")
    found = first_sources(world, NAMES[2:])
    assert sorted(list(found.values()).count(name) for name in ("n0", "n1"))[0] >= 2, found


def test_what_costs_money_is_read_from_its_own_replica_first_and_from_afar_at_the_last():
    world = a_world()
    have(world, "n7")
    with Sources(lambda: world.state).routed(NAMES[0], [GENOME]) as (dataset,):
        assert dataset.replicas == (*GENOME.replicas, f"{PEER}n7")


def test_a_node_that_is_silent_is_no_source_and_one_that_is_done_is_one():
    world = a_world()
    have(world, "n1")
    world.tell(NodeSilent(NodeName("n1")))
    sources = Sources(lambda: world.state)
    with sources.routed(NAMES[0], [GENOME]) as (dataset,):
        assert dataset.replicas == GENOME.replicas
    have(world, "n0")
    with sources.routed(NAMES[2], [GENOME]) as (dataset,):
        assert dataset.replicas == (f"{PEER}n0", *GENOME.replicas)


def test_what_has_no_digest_is_read_at_its_source_because_nobody_could_check_what_a_node_gives():
    world = a_world()
    have(world, "n1")
    told = attrs.evolve(GENOME, file_version="5-17")
    with Sources(lambda: world.state).routed(NAMES[0], [told]) as (dataset,):
        assert dataset.replicas == GENOME.replicas


def test_an_order_that_is_repeated_keeps_its_sources():
    world = a_world()
    sources = Sources(lambda: world.state)
    with ExitStack() as stack:
        first, _, again = [stack.enter_context(sources.routed(NAMES[at], [GENOME])) for at in (0, 1, 0)]
        assert again == first
    other = attrs.evolve(GENOME, version="2")
    with sources.routed(NAMES[1], [other]) as (dataset,):
        assert dataset.replicas == GENOME.replicas, "another version is another dataset"


def test_of_very_many_copies_the_nearest_are_found():
    count = 600
    cluster = make_cluster(count)
    nodes = tuple(attrs.evolve(node, location=("s", f"r{at // 3}")) for at, node in enumerate(cluster.nodes))
    world = World(attrs.evolve(cluster, nodes=nodes, topology=SITES), is_checked=False).join()
    world.tell(AddDataset(GENOME))
    for number in range(count):
        if number != 301:
            world.tell(CopiesReported(NodeName(f"n{number}"), (DatasetId("genome@1"),)))
    with Sources(lambda: world.state).routed(NodeName("n301"), [GENOME]) as (dataset,):
        assert set(dataset.replicas[:2]) == {f"{PEER}n300", f"{PEER}n302"}
