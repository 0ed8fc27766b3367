"""Where jobs with inputs go: near their data now, near their data later, or elsewhere, whichever ends sooner."""

from __future__ import annotations

from random import Random

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob, Start
from hal_core.models.staging import Tier, Tiers, tiers_of
from hal_core.rules.nearness import Nearness
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs

ALL = PartitionName("all")
WHOLE = Shape(ALL, 1, 4, 0)
NODE_COUNT = 4
ELSEWHERE_S = 100.0
INPUTS = ("data",)
EAGER = [Easy, Conservative, lambda: Expansion(60.0, 1e6)]


def near(*numbers: int, stage_s: float = 0.0) -> Tiers:
    return tiers_of({(stage_s, stage_s): mask_of(numbers)}, Tier(-1, ELSEWHERE_S))


def snapshot_of(pending: list[PendingJob], busy: dict[int, float], tiers: Tiers) -> FakeSnapshot:
    """The nodes in `busy` are taken until then; all jobs with inputs read the same."""
    nodes = [Node(NodeName(f"n{number}"), 4, 0) for number in range(NODE_COUNT)]
    partition = Partition(ALL, tuple(node.name for node in nodes), is_default=True)
    columns, running = FakeColumns.of_idle(nodes), []
    for number, end_s in busy.items():
        columns.take(number, WHOLE)
        running.append(RunningJob(JobId(number + 1), 0, WHOLE, (number,), end_s))
    return FakeSnapshot(0.0, 1, columns, {ALL: partition}, tuple(pending), tuple(running), tiers_of={INPUTS: tiers})


def job(number: int = 100, **fields) -> PendingJob:
    return attrs.evolve(PendingJob(JobId(number), 1, WHOLE, 1000.0, 0, 0.0, inputs=INPUTS), **fields)


@pytest.mark.parametrize("engine", [*EAGER, Fcfs])
def test_a_job_goes_where_its_data_is(engine):
    plan = engine().plan(snapshot_of([job()], {}, near(2)))
    assert plan.starts == (Start(JobId(100), (2,)),)


@pytest.mark.parametrize("engine", EAGER)
@pytest.mark.parametrize(("end_s", "does_wait"), [(99.0, True), (100.0, False), (5000.0, False)])
def test_it_waits_for_its_data_as_long_as_that_ends_it_sooner(engine, end_s, does_wait):
    plan = engine().plan(snapshot_of([job()], {2: end_s}, near(2)))
    assert plan.starts == (() if does_wait else (Start(JobId(100), (0,), 1, ELSEWHERE_S),))
    if does_wait:
        assert plan.wake_s == end_s


@pytest.mark.parametrize("engine", EAGER)
def test_not_everybody_waits_for_the_same_node(engine):
    """The second would have to wait for the first, which takes longer than a transfer."""
    plan = engine().plan(snapshot_of([job(100), job(101)], {2: 50.0}, near(2)))
    assert plan.starts == (Start(JobId(101), (0,), 1, ELSEWHERE_S),)


@pytest.mark.parametrize("engine", EAGER)
def test_nobody_behind_takes_what_somebody_waits_for(engine):
    """Half of the node is free, and would be taken for longer than the other half."""
    half = Shape(ALL, 1, 2, 0)
    busy = dict.fromkeys((0, 1, 3), 9000.0)
    snapshot = snapshot_of([job(100), job(101, shape=half, inputs=())], busy, near(2))
    columns = FakeColumns.copy_of(snapshot.columns)
    columns.take(2, half)
    columns.free_cpus[0] = 4
    halves = (RunningJob(JobId(50), 0, half, (2,), 50.0), *snapshot.running_jobs[1:])
    plan = engine().plan(attrs.evolve(snapshot, columns=columns, running_jobs=halves))
    assert plan.starts == (Start(JobId(101), (0,)),)


@pytest.mark.parametrize("engine", [*EAGER, Fcfs])
def test_a_job_of_whose_inputs_nothing_is_known_goes_anywhere(engine):
    plan = engine().plan(snapshot_of([job()], {0: 50.0}, ()))
    assert plan.starts == (Start(JobId(100), (1,)),)


@given(st.integers(0, 1 << 32))
def test_each_choice_ends_soonest_of_all(seed):
    """Against every node, now or when it comes free."""
    random = Random(seed)
    costs_s = [random.choice((0.0, 10.0, 40.0, ELSEWHERE_S)) for _ in range(NODE_COUNT)]
    groups: dict[tuple[float, float], int] = {}
    for number, cost_s in enumerate(costs_s):
        groups[cost_s, cost_s] = groups.get((cost_s, cost_s), 0) | 1 << number
    busy = {number: random.choice((5.0, 30.0, 70.0, 500.0)) for number in range(NODE_COUNT) if random.random() < 0.6}
    snapshot = snapshot_of([], busy, tiers_of(groups, Tier(-1, ELSEWHERE_S)))
    room = snapshot.room()
    nearness = Nearness(snapshot, room)
    starts, does_wait = nearness.place(job(), room.packing.ask(WHOLE), snapshot.stage_in(INPUTS))
    now_s = min((costs_s[number] for number in range(NODE_COUNT) if number not in busy), default=None)
    later_s = min((busy[number] + costs_s[number] for number in busy), default=float("inf"))
    assert bool(starts or does_wait) == (now_s is not None)
    if now_s is None:
        return
    assert does_wait == (later_s < now_s), f"seed {seed}"
    if starts:
        assert costs_s[starts[0].node_numbers[0]] == starts[0].stage_s == now_s
