"""A trial with the truth as fate is what happens; and no policy that does harm is adopted, or stays.

The world of a trial is held against the quick replay, which is held against the whole core elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.job import JobId
from hal_core.models.plan import PendingJob, Plan, RunningJob, Snapshot
from hal_core.models.tuning import Bounds
from hal_core.planes import Engine
from hal_core.rules.excerpt import Asked, Excerpt
from hal_core.rules.foreseen_quota import NO_CLAIM
from hal_core.rules.trial import Span, waits
from hal_core.rules.tuning import Policies, Queue, tune
from hal_core.sim.expectations import CORRECTIONS, Expectations
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.trace import TraceJob
from hal_core.sim.tuned import Tuned, excerpt_of
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs

PROCESSORS = 16
ENGINES: dict[str, Callable[[], Engine]] = {
    "fcfs": Fcfs,
    "easy": Easy,
    "easy-sjbf": lambda: Easy(is_shortest_first=True),
    "conservative": Conservative,
    "hal": lambda: Expansion(60.0, 1e9),
}


@attrs.frozen
class Truth:
    """Fate as the trace has it; what ran already began at `started_s`."""

    jobs: Sequence[TraceJob]
    started_s: Sequence[float]

    def run_s(self, job: PendingJob) -> float:
        return self.jobs[job.job_id].run_s

    def left_s(self, job: RunningJob, now_s: float) -> float:
        return self.started_s[job.job_id] + self.jobs[job.job_id].run_s - now_s


class Stopping:
    """Plans with an engine; at its plan of that number it keeps what it saw."""

    def __init__(self, engine: Engine, at: int) -> None:
        self._engine = engine
        self._left = at
        self.seen: tuple[Excerpt, float] | None = None

    def plan(self, snapshot: Snapshot) -> Plan:
        if not self._left:
            self.seen = excerpt_of(snapshot), snapshot.now_s
        self._left -= 1
        return self._engine.plan(snapshot)


@st.composite
def some_jobs(draw: st.DrawFn) -> list[TraceJob]:
    """Sorted by submission; times are whole seconds."""
    rows = st.tuples(st.integers(0, 300), st.integers(1, 200), st.integers(0, 200), st.integers(1, PROCESSORS))
    found = sorted(draw(st.lists(rows, min_size=1, max_size=30)))
    return [
        TraceJob(number, float(submit_s), float(run_s), float(run_s + spare_s), processors, f"user{number % 3}")
        for number, (submit_s, run_s, spare_s, processors) in enumerate(found)
    ]


@given(policy=st.sampled_from(sorted(ENGINES)), jobs=some_jobs(), at=st.integers(0, 20), length_s=st.integers(1, 2000))
@settings(max_examples=50, deadline=None)
def test_a_trial_with_the_truth_as_fate_waits_as_the_replay_does(
    policy: str, jobs: list[TraceJob], at: int, length_s: int
) -> None:
    machine = Machine.pool(PROCESSORS)
    engine = Stopping(ENGINES[policy](), at)
    replay = Replay(engine, machine, jobs, Foresight(Expectations(), CORRECTIONS["request"]))
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    if engine.seen is None:
        return
    part, now_s = engine.seen
    until_s = now_s + length_s
    rows = [
        PendingJob(JobId(number), 1, machine.shape_of(job), job.limit_s, 0, job.submit_s)
        for number, job in enumerate(jobs)
        if now_s < job.submit_s < until_s
    ]
    arrivals = [Asked(row, (0, row.submit_time_s, row.job_id), 0, NO_CLAIM, 0.0) for row in rows]

    found = waits(part, ENGINES[policy](), Truth(jobs, replay.start_s), Span(now_s, until_s, arrivals))

    expected = {
        job_id: min(replay.start_s[job_id], until_s) - jobs[job_id].submit_s
        for job_id in [row.job_id for row in (*part.queue, *rows)]
    }
    assert {each.job_id: each.wait_s for each in found} == pytest.approx(expected)
    assert all(each.count == 1 for each in found)


# -- policies that do harm ---------------------------------------------------------------------------------------------


class Idle:
    """Starts nothing."""

    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan()


class OneAtATime:
    """Starts a job only on an idle machine."""

    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan() if any(True for _ in snapshot.running()) else Plan(Fcfs().plan(snapshot).starts[:1])


def user_of(job_id: JobId) -> str:
    return f"user{job_id % 3}"


@given(jobs=some_jobs(), at=st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_a_policy_that_starts_nothing_is_never_adopted(jobs: list[TraceJob], at: int) -> None:
    engine = Stopping(Easy(), at)
    replay = Replay(engine, Machine.pool(PROCESSORS), jobs, Foresight(Expectations(), CORRECTIONS["request"]))
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    if engine.seen is not None:
        part, now_s = engine.seen
        policies = Policies({"easy": Easy(), "idle": Idle()}, "easy", "easy")
        bounds = Bounds(gain_min=0.0, grace_s=0.0, horizon_s=1000.0, queue_min=1)
        assert tune(Queue(part, user_of, now_s, Random(0)), policies, bounds).policy == "easy"


BAD: dict[str, Callable[[], Engine]] = {"idle": Idle, "one-at-a-time": OneAtATime}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_policy_that_was_forced_on_a_replay_is_rolled_back_within_one_window(bad: str) -> None:
    jobs = [TraceJob(number, 10.0 * number, 600.0, 900.0, 4, user_of(JobId(number))) for number in range(60)]
    policies = Policies({"easy": Easy(), "bad": BAD[bad]()}, "easy", "bad")
    tuned = Tuned(policies, user_of, 300.0, Bounds())
    replay = Replay(tuned, Machine.pool(PROCESSORS), jobs, Foresight(Expectations(), CORRECTIONS["request"]))
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    assert [(each.before, each.verdict.policy) for each in tuned.changes] == [("bad", "easy")]
    assert tuned.changes[0].time_s <= 600.0
