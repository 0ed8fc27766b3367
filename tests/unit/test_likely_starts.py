"""Where waiting jobs are likely to start: what comes free soon, and how near it is to their inputs, together."""

from __future__ import annotations

import attrs
from hypothesis import given, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob
from hal_core.models.staging import Tier, tiers_of
from hal_core.rules.likely_starts import JOBS_MAX, LEAD, Brought, likely_starts
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot

ALL = PartitionName("all")
WHOLE, HALF = Shape(ALL, 1, 4, 0), Shape(ALL, 1, 2, 0)
FAR_S = 100.0


def snapshot_of(shapes: list[Shape], ends_s: dict[int, float], near: int) -> FakeSnapshot:
    """All nodes are busy until the times given; the inputs of all jobs are on the node `near`."""
    nodes = [Node(NodeName(f"n{number}"), 4, 0) for number in ends_s]
    partition = Partition(ALL, tuple(node.name for node in nodes), is_default=True)
    running = [RunningJob(JobId(1000 + number), 0, WHOLE, (number,), end_s) for number, end_s in ends_s.items()]
    pending = [PendingJob(JobId(at), 1, shape, 50.0, 0, 0.0, inputs=("data",)) for at, shape in enumerate(shapes)]
    tiers = tiers_of({(0.0, 0.0): mask_of([near])}, Tier(-1, FAR_S))
    columns = FakeColumns.of_idle(nodes)
    for number in ends_s:
        columns.take(number, WHOLE)
    known = {("data",): tiers}
    return FakeSnapshot(10.0, 1, columns, {ALL: partition}, tuple(pending), tuple(running), tiers_of=known)


def guesses(snapshot: FakeSnapshot, within_s: float = 1000.0) -> list[tuple[int, float, int, float]]:
    return [(job.job_id, *rest) for job, *rest in likely_starts(snapshot, within_s)]


def test_the_first_goes_near_its_data_and_the_next_where_a_transfer_ends_soonest():
    found = guesses(snapshot_of([WHOLE, WHOLE, WHOLE], {0: 20.0, 1: 60.0, 2: 30.0}, near=1))
    assert found == [(0, 60.0, 1, 0.0), (1, 20.0, 0, FAR_S), (2, 30.0, 2, FAR_S)]


def test_a_node_that_comes_free_holds_as_many_as_fit():
    found = guesses(snapshot_of([HALF, HALF, HALF], {0: 20.0, 1: 25.0}, near=0))
    assert found == [(0, 20.0, 0, 0.0), (1, 20.0, 0, 0.0), (2, 25.0, 1, FAR_S)]


def test_what_comes_free_later_than_asked_for_is_not_looked_at():
    assert guesses(snapshot_of([WHOLE], {0: 20.0, 1: 60.0}, near=1), within_s=15.0) == [(0, 20.0, 0, FAR_S)]
    assert guesses(snapshot_of([WHOLE], {0: 20.0}, near=0), within_s=5.0) == []


def test_who_is_overdue_comes_free_now_and_only_the_first_jobs_are_asked():
    snapshot = snapshot_of([WHOLE] * (JOBS_MAX + 1), dict.fromkeys(range(JOBS_MAX + 1), 5.0), near=0)
    found = guesses(snapshot)
    assert len(found) == JOBS_MAX
    assert {time_s for _, time_s, _, _ in found} == {10.0}


def test_gangs_and_jobs_without_inputs_are_left_out():
    snapshot = snapshot_of([Shape(ALL, 2, 4, 0)], {0: 20.0, 1: 20.0}, near=0)
    assert guesses(snapshot) == []


def test_a_job_that_reads_nothing_takes_its_room_and_a_drained_node_has_none():
    snapshot = snapshot_of([WHOLE, WHOLE, WHOLE], {0: 20.0, 1: 60.0, 2: 90.0}, near=2)
    first, *others = snapshot.pending_jobs
    snapshot = attrs.evolve(snapshot, pending_jobs=(attrs.evolve(first, inputs=()), *others))
    assert guesses(snapshot) == [(1, 90.0, 2, 0.0), (2, 60.0, 1, FAR_S)]
    snapshot.columns.is_available[1] = False
    assert guesses(snapshot) == [(1, 90.0, 2, 0.0)]


def test_the_order_that_the_engine_tells_counts():
    snapshot = snapshot_of([WHOLE, WHOLE], {0: 20.0, 1: 60.0}, near=1)
    told = tuple(reversed(snapshot.pending_jobs))
    assert [job.job_id for job, *_ in likely_starts(snapshot, 1000.0, told)] == [1, 0]


def test_room_that_several_ends_leave_together_is_found_and_whoever_waits_before_has_it():
    snapshot = snapshot_of([WHOLE, HALF, HALF], {0: 20.0}, near=0)
    halves = [RunningJob(JobId(1000 + at), 0, HALF, (0,), end_s) for at, end_s in enumerate((20.0, 30.0))]
    snapshot = attrs.evolve(snapshot, running_jobs=tuple(halves))
    assert guesses(snapshot) == [(0, 30.0, 0, 0.0)]


def test_what_runs_where_nobody_would_start_it_any_more_gives_back_nothing():
    """Its node has lost a feature by a new configuration, or was declared smaller."""
    snapshot = snapshot_of([HALF], {0: 20.0, 1: 60.0}, near=0)
    shapes = (attrs.evolve(WHOLE, features=("old",)), attrs.evolve(WHOLE, cpus=8, is_exclusive=True))
    running = [attrs.evolve(job, shape=shape) for job, shape in zip(snapshot.running_jobs, shapes, strict=True)]
    assert guesses(attrs.evolve(snapshot, running_jobs=tuple(running))) == []


def test_where_none_of_the_first_jobs_reads_anything_nobody_is_looked_at():
    snapshot = snapshot_of([WHOLE] * (JOBS_MAX + 1), {0: 20.0}, near=0)
    *first, last = snapshot.pending_jobs
    first = [attrs.evolve(job, inputs=()) for job in first]

    class Unseen(FakeSnapshot):
        def room(self):
            raise AssertionError("what is free was asked for")

    fields = attrs.asdict(snapshot, recurse=False) | {"pending_jobs": (*first, last)}
    assert guesses(Unseen(**fields)) == []


@given(st.lists(st.tuples(st.floats(0.0, 1e4), st.floats(1e-3, 1e3)), max_size=40))
def test_what_is_brought_for_one_job_costs_two_transfers_at_most(guessed):
    """Of an hour: after that it is forgotten."""
    (job,), brought, total_s, first_s = snapshot_of([WHOLE], {}, near=0).pending_jobs, Brought(), 0.0, 0.0
    for at, (wait_s, stage_s) in enumerate(guessed):
        guess = (job, at + wait_s, at, stage_s)
        if brought.is_due(guess, at):
            assert wait_s <= LEAD * stage_s + 1e-9
            brought.bring(guess, at)
            first_s = first_s or stage_s
            total_s += stage_s
    assert total_s <= 2 * first_s
