"""The topology against brute force: domains as sets, costs as sums over pairs, placements as the best of all."""

from __future__ import annotations

from itertools import combinations, pairwise, product

import attrs
from hypothesis import HealthCheck, given, settings, strategies as st

from hal_core.models.domains import Domains
from hal_core.models.job import Shape
from hal_core.models.masks import mask_of, members_of
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.placing import Wish, gang, holds, single
from hal_core.models.room import Room
from hal_core.models.topology import MESSAGE_BYTES, Level, LevelKind, Link, Topology
from hal_core.models.torus import Torus
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_core.testing.strategies import near, shapes, snapshots, topologies

FAR = Link(1e-3, 1e9)
TREE = Topology((Level("rack", Link(1e-5, 1e10)), Level("leaf", Link(1e-6, 1e11))), FAR)


def nodes_at(locations: list[tuple[str, ...]]) -> list[Node]:
    return [Node(NodeName(f"n{number}"), 4, 1 << 30, location=where) for number, where in enumerate(locations)]


def located(count_max: int = 9) -> st.SearchStrategy[list[Node]]:
    places = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))
    return st.lists(places, min_size=1, max_size=count_max).map(nodes_at)


def common_depth(nodes: list[Node], numbers: tuple[int, ...]) -> int:
    """The number of levels on which all of the nodes are together."""
    first = nodes[numbers[0]].location
    depth = 0
    while depth < len(first) and all(nodes[n].location[: depth + 1] == first[: depth + 1] for n in numbers):
        depth += 1
    return depth


def leaves(nodes: list[Node], numbers: tuple[int, ...]) -> int:
    return len({nodes[number].location for number in numbers})


@given(located(), st.data())
def test_domains_are_the_nodes_of_their_path_and_spans_what_they_share(nodes: list[Node], data: st.DataObject) -> None:
    domains = Domains(TREE, nodes)
    for depth, level in enumerate(domains.at_depth):
        paths = {node.location[:depth] for node in nodes}
        assert {domain.path for domain in level} == paths
        for domain in level:
            inside = {number for number, node in enumerate(nodes) if node.location[:depth] == domain.path}
            assert set(members_of(domain.nodes)) == inside
    numbers = data.draw(st.sets(st.integers(0, len(nodes) - 1), min_size=1).map(lambda found: tuple(sorted(found))))
    assert domains.span(mask_of(numbers)).depth == common_depth(nodes, numbers)
    assert domains.leaf_count(mask_of(numbers)) == leaves(nodes, numbers)
    order = [nodes[number].location for number in domains.ordered(range(len(nodes)))]
    runs = [order[0], *(b for a, b in pairwise(order) if a != b)]
    assert len(runs) == len(set(runs)), "nodes of one leaf are not next to each other"


@given(located(), st.data())
def test_an_exchange_costs_the_mean_over_all_pairs(nodes: list[Node], data: st.DataObject) -> None:
    domains = Domains(TREE, nodes)
    numbers = sorted(data.draw(st.sets(st.integers(0, len(nodes) - 1), min_size=2)) if len(nodes) > 1 else {0})
    links = (FAR, TREE.levels[0].link, TREE.levels[1].link)
    costs = [links[common_depth(nodes, pair)].exchange_s for pair in combinations(numbers, 2)]
    expected_s = sum(costs) / len(costs) if costs else 0.0
    assert abs(domains.exchange_s(mask_of(numbers)) - expected_s) <= 1e-12 + 1e-9 * expected_s


@given(located(), st.integers(2, 5), st.data())
def test_a_gang_is_in_the_narrowest_domain_and_on_the_fewest_leaves_in_it(
    nodes: list[Node], count: int, data: st.DataObject
) -> None:
    domains = Domains(TREE, nodes)
    free = sorted(data.draw(st.sets(st.integers(0, len(nodes) - 1))))
    depth = data.draw(st.integers(0, 2))
    wish = Wish(count, depth)
    found = tuple(members_of(gang(domains, [mask_of(free)], wish)))
    allowed = [each for each in combinations(free, count) if common_depth(nodes, each) >= depth]
    assert holds(domains, mask_of(free), wish) == bool(allowed)
    if not allowed:
        assert found == ()
        return
    assert len(found) == count
    assert set(found) <= set(free)
    narrowest = max(common_depth(nodes, each) for each in allowed)
    assert common_depth(nodes, found) == narrowest
    fewest = min(leaves(nodes, each) for each in allowed if common_depth(nodes, each) == narrowest)
    assert leaves(nodes, found) == fewest


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.data())
def test_a_gang_that_no_leaf_holds_takes_the_fullest(sizes: list[int], data: st.DataObject) -> None:
    nodes = nodes_at([("a", f"leaf{leaf}") for leaf, size in enumerate(sizes) for _ in range(size)])
    count = data.draw(st.integers(max(sizes) + 1, sum(sizes)))
    found = tuple(members_of(gang(Domains(TREE, nodes), [mask_of(range(len(nodes)))], Wish(count))))
    fewest = next(few for few in range(1, len(sizes) + 1) if sum(sorted(sizes)[-few:]) >= count)
    assert leaves(nodes, found) == fewest


