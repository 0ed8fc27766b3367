"""Where waiting jobs are likely to start: what comes free soon, and how near it is to their inputs, together."""

from __future__ import annotations

from hal_core.models.job import JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob
from hal_core.models.staging import Tier, tiers_of
from hal_core.rules.likely_starts import JOBS_MAX, likely_starts
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
    columns = FakeColumns.of_idle(nodes, unavailable=list(ends_s))
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
