"""Shares of GPUs: never more of a device than there is, the same in rows and in plain lists, and what fragments it."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings, strategies as st

from hal_core.models.demand import FADE_EVERY, LOOK_EVERY, WEIGHT_MAX, Demand, GpuRequest
from hal_core.models.fragmentation import UNSEEN_SHARE
from hal_core.models.gpu_parts import MILLI
from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import RunningJob
from hal_core.models.room import Room
from hal_core.models.row_fields import FIELD_MASK
from hal_core.rules.node_table import NodeTable
from hal_core.rules.state import State
from hal_core.rules.timeline import earliest_start
from hal_core.testing.snapshots import FakeColumns
from tests.support.core_world import World, make_cluster, make_spec

ALL = PartitionName("all")
SHARES = st.sampled_from([100, 250, 300, 499, 500, 501, 700, 900])


def share(milli: int, kind: str = "", **fields: int) -> Shape:
    return Shape(ALL, 1, **{"cpus": 1, "memory_bytes": 0, **fields}, gpu_milli=milli, gpu_type=kind)


def room_of(*nodes: Node, demand: Demand | None = None) -> Room:
    packing = Packing(nodes, {ALL: range(len(nodes))}, demand=demand)
    return Room.of_rows(packing, [packing.idle_row(number) for number in range(len(nodes))])


def node(name: str = "n", cpus: int = 64, gpus: tuple[str, ...] = ("a100", "a100")) -> Node:
    return Node(NodeName(name), cpus, 0, gpus)


KINDS = st.lists(st.sampled_from(["a100", "h100"]), min_size=1, max_size=3).map(lambda kinds: tuple(sorted(kinds)))


@settings(deadline=None)
@given(KINDS, st.data())
def test_table_row_and_lists_agree_whatever_is_taken_and_given(gpus: tuple[str, ...], data: st.DataObject) -> None:
    """The table is the truth with devices by index; the row and the plain lists know types only, and say the same."""
    table = NodeTable()
    table.define(make_cluster(1, cpu_count=64, gpus=gpus))
    table.is_available[0] = True
    held = []
    for _ in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.just("") | st.sampled_from(["a100", "h100"]))
        shape = share(data.draw(SHARES), kind) if data.draw(st.booleans()) else Shape(ALL, 1, 1, 0, 1, kind)
        columns = FakeColumns.copy_of(table)
        columns.allocation_count = [0]
        packing = Packing(table.nodes, {ALL: [0]})
        room = Room.of(packing, table)
        ask = packing.ask(shape)
        fits = table.room_count(0, shape) > 0
        assert columns.fits(0, shape) == fits
        assert bool(room.count(0, ask)) == fits
        assert bool(room.choose(ask)) == fits
        if fits:
            taken = table.choose(0, shape, 1)
            table.allocate(taken)
            held.append(taken)
            if kind or len(set(gpus)) == 1:  # of several types any may have been taken
                room.take((0,), ask)
                assert room.row_of(0) == packing.row(table, 0)
        elif held:
            table.release(held.pop(data.draw(st.integers(0, len(held) - 1))))
        for device, milli in table.gpu_shares[0].items():
            assert 0 < milli <= MILLI
            assert milli == sum(each.gpu_milli for each in held if each.gpu_milli and int(each.gpus) == device)


@given(st.lists(SHARES, min_size=1, max_size=10))
def test_shares_that_are_given_back_leave_an_idle_row(shares: list[int]) -> None:
    room = room_of(node(gpus=("a100",) * 10))
    idle = room.row_of(0)
    asks = [room.packing.ask(share(milli)) for milli in shares]
    for ask in asks:
        room.take((0,), ask)
    whole = room.row_of(0) >> room.packing.shift_of["gpus"] & FIELD_MASK
    rests = sum(free for _, free in room.packing.parts.of(room.row_of(0)))
    assert whole * MILLI + rests == 10 * MILLI - sum(shares)
    for ask in sorted(asks, key=lambda ask: -ask.gpu_milli):
        room.give((0,), ask)
    assert room.row_of(0) >> room.packing.shift_of["cpus"] & FIELD_MASK == idle & FIELD_MASK


@given(st.lists(SHARES, min_size=1, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_shares_of_devices_of_their_own_leave_these_whole_in_whatever_order_they_go(
    shares: list[int], random: Random
) -> None:
    """Of which device a share was is not known; that of which just so much is held is the likeliest."""
    room = room_of(node(gpus=("a100",) * len(shares)))
    idle, parts = room.row_of(0), room.packing.parts
    kept = parts.packed(("a100", MILLI - milli) for milli in shares)
    shift_of = room.packing.shift_of
    row = idle - sum(len(shares) << shift_of[field] for field in ("gpus", "gpu:a100")) + kept
    random.shuffle(shares)
    for milli in shares:
        row = parts.give(row, milli, "")
    assert row == idle


def test_the_smallest_rest_that_holds_it_comes_first() -> None:
    table = NodeTable()
    table.define(make_cluster(1, cpu_count=8, gpus=("a100",) * 3))
    table.is_available[0] = True
    given_devices = []
    for milli in (600, 700, 300, 400, 300, 500):
        taken = table.choose(0, share(milli), 1)
        table.allocate(taken)
        given_devices.append(taken.gpus)
    assert given_devices == ["0", "1", "1", "0", "2", "2"]
    assert table.room_count(0, share(300)) == 0
    assert table.room_count(0, share(200)) == 1


def test_several_jobs_run_on_one_device_by_index_and_no_whole_one_beside_them() -> None:
    world = World(make_cluster(1, gpus=("a100", "a100"))).join()
    halves = [world.submit(gpu_milli=500) for _ in range(2)]
    whole = world.submit(gpus_per_node=2)
    world.settle()
    assert [share.gpus for job in halves for part in world.job(job).active.values() for share in part.shares] == [
        "0"
    ] * 2
    assert not world.job(whole).active
    assert world.state.table.free_gpus == [{"a100": 1}]
    for job in halves:
        world.end(next(iter(world.job(job).active.values())).key)
    world.settle()
    assert world.job(whole).active
    world.check_at_end()


def test_an_array_of_shares_fills_devices_one_element_after_the_other() -> None:
    world = World(make_cluster(1, gpus=("a100", "a100"))).join()
    job = world.submit(array="0-4", gpu_milli=500)
    for _ in range(5):
        world.settle()
    active = world.job(job).active
    assert sorted(part.shares[0].gpus for part in active.values()) == ["0", "0", "1", "1"]
    world.check_at_end()


# -- fragmentation -----------------------------------------------------------------------------------------------------


def naive_fragments(cpus: int, whole: int, rests: list[int], anticipated: list[tuple[GpuRequest, float]]) -> float:
    """Device by device, as it is defined."""
    devices = [MILLI] * whole + rests
    expected = 0.0
    for request, probability in anticipated:
        least = request.gpu_milli or MILLI
        usable = [free for free in devices if free >= least]
        can_run = cpus >= request.cpus and len(usable) >= max(request.gpus, 1)
        expected += probability * (sum(devices) - (sum(usable) if can_run else 0))
    return expected


@settings(deadline=None)
@given(st.lists(SHARES, max_size=6), st.integers(1, 8), st.data())
def test_expected_fragments_are_those_of_each_device(taken: list[int], gpus: int, data: st.DataObject) -> None:
    demand = Demand()
    for _ in range(data.draw(st.integers(1, 6))):
        cpus = data.draw(st.integers(1, 8))
        demand.add(share(data.draw(SHARES), cpus=cpus) if data.draw(st.booleans()) else Shape(ALL, 1, cpus, 0, gpus))
    room = room_of(node(cpus=8, gpus=("a100",) * gpus), demand=demand)
    for milli in taken:
        ask = room.packing.ask(share(milli))
        if room.choose(ask):
            room.take((0,), ask)
    row = room.row_of(0)
    whole = row >> room.packing.shift_of["gpus"] & FIELD_MASK
    rests = [free for _, free in room.packing.parts.of(row)]
    room.packing.fragmentation.harms(share(100))  # it looks at the demand
    found = room.packing.fragmentation.expected(row)
    anticipated = [(request, probability * (1 - UNSEEN_SHARE)) for request, probability in demand.typical]
    anticipated.append((GpuRequest(8, 0, gpus, 0, ""), UNSEEN_SHARE))
    assert abs(found - naive_fragments(row & FIELD_MASK, whole, rests, anticipated)) < 1e-6


def test_a_small_job_leaves_the_node_whole_that_a_large_one_needs() -> None:
    demand = Demand()
    for _ in range(3):
        demand.add(Shape(ALL, 1, 8, 0, 8))
        demand.add(Shape(ALL, 1, 1, 0, 1))
    room = room_of(node("large", 8, ("a100",) * 8), node("small", 64, ("a100",) * 2), demand=demand)
    assert room.choose(room.packing.ask(Shape(ALL, 1, 1, 0, 1))) == (1,)
    room = room_of(node("large", 8, ("a100",) * 8), node("small", 64, ("a100",) * 2))
    assert room.choose(room.packing.ask(Shape(ALL, 1, 1, 0, 1))) == (0,), "nothing is known: the fullest by CPUs"


def test_a_node_that_is_whole_stays_so_where_the_typical_request_does_not_care() -> None:
    """Best fit by CPUs would begin the second node: fewer would be left there."""
    demand = Demand()
    demand.add(Shape(ALL, 1, 4, 0, 1))
    room = room_of(node("begun", 64, ("a100",) * 8), node("whole", 48, ("a100",) * 8), demand=demand)
    ask = room.packing.ask(Shape(ALL, 1, 4, 0, 1))
    room.take((0,), ask)
    assert room.choose(ask) == (0,)


def test_jobs_without_gpus_leave_nodes_with_gpus_alone() -> None:
    room = room_of(node("gpu", 8), Node(NodeName("plain"), 64, 0))
    ask = room.packing.ask(Shape(ALL, 1, 8, 0))
    assert room.choose(ask) == (1,)
    room.take((1,), room.packing.ask(Shape(ALL, 1, 64, 0)))
    assert room.choose(ask) == (0,)


def test_what_is_typical_follows_the_requests_and_old_ones_fade() -> None:
    demand = Demand()
    demand.add(make_spec().shape())
    assert not demand.typical, "no GPUs, no demand"
    demand.add(Shape(ALL, 1, 1, 0, 3), element_count=2)
    demand.add(Shape(ALL, 2, 1, 0, 1))
    assert dict(demand.typical) == {GpuRequest(1, 0, 3, 0, ""): 0.75, GpuRequest(1, 0, 1, 0, ""): 0.25}
    for _ in range(FADE_EVERY * WEIGHT_MAX // (LOOK_EVERY * MILLI)):
        demand.add(Shape(ALL, 1, 1, 0, 1), element_count=LOOK_EVERY)
    assert sum(demand.weights.values()) < WEIGHT_MAX + FADE_EVERY * LOOK_EVERY * MILLI
    assert GpuRequest(1, 0, 3, 0, "") not in demand.weights, "faded"


def test_a_state_that_is_loaded_expects_the_same() -> None:
    world = World(make_cluster(1, gpus=("a100",))).join()
    for _ in range(5):
        world.submit(gpu_milli=300)
    loaded = State.load(world.state.dump())
    assert loaded.demand == world.state.demand
    assert loaded.demand.seen == 5


def test_a_share_is_promised_for_when_a_device_is_free_and_not_for_when_cpus_are() -> None:
    whole, cpus, waits = Shape(ALL, 1, 1, 0, gpus=1), Shape(ALL, 1, 3, 0), share(500, cpus=2)
    room = room_of(node(cpus=4, gpus=("a100",)))
    running = []
    for number, (shape, end_s) in enumerate(((cpus, 100.0), (whole, 1000.0))):
        room.take((0,), room.packing.ask(shape))
        running.append(RunningJob(JobId(number), 0, shape, (0,), end_s))
    promise = earliest_start(room, running, room.packing.ask(waits), 0.0)
    assert promise is not None
    assert (promise.time_s, promise.node_numbers) == (1000.0, (0,))