@given(st.integers(1, 6), st.integers(1, 8), st.data())
def test_a_gang_is_in_one_block_where_one_has_room(blocks: int, size: int, data: st.DataObject) -> None:
    nodes = nodes_at([(f"b{block}",) for block in range(blocks) for _ in range(size)])
    topology = Topology((Level("block", Link(1e-6, 9e11), LevelKind.BLOCK),), FAR)
    domains = Domains(topology, nodes)
    free = mask_of(data.draw(st.sets(st.integers(0, len(nodes) - 1))))
    count = data.draw(st.integers(2, size + 1))
    found = gang(domains, [free], Wish(count))
    rooms = [(free & block.nodes).bit_count() for block in domains.at_depth[1]]
    holding = [room for room in rooms if room >= count]
    if holding:
        block = domains.span(found)
        assert block.depth == 1
        assert (free & block.nodes).bit_count() == min(holding), "a larger hole was broken than had to be"


@given(st.integers(2, 4), st.integers(2, 9), st.integers(2, 4), st.data())
def test_wider_gangs_take_whole_segments_if_they_can(blocks: int, size: int, segment: int, data: st.DataObject) -> None:
    nodes = nodes_at([(f"b{block}",) for block in range(blocks) for _ in range(size)])
    topology = Topology((Level("block", Link(1e-6, 9e11), LevelKind.BLOCK, segment=segment),), FAR)
    domains = Domains(topology, nodes)
    count = data.draw(st.integers(size + 1, blocks * size)) if blocks * size > size else 0
    free = mask_of(range(len(nodes)))
    found = gang(domains, [free], Wish(count))
    assert found.bit_count() == count
    odd = [part for block in domains.at_depth[1] if (part := (found & block.nodes).bit_count()) % segment]
    if count <= blocks * (size - size % segment):
        assert len(odd) <= 1, f"segments of {segment} cut in {len(odd)} blocks"


@given(located(12), st.data())
def test_single_nodes_go_where_least_is_left_to_break(nodes: list[Node], data: st.DataObject) -> None:
    domains = Domains(TREE, nodes)
    free = data.draw(st.sets(st.integers(0, len(nodes) - 1), min_size=1))
    chosen = single(domains, mask_of(free))
    assert chosen in free

    def in_common(number: int, depth: int) -> int:
        return sum(nodes[other].location[:depth] == nodes[number].location[:depth] for other in free)

    racks = min(in_common(number, 1) for number in free)
    assert in_common(chosen, 1) == racks


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_a_free_box_of_a_torus_is_found_where_there_is_one(sides: list[int], data: st.DataObject) -> None:
    torus = Torus(sides)
    free = data.draw(st.sets(st.integers(0, torus.size - 1)))
    count = data.draw(st.integers(1, max(torus.size, 1)))
    boxes = []
    for shape in product(*(range(1, side + 1) for side in sides)):
        for corner in product(*map(range, sides)):
            places = {
                tuple((at + step) % side for at, step, side in zip(corner, offset, sides, strict=True))
                for offset in product(*map(range, shape))
            }
            boxes.append({at for at in range(torus.size) if torus.place(at) in places})
    whole = [box for box in boxes if len(box) == count and box <= free]
    found = set(members_of(torus.box(mask_of(free), count)))
    assert bool(found) == bool(whole)
    assert not found or found in whole


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data())
def test_hops_are_counted_round_the_shorter_way(sides: list[int], data: st.DataObject) -> None:
    torus = Torus(sides)
    at = sorted(data.draw(st.sets(st.integers(0, torus.size - 1), max_size=8)))
    pairs = [
        sum(
            min((a - b) % side, (b - a) % side)
            for a, b, side in zip(torus.place(one), torus.place(two), sides, strict=True)
        )
        for one, two in combinations(at, 2)
    ]
    assert abs(torus.mean_hops(at) - (sum(pairs) / len(pairs) if pairs else 0.0)) < 1e-9


def test_a_gang_on_a_torus_gets_a_box() -> None:
    topology = Topology((Level("torus", Link(1e-6, 1e10), LevelKind.TORUS, (4, 4)),), FAR)
    domains = Domains(topology, nodes_at([("t",)] * 16))
    free = mask_of(set(range(16)) - {0, 1, 2})
    found = gang(domains, [free], Wish(4))
    assert domains.root.children[0].torus is not None
    assert domains.root.children[0].torus.mean_hops(list(members_of(found))) == 4 / 3, "a square is the closest"


