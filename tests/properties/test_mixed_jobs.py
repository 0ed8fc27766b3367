"""Jobs of several components, over random snapshots: all of their nodes or none, each component what it asked for,
nothing given twice, and no promise spoilt by backfill.

Whoever judges here tries all ways to give different nodes to the components, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import PendingJob, Plan, Reserve, RunningJob, Victim, promised
from hal_core.models.ranges import runs_of
from hal_core.models.reservation import Holds, Reservation
from hal_core.models.room import Room
from hal_core.rules.permit import Permits
from hal_core.rules.profile import NodesProfile, profile_of
from hal_core.rules.timeline import earliest_start
from hal_core.rules.victims import least_loss
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from tests.support.engines import ENGINES

ALL = PartitionName("all")
NOW_S = 1000.0
GIB = 1 << 30
FAST = ("fast",)
seeds = st.integers(0, 1 << 32)


def a_node(random: Random, number: int) -> Node:
    """Some have GPUs, some are fast: so components compete for them in every way."""
    gpus = ("a100",) * random.choice([0, 0, 1, 2])
    return Node(NodeName(f"n{number}"), 4, 8 * GIB, gpus=gpus, features=random.choice([(), FAST]))


def a_part(random: Random) -> Shape:
    share = random.choice([0, 0, 0, 500])
    return Shape(
        ALL,
        random.choice([1, 1, 1, 2]),
        random.randint(1, 4),
        random.randint(0, 4) * GIB,
        gpus=0 if share else random.choice([0, 0, 1]),
        gpu_milli=share,
        features=random.choice([(), (), FAST]),
    )


def a_shape(random: Random) -> Shape:
    """Of one component, or of two or three."""
    also = tuple(a_part(random) for _ in range(random.choice([0, 1, 1, 2])))
    return attrs.evolve(a_part(random), also=also)


def ways(shape: Shape, fitting: Sequence[Sequence[int]], taken: tuple[int, ...] = ()) -> tuple[int, ...] | None:
    """Different nodes for all components, of those where each fits; None if there is no way."""
    wanted = [at for at, part in enumerate(shape.parts) for _ in range(part.node_count)]
    if len(taken) == len(wanted):
        return taken
    for number in fitting[wanted[len(taken)]]:
        found = None if number in taken else ways(shape, fitting, (*taken, number))
        if found is not None:
            return found
    return None


def fitting_in(columns: FakeColumns, shape: Shape) -> list[list[int]]:
    return [[n for n in range(len(columns.nodes)) if columns.fits(n, part)] for part in shape.parts]


def can_hold(columns: FakeColumns, shape: Shape) -> bool:
    return ways(shape, fitting_in(columns, shape)) is not None


def take(columns: FakeColumns, shape: Shape, numbers: Sequence[int], where: object = "") -> None:
    """Each component its own nodes; asserts that they are different ones, and that there is room."""
    assert len(set(numbers)) == len(numbers) == shape.total_nodes, f"{where}: no whole gang"
    for part, its in shape.assigned(numbers):
        for number in its:
            assert columns.fits(number, part), f"{where}: node {number} has no room for {part}"
            columns.take(number, part)


def a_full_snapshot(random: Random, node_count_max: int = 3) -> FakeSnapshot:
    """A few nodes that differ in nothing, filled by jobs that do; one job waits for most of some of them."""
    nodes = [Node(NodeName(f"n{number}"), 4, 8 * GIB) for number in range(random.randint(2, node_count_max))]
    columns, running = FakeColumns.of_idle(nodes), []
    for number in range(12):
        parts = [Shape(ALL, 1, random.randint(1, 4), 0) for _ in range(random.randint(1, min(len(nodes), 3)))]
        shape = attrs.evolve(parts[0], also=tuple(parts[1:]))
        numbers = ways(shape, [random.sample(its, len(its)) for its in fitting_in(columns, shape)])
        if numbers is not None:
            take(columns, shape, numbers)
            running.append(RunningJob(JobId(1000 + number), 0, shape, numbers, NOW_S + 10.0 * random.randint(1, 30)))
    wanted = Shape(ALL, random.randint(1, len(nodes)), random.randint(2, 4), 0)
    everywhere = Partition(ALL, tuple(node.name for node in nodes), True)
    pending = (PendingJob(JobId(1), 1, wanted, 60.0, 0, NOW_S),)
    return FakeSnapshot(NOW_S, 1, columns, {ALL: everywhere}, pending, tuple(running))


def a_snapshot(random: Random) -> FakeSnapshot:
    """Few nodes, fairly full, and a queue in which shapes repeat."""
    nodes = [a_node(random, number) for number in range(random.randint(2, 6))]
    columns = FakeColumns.of_idle(nodes)
    shapes = [a_shape(random) for _ in range(random.randint(1, 4))]
    running = []
    for number in range(random.randint(0, 8)):
        shape = random.choice(shapes)
        numbers = ways(shape, fitting_in(columns, shape))
        if numbers is not None:
            take(columns, shape, numbers)
            running.append(RunningJob(JobId(1000 + number), 0, shape, numbers, NOW_S + 10.0 * random.randint(1, 30)))
    pending = [
        PendingJob(JobId(number), 1, random.choice(shapes), 10.0 * random.randint(1, 30), 0, NOW_S - 100.0 + number)
        for number in range(random.randint(1, 12))
    ]
    everywhere = Partition(ALL, tuple(node.name for node in nodes), True)
    return FakeSnapshot(NOW_S, 1, columns, {ALL: everywhere}, tuple(pending), tuple(running))


class Judge:
    """What was free, and what a plan has taken of it."""

    def __init__(self, snapshot: FakeSnapshot, plan: Plan) -> None:
        self.job_of = {job.job_id: job for job in snapshot.pending_jobs}
        self.columns = FakeColumns.copy_of(snapshot.columns)
        self.waiting = dict(self.job_of)
        self.running = list(snapshot.running())
        for start in plan.starts:
            job = self.waiting.pop(start.job_id)
            take(self.columns, job.shape, start.node_numbers, start)
            end_s = NOW_S + job.walltime_s
            self.running.append(RunningJob(job.job_id, 0, job.shape, start.node_numbers, end_s))

    def at(self, time_s: float) -> FakeColumns:
        """What is free then, if nothing else starts."""
        columns = FakeColumns.of_idle(self.columns.nodes)
        for job in self.running:
            if job.end_time_s > time_s:
                for part, numbers in job.shape.assigned(job.node_numbers):
                    for number in numbers:
                        columns.take(number, part)
        return columns

    def earliest_s(self, shape: Shape) -> float:
        """When enough of what runs has ended, as limits say."""
        times = sorted({NOW_S, *(job.end_time_s for job in self.running)})
        return next((time_s for time_s in times if can_hold(self.at(time_s), shape)), math.inf)


@settings(max_examples=300, deadline=None)
@given(seed=seeds, engine=st.sampled_from(sorted(ENGINES)))
def test_all_components_start_or_none_and_each_has_what_it_asked_for(seed: int, engine: str) -> None:
    snapshot = a_snapshot(Random(seed))
    plan = ENGINES[engine]().plan(snapshot)
    judge = Judge(snapshot, plan)
    has_promise = {reserve.job_id for reserve in plan.reserves}
    first = next(iter(judge.waiting.values()), None)
    if first is not None and judge.earliest_s(first.shape) < math.inf and engine not in ("fcfs", "hal"):
        assert first.job_id in has_promise, "the first that waits could start one day, and is promised nothing"


@settings(max_examples=300, deadline=None)
@given(seed=seeds, engine=st.sampled_from(["easy", "easy-sjbf"]))
def test_backfill_makes_no_promise_later_and_leaves_nothing_idle_that_it_could_use(seed: int, engine: str) -> None:
    snapshot = a_snapshot(Random(seed))
    plan = ENGINES[engine]().plan(snapshot)
    judge = Judge(snapshot, plan)
    if not plan.reserves:
        assert not [job for job in judge.waiting.values() if can_hold(judge.columns, job.shape)]
        return
    (promise,) = plan.reserves
    head = judge.job_of[promise.job_id]
    before = tuple(job for job in snapshot.pending_jobs if job.job_id <= head.job_id)
    alone = attrs.evolve(snapshot, pending_jobs=before)
    plan_alone = ENGINES[engine]().plan(alone)
    assert [each.start_time_s for each in plan_alone.reserves] == [promise.start_time_s], "backfill moved the promise"
    assert Judge(alone, plan_alone).earliest_s(head.shape) == promise.start_time_s, "it is not the earliest"
    then = judge.at(promise.start_time_s)
    take(then, head.shape, promise.node_numbers, promise)
    for job in judge.waiting.values():
        if job.job_id == head.job_id or not can_hold(judge.columns, job.shape):
            continue
        assert NOW_S + job.expected_s > promise.start_time_s, f"job {job.job_id} could have ended before the promise"
        both = zip(fitting_in(judge.columns, job.shape), fitting_in(then, job.shape), strict=True)
        fitting = [[number for number in now if number in later] for now, later in both]
        assert ways(job.shape, fitting) is None, f"job {job.job_id} could have been started and disturbs nobody"


@settings(max_examples=200, deadline=None)
@given(seed=seeds, engine=st.sampled_from(["conservative", "reserve"]))
def test_all_promises_can_be_kept_together(seed: int, engine: str) -> None:
    snapshot = a_snapshot(Random(seed))
    plan = ENGINES[engine]().plan(snapshot)
    judge = Judge(snapshot, plan)

    def check(reserves: Sequence[Reserve]) -> None:
        for promise in reserves:
            then = judge.at(promise.start_time_s)
            for other in reserves:
                job = judge.job_of[other.job_id]
                if other.start_time_s <= promise.start_time_s < other.start_time_s + job.expected_s:
                    take(then, job.shape, other.node_numbers, other)

    check(plan.reserves)
    # Kept from one plan to the next, with the nodes of each component in their order.
    waiting = tuple(job for job in snapshot.pending_jobs if job.job_id in judge.waiting)
    running = tuple(sorted(judge.running, key=lambda job: job.expected_end_s))
    rows = [(each.job_id, each.start_time_s) for each in plan.reserves]
    promises = tuple(promised(rows, [runs_of(each.node_numbers) for each in plan.reserves]).values())  # as journalled
    later = attrs.evolve(snapshot, pending_jobs=waiting, running_jobs=running, columns=judge.columns, promised=promises)
    again = ENGINES[engine]().plan(later)
    kept = {each.job_id: each.start_time_s for each in again.reserves}
    kept |= {start.job_id: NOW_S for start in again.starts}
    for promise in plan.reserves:
        assert kept[promise.job_id] <= promise.start_time_s, f"{promise} is later now"


@settings(max_examples=300, deadline=None)
@given(seed=seeds)
def test_nodes_are_found_just_when_there_is_a_way(seed: int) -> None:
    """Now, beside a promise, on some of the nodes only, and when what runs has ended."""
    random = Random(seed)
    snapshot = a_snapshot(random)
    shape = snapshot.pending_jobs[0].shape
    packing = Packing(snapshot.columns.nodes, {ALL: range(len(snapshot.columns.nodes))})
    ask, room, columns = packing.ask(shape), snapshot.room(), FakeColumns.copy_of(snapshot.columns)
    ask = room.packing.ask(shape)
    nodes = random.getrandbits(len(columns.nodes))
    also, spare = FakeColumns.of_idle(columns.nodes), Room.of(room.packing, FakeColumns.of_idle(columns.nodes))
    other = a_part(random)
    fits = [number for number in range(len(columns.nodes)) if also.fits(number, other)][: other.node_count]
    spare.take(fits, room.packing.ask(other))
    for number in fits:
        also.take(number, other)
    both = zip(fitting_in(columns, shape), fitting_in(also, shape), strict=True)
    fitting = [[number for number in now if number in later and nodes >> number & 1] for now, later in both]
    chosen = room.choose(ask, nodes, spare)
    assert bool(chosen) == (ways(shape, fitting) is not None)
    if chosen:
        take(FakeColumns.copy_of(columns), shape, chosen)
        take(also, shape, chosen)
    assert room.has_room(ask) == can_hold(columns, shape) == bool(room.choose(ask))
    promise = earliest_start(room, snapshot.running(), ask, NOW_S)
    found = NodesProfile(room, snapshot.running(), NOW_S).earliest(ask, 1e9)
    earliest_s = Judge(snapshot, Plan()).earliest_s(shape)
    assert (math.inf if promise is None else promise.time_s) == earliest_s
    assert (math.inf if found is None else found[0]) == earliest_s


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_beside_a_reservation_it_is_the_earliest_that_the_reservation_leaves(seed: int) -> None:
    random = Random(seed)
    snapshot = a_snapshot(random)
    job = snapshot.pending_jobs[0]
    nodes = snapshot.columns.nodes
    kept = tuple(node.name for node in random.sample(list(nodes), random.randint(1, 2)))
    begin_s = NOW_S + 10.0 * random.randint(-5, 30)
    window = Reservation("course", kept, begin_s, 10.0 * random.randint(1, 30), by="oper")
    holds = Holds([window], {node.name: number for number, node in enumerate(nodes)})
    room = snapshot.room()
    permits = Permits(holds, room.packing, NOW_S)
    permit, judge = permits.of(job), Judge(snapshot, Plan())
    edges = {NOW_S, begin_s, begin_s + window.duration_s, *(each.end_time_s for each in snapshot.running())}

    def fits_at(time_s: float) -> bool:
        open_nodes = permit.nodes(time_s)
        fitting = fitting_in(judge.at(time_s), job.shape)
        return ways(job.shape, [[number for number in its if open_nodes >> number & 1] for its in fitting]) is not None

    expected_s = next((time_s for time_s in sorted(edges) if time_s >= NOW_S and fits_at(time_s)), math.inf)
    promise = earliest_start(room, snapshot.running(), room.packing.ask(job.shape), NOW_S, permit)
    assert (math.inf if promise is None else promise.time_s) == expected_s
    chosen = room.choose(permits.ask(job))
    assert bool(chosen) == fits_at(NOW_S)
    profile = profile_of(room, snapshot.running(), NOW_S, holds)
    found = profile.earliest(room.packing.ask(job.shape), job.walltime_s, permit)
    assert (math.inf if found is None else found[0]) == expected_s
    for numbers, start_s in ((chosen, NOW_S), found[::-1] if found else ((), NOW_S)):
        assert not mask_of(numbers) & ~permit.nodes(start_s), "on nodes that are kept from it"


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_what_is_taken_and_given_back_leaves_what_was_there(seed: int) -> None:
    snapshot = a_snapshot(Random(seed))
    room = snapshot.room()
    before = [room.row_of(number) for number in range(len(snapshot.columns.nodes))]
    shape = snapshot.pending_jobs[0].shape
    ask = room.packing.ask(shape)
    chosen = room.choose(ask)
    if chosen and not room.packing.parts.is_used:
        room.take(chosen, ask)
        assert [room.row_of(number) for number in range(len(before))] != before
        room.give(chosen, ask)
        assert [room.row_of(number) for number in range(len(before))] == before


@pytest.mark.parametrize("made", [a_snapshot, a_full_snapshot])
@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_victims_are_enough_and_none_is_one_too_many(made: Callable[[Random], FakeSnapshot], seed: int) -> None:
    random = Random(seed)
    snapshot = made(random)
    room, shape = snapshot.room(), snapshot.pending_jobs[0].shape
    victims = [Victim(job, float(random.randint(0, 3))) for job in snapshot.running()]
    found = least_loss(room, room.packing.ask(shape), victims)

    def is_enough(gone: Sequence[Victim]) -> bool:
        ended = {victim.job.job_id for victim in gone}
        left = [job for job in snapshot.running() if job.job_id not in ended]
        judge = Judge(attrs.evolve(snapshot, running_jobs=tuple(left)), Plan())
        return can_hold(judge.at(NOW_S), shape)

    if found is None:
        assert not is_enough(victims)
        return
    assert is_enough(found)
    for one in found:
        assert not is_enough([each for each in found if each is not one]), "one victim is not needed"


def test_a_victim_frees_on_each_node_what_its_component_has_there() -> None:
    """With 1 CPU back, n0 is not free: what the first component has is on n1."""
    nodes = [Node(NodeName(f"n{number}"), 4, 8 * GIB) for number in range(2)]
    columns = FakeColumns.of_idle(nodes)
    small, large = Shape(ALL, 1, 1, 0), Shape(ALL, 1, 3, 0)
    rows = [(attrs.evolve(large, also=(small,)), (1, 0)), (large, (0,))]
    for shape, numbers in rows:
        take(columns, shape, numbers)
    running = tuple(RunningJob(JobId(at), 0, *row, NOW_S + 10.0) for at, row in enumerate(rows))
    partition = Partition(ALL, tuple(node.name for node in nodes), True)
    room = FakeSnapshot(NOW_S, 1, columns, {ALL: partition}, (), running).room()
    ask = room.packing.ask(attrs.evolve(large, node_count=2))
    both = [Victim(running[0], 0.0), Victim(running[1], 1.0)]
    assert least_loss(room, ask, both) == tuple(both)


@settings(max_examples=150, deadline=None)
@given(seed=seeds, engine=st.sampled_from(sorted(ENGINES)))
def test_components_that_are_alike_are_a_gang(seed: int, engine: str) -> None:
    """Cut into components, gangs start when they start whole."""
    random = Random(seed)
    snapshot = a_snapshot(random)
    plain = tuple(attrs.evolve(job, shape=attrs.evolve(job.shape, also=())) for job in snapshot.pending_jobs)
    empty = attrs.evolve(snapshot, running_jobs=(), columns=FakeColumns.of_idle(snapshot.columns.nodes))

    def cut(shape: Shape) -> Shape:
        if shape.node_count == 1:
            return shape
        one = attrs.evolve(shape, node_count=1)
        return attrs.evolve(one, also=(one,) * (shape.node_count - 1))

    in_parts = tuple(attrs.evolve(job, shape=cut(job.shape)) for job in plain)
    whole = ENGINES[engine]().plan(attrs.evolve(empty, pending_jobs=plain))
    parted = ENGINES[engine]().plan(attrs.evolve(empty, pending_jobs=in_parts))
    assert [start.job_id for start in whole.starts] == [start.job_id for start in parted.starts]
    assert [(each.job_id, each.start_time_s) for each in whole.reserves] == [
        (each.job_id, each.start_time_s) for each in parted.reserves
    ]


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_the_first_component_leaves_the_only_fast_node_to_the_one_that_needs_it(engine: str) -> None:
    """Which, looked at alone, it would take: it fills it best."""
    nodes = [
        Node(NodeName("slow"), 8, 8 * GIB),
        Node(NodeName("fast"), 4, 8 * GIB, features=FAST),
    ]
    shape = Shape(ALL, 1, 4, 0, also=(Shape(ALL, 1, 1, 0, features=FAST),))
    job = PendingJob(JobId(1), 1, shape, 60.0, 0, 0.0)
    partition = Partition(ALL, tuple(node.name for node in nodes), True)
    plan = ENGINES[engine]().plan(FakeSnapshot(NOW_S, 1, FakeColumns.of_idle(nodes), {ALL: partition}, (job,)))
    assert [start.node_numbers for start in plan.starts] == [(0, 1)]
