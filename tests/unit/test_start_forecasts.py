"""Likely starts in the daemon: by the plan at first, corrected by the starts that were seen, and never invented."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from hal_core.kernel.start_forecasts import EVERY_S, StartForecasts
from hal_core.models.event import JobEnded, JobPlaced, JobSubmitted
from hal_core.models.job import End, EndKind, JobId, JobSpec
from hal_core.models.message import DefineCluster, NodeReported, Submission, Submit
from hal_core.models.prediction import Prediction
from hal_core.rules.core import Core
from hal_core.rules.excerpt import excerpt, excerpt_of, record_of
from hal_core.rules.state import State
from hal_engine_backfill.easy import Easy
from tests.support.core_world import ADA, make_cluster, make_spec

NOW_S = 1000.0
RUNS, WAITS = JobId(1), JobId(2)


class World:
    """A node that a job of at most ten minutes fills; another waits for it."""

    def __init__(self) -> None:
        self.core = Core(Easy(), "easy")
        cluster = make_cluster(1)
        self.spec = make_spec(cpus_per_task=cluster.nodes[0].cpu_count, walltime_s=600.0)
        self.core.receive(DefineCluster(cluster), NOW_S)
        self.core.receive(NodeReported(cluster.nodes[0], "boot"), NOW_S)
        self.core.receive(Submit((Submission("", ADA, self.spec), Submission("", ADA, self.spec))), NOW_S)
        self.core.plan(NOW_S)
        self.now_s = NOW_S
        self.starts = StartForecasts(lambda: self.core.state, trio.lowlevel.checkpoint, lambda: self.now_s)

    async def came(self, job_id: JobId) -> None:
        await self.starts.record(1, [JobSubmitted(NOW_S, job_id, "", ADA, self.spec)])


async def test_before_any_start_was_seen_it_is_the_plan() -> None:
    world = World()
    found = await world.starts.likely(excerpt(world.core.state, WAITS, NOW_S), NOW_S)
    assert found is not None
    assert found.checked_count == 0
    assert NOW_S <= found.p50_time_s <= found.p90_time_s <= NOW_S + 600.0, "any share of the limit is as likely"


async def test_a_start_that_was_seen_corrects_what_is_said_next() -> None:
    world = World()
    part = excerpt(world.core.state, WAITS, NOW_S)
    before = await world.starts.likely(part, NOW_S)
    await world.came(WAITS)
    await world.starts.learn()
    await world.starts.record(2, [JobPlaced(NOW_S + 50_000.0, WAITS, ((0, 1),), 1, ())])
    after = await world.starts.likely(part, NOW_S)
    assert before is not None
    assert after is not None
    assert after.checked_count == 1
    assert after.p90_time_s > NOW_S + 60.0


async def test_who_runs_already_or_never_starts_teaches_nothing() -> None:
    world = World()
    await world.came(RUNS)
    await world.starts.learn()
    await world.came(WAITS)
    await world.starts.learn()
    cancelled = JobEnded(NOW_S, WAITS, ((0, 1),), 1, End(EndKind.CANCELLED), None, NOW_S)
    await world.starts.record(2, [cancelled, JobPlaced(NOW_S, RUNS, ((0, 1),), 1, ())])
    found = await world.starts.likely(excerpt(world.core.state, WAITS, NOW_S), NOW_S)
    assert found is not None
    assert found.checked_count == 0


async def test_what_cannot_be_said_is_not_said() -> None:
    world = World()
    state = world.core.state
    held = JobSpec("held", world.spec.partition, command=("true",), is_held=True, walltime_s=60.0)
    assert await world.starts.likely(excerpt_of(state, record_of(state, ADA, held, NOW_S), NOW_S), NOW_S) is None
    wide = make_spec(node_count=2, task_count=2, walltime_s=60.0)
    wide_record = record_of(state, ADA, wide, NOW_S, Prediction(1.0, 2.0, 3.0))
    assert await world.starts.likely(excerpt_of(state, wide_record, NOW_S), NOW_S) is None


async def test_a_forecast_that_fails_is_told_and_the_next_is_made(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    world, asked = World(), []

    def state() -> State:
        asked.append(trio.current_time())
        raise LookupError("two rows of one element")

    starts = StartForecasts(state, trio.lowlevel.checkpoint, lambda: NOW_S)
    for _ in range(2):
        await starts.record(1, [JobSubmitted(NOW_S, WAITS, "", ADA, world.spec)])
    with trio.move_on_after(2.5 * EVERY_S):
        await starts.run()
    assert len(asked) == 2
    assert [record.name for record in caplog.records] == ["hal.forecasts"] * 2
