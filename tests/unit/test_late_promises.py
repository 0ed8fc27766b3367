"""A promise whose moment has come while somebody is still there: it is kept a moment later, not given up."""

from __future__ import annotations

import attrs
import pytest

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, Reserve, RunningJob
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_engine_backfill.conservative import LATE_S, Conservative

ALL = PartitionName("all")
NOW_S = 1000.0
SHAPE = Shape(ALL, node_count=1, cpus=4, memory_bytes=0)


def a_snapshot(node_count, **changes):
    """One node is held by a job that should have ended now; the first in the queue was promised this moment there."""
    nodes = [Node(NodeName(f"n{number}"), 4, 1 << 33) for number in range(node_count)]
    columns = FakeColumns.of_idle(nodes)
    for number in range(node_count):
        columns.take(number, SHAPE)
    running = [RunningJob(JobId(1), 0, SHAPE, (0,), NOW_S)]
    running += [RunningJob(JobId(90 + number), 0, SHAPE, (number,), NOW_S + 900.0) for number in range(1, node_count)]
    pending = [PendingJob(JobId(2), 1, SHAPE, 100.0, 0, 1.0), PendingJob(JobId(3), 1, SHAPE, 50.0, 0, 2.0)]
    partitions = {ALL: Partition(ALL, tuple(node.name for node in nodes))}
    promised = (Reserve(JobId(2), NOW_S, (0,)), Reserve(JobId(3), NOW_S + 100.0, (0,)))
    given = FakeSnapshot(NOW_S, 1, columns, partitions, tuple(pending), tuple(running), promised)
    return attrs.evolve(given, **changes)


@pytest.mark.parametrize("node_count", [1, 2])
@pytest.mark.parametrize("has_released", [True, False])
def test_it_keeps_its_place_and_nobody_behind_it_moves(node_count, has_released):
    plan = Conservative().plan(a_snapshot(node_count, has_released=has_released))
    starts_s = {reserve.job_id: reserve.start_time_s for reserve in plan.reserves}
    assert NOW_S < starts_s[2] <= NOW_S + LATE_S
    assert starts_s[3] == NOW_S + 100.0
    assert plan.memo is None, "how long its job runs is not how long it is held"


def test_when_who_was_late_has_gone_it_starts_and_who_follows_is_late_by_as_much():
    late = a_snapshot(1)
    held = Conservative().plan(late).reserves
    later_s = NOW_S + 0.5
    columns = FakeColumns.of_idle(late.columns.nodes)
    gone = attrs.evolve(late, now_s=later_s, columns=columns, running_jobs=(), promised=held)
    plan = Conservative().plan(gone)
    assert [start.job_id for start in plan.starts] == [2]
    assert [reserve.start_time_s for reserve in plan.reserves] == [NOW_S + 100.0]
    columns.take(0, SHAPE)
    running = (RunningJob(JobId(2), 0, SHAPE, (0,), later_s + 100.0),)
    rest = attrs.evolve(gone, running_jobs=running, pending_jobs=gone.pending_jobs[1:], promised=plan.reserves)
    for has_released in (True, False):
        after = Conservative().plan(attrs.evolve(rest, has_released=has_released))
        assert [(each.job_id, each.start_time_s) for each in after.reserves] == [(3, later_s + 100.0)]


def test_one_that_would_have_to_wait_long_is_promised_another_start():
    running = (RunningJob(JobId(1), 0, SHAPE, (0,), NOW_S + 30.0),)
    plan = Conservative().plan(a_snapshot(1, running_jobs=running, has_released=False))
    assert {each.job_id: each.start_time_s for each in plan.reserves} == {2: NOW_S + 150.0, 3: NOW_S + 100.0}