def test_communicating_gangs_spread_over_a_dragonfly_and_others_pack() -> None:
    topology = Topology((Level("system", Link(1e-6, 1e9), LevelKind.DRAGONFLY), Level("group", Link(1e-6, 1e10))), FAR)
    domains = Domains(topology, nodes_at([("s", f"g{group}") for group in range(8) for _ in range(8)]))
    free = mask_of(range(64))
    packed, spread = gang(domains, [free], Wish(16)), gang(domains, [free], Wish(16, communication=0.4))
    assert (domains.leaf_count(packed), domains.leaf_count(spread)) == (2, 8)
    assert domains.exchange_s(spread) < domains.exchange_s(packed)
    assert domains.leaf_count(gang(domains, [free], Wish(8, communication=0.4))) == 1, "one group is closer still"
    share = 2 / 16  # one link between two groups of eight
    crossing_s = 1e-6 + MESSAGE_BYTES / (1e9 * share)
    within_s = 1e-6 + MESSAGE_BYTES / 1e10
    assert abs(domains.exchange_s(packed) - (64 * crossing_s + 56 * within_s) / 120) < 1e-9


def may_be(snapshot: FakeSnapshot, shape: Shape, fitting: list[int]) -> bool:
    depth = 0
    if shape.is_level_required:
        assert snapshot.topology is not None
        depth = snapshot.topology.depth_of(shape.level) or 0
    paths = [snapshot.columns.nodes[number].location[:depth] for number in fitting]
    return max(map(paths.count, paths), default=0) >= shape.node_count


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_room_with_a_topology_finds_a_place_where_one_is(data: st.DataObject) -> None:
    snapshot: FakeSnapshot = attrs.evolve(data.draw(snapshots()), topology=data.draw(topologies()))
    assert isinstance(snapshot.columns, FakeColumns)
    room = snapshot.room()
    for drawn in data.draw(st.lists(shapes(tuple(snapshot.partitions)), min_size=1, max_size=6)):
        shape = attrs.evolve(data.draw(near(drawn, has_topology=True)), also=())  # others: test_mixed_jobs.py
        ask = room.packing.ask(shape)
        inside = snapshot.partition_nodes(shape.partition)
        fitting = [number for number in inside if room.count(number, ask)]
        is_lone = len(snapshot.columns.nodes) == 1 and shape.node_count > 1  # no gang is asked of a single node
        assert is_lone or set(members_of(room.fitting(ask))) == set(fitting)
        chosen = room.choose(ask)
        assert bool(chosen) == may_be(snapshot, shape, fitting)
        assert set(chosen) <= set(fitting)
        if chosen:
            assert len(set(chosen)) == shape.node_count
            assert may_be(snapshot, shape, list(chosen))
            assert ask.is_allowed(mask_of(chosen))
        later = room.copy()
        time_s = later.wait_for(ask, snapshot.running(), snapshot.now_s)
        assert (time_s is not None) == bool(later.choose(ask))
        room.take(chosen, ask)


def test_a_preferred_domain_comes_first_and_a_required_one_alone() -> None:
    nodes = nodes_at([("a", "x"), ("a", "x"), ("b", "y"), ("b", "y")])
    packing = Packing(nodes, {PartitionName("all"): range(4)}, TREE)
    room = Room.of_rows(packing, [packing.idle_row(number) for number in range(4)])
    shape = Shape(PartitionName("all"), 1, 4, 0, level="rack", domain="b")
    wishing, bound = packing.ask(shape), packing.ask(attrs.evolve(shape, is_level_required=True))
    assert wishing.strict is bound
    assert [room.choose(each) for each in (wishing, bound)] == [(2,), (2,)]
    room.take((2, 3), wishing)
    assert [room.choose(each) for each in (wishing, bound)] == [(0,), ()]


def test_a_required_level_or_domain_that_is_not_there_is_never_given() -> None:
    nodes = nodes_at([("a", "x")] * 2)
    packing = Packing(nodes, {PartitionName("all"): range(2)}, TREE)
    room = Room.of_rows(packing, [packing.idle_row(number) for number in range(2)])
    for level, domain in (("row", ""), ("rack", "c")):
        shape = Shape(PartitionName("all"), 2, 1, 0, level=level, domain=domain, is_level_required=True)
        assert room.choose(packing.ask(shape)) == ()


@given(located())
def test_every_domain_has_a_name_of_its_own(nodes: list[Node]) -> None:
    names = [domain.name for level in Domains(TREE, nodes).at_depth for domain in level]
    assert len(names) == len(set(names))
