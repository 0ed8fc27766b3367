"""When waiting jobs would start without more nodes: in bounded time, and never sooner than they could."""

from __future__ import annotations

import math

from hypothesis import given, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob
from hal_core.rules.pool_starts import ENDS_MAX, fewer_ends, starts_in_turn
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot

ALL = PartitionName("all")
WHOLE = Shape(ALL, 1, 4, 0)
NOW_S = 10.0


def running_until(ends_s: list[float]) -> tuple[RunningJob, ...]:
    """One job on each node, in the order of their ends."""
    return tuple(RunningJob(JobId(at), 0, WHOLE, (at,), end_s) for at, end_s in enumerate(sorted(ends_s)))


def starts(node_count: int, job_count: int) -> list[float]:
    """Every node is busy, and one of them comes free each minute; the jobs that wait take one each, for ever."""
    nodes = [Node(NodeName(f"n{number}"), 4, 0) for number in range(node_count)]
    columns = FakeColumns.of_idle(nodes)
    for number in range(node_count):
        columns.take(number, WHOLE)
    running = running_until([NOW_S + 60.0 * (at + 1) for at in range(node_count)])
    pending = tuple(PendingJob(JobId(10_000 + at), 1, WHOLE, 1e9, 0, 0.0) for at in range(job_count))
    partitions = {ALL: Partition(ALL, tuple(node.name for node in nodes), is_default=True)}
    return starts_in_turn(FakeSnapshot(NOW_S, 1, columns, partitions, pending, running), pending)


@given(st.lists(st.floats(0.0, 1e6) | st.just(math.inf), max_size=400))
def test_few_ends_are_told_apart_and_none_comes_too_early(ends_s: list[float]) -> None:
    before = running_until(ends_s)
    after = list(fewer_ends(before))
    assert [row.job_id for row in after] == [row.job_id for row in before if row.expected_end_s < math.inf]
    assert len({row.expected_end_s for row in after}) <= ENDS_MAX
    known_s = {row.expected_end_s for row in before}
    for was, row in zip(before, after, strict=False):
        assert row.expected_end_s >= was.expected_end_s
        assert row.expected_end_s in known_s
    times_s = [row.expected_end_s for row in after]
    assert times_s == sorted(times_s)


def test_on_few_nodes_each_job_starts_when_one_comes_free() -> None:
    assert starts(3, 3) == [NOW_S + 60.0, NOW_S + 120.0, NOW_S + 180.0]


def test_on_many_nodes_a_job_is_expected_a_little_late_at_most() -> None:
    """640 ends are 64 moments: every tenth."""
    found = starts(10 * ENDS_MAX, 20)
    assert found == [NOW_S + 600.0] * 10 + [NOW_S + 1200.0] * 10
