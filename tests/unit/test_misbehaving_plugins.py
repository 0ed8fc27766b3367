"""Plugins that raise, hang, return garbage or eat cancellation: the kernel goes on, and no job is lost.

Items 95 to 99 and 106 of the list of faults; what is wrong at loading is in test_plugins.py, predictors in
test_predicting.py, and the conformance kit (tests/conformance) finds such plugins before they are installed.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hal_core.errors import PluginError
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.effects import Effects
from hal_core.kernel.loop import ENGINE_PAUSE_S_MAX, Kernel
from hal_core.kernel.observers import Observers
from hal_core.kernel.shell import Shell
from hal_core.kernel.walls import passes
from hal_core.models.event import Event, JobResumed, JobSuspended
from hal_core.models.job import End, EndKind, JobId, JobState
from hal_core.models.message import (
    DefineCluster,
    NodeLeaving,
    NodeReported,
    NodeSilent,
    PartsChanged,
    PartStatus,
    Submit,
)
from hal_core.models.node import Cluster, NodeName, Partition, PartitionName
from hal_core.models.placement import AttemptKey
from hal_core.models.plan import Choice, Plan, Preempt, Reserve, Snapshot, Start
from hal_core.models.policy import PreemptMode
from hal_core.planes import Engine, Observer, Report
from hal_core.rules.core import Core
from hal_core.rules.plan_check import checked_plan
from hal_core.testing import FakeEngine, FakeExecutor
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.preempting import Preempting
from tests.support.core_world import World
from tests.support.memory_journal import MemoryJournal
from tests.unit.test_kernel_loop import CLUSTER, NODES, Rig, running, submission

WORST = (ValueError("bug"), SystemExit(3), RecursionError(), MemoryError(), AssertionError("mine"), GeneratorExit())
FAULT_COUNT = 4
"""So often each fault comes before the plugin behaves."""


@attrs.define
class Faulty:
    """An engine that does something else instead at first."""

    fault: Callable[[Snapshot], Any]
    left: int = FAULT_COUNT
    good: FakeEngine = attrs.Factory(FakeEngine)

    def plan(self, snapshot: Snapshot) -> Plan:
        if self.left:
            self.left -= 1
            made: Plan = self.fault(snapshot)
            return made
        return self.good.plan(snapshot)


def raising(error: BaseException) -> Callable[[Snapshot], Any]:
    def fault(_: Snapshot) -> Any:
        raise error

    return fault


def first_job(snapshot: Snapshot) -> JobId:
    return next((job.job_id for job in snapshot.pending), JobId(1))


GARBAGE: dict[str, Callable[[Snapshot], Any]] = {
    "nothing": lambda _: None,
    "text": lambda _: "start everything",
    "a generator": lambda snapshot: (Start(first_job(snapshot), (0,)) for _ in range(3)),
    "a plan of a generator": lambda snapshot: Plan(starts=(Start(JobId(1), (0,)) for _ in range(3))),  # type: ignore[arg-type]
    "starts that are text": lambda _: Plan(starts=("job 1",)),  # type: ignore[arg-type]
    "a node by name": lambda snapshot: Plan(starts=(Start(first_job(snapshot), ("n1",)),)),  # type: ignore[arg-type]
    "a negative node": lambda snapshot: Plan(starts=(Start(first_job(snapshot), (-1,)),)),
    "a node that is not": lambda snapshot: Plan(starts=(Start(first_job(snapshot), (10**6,)),)),
    "the same node twice": lambda snapshot: Plan(starts=(Start(first_job(snapshot), (0, 0)),)),
    "the same job a thousand times": lambda snapshot: Plan(starts=(Start(first_job(snapshot), (0,)),) * 1000),
    "no elements": lambda snapshot: Plan(starts=(Start(first_job(snapshot), (0,), -5),)),
    "a job that is not": lambda _: Plan(starts=(Start(JobId(10**9), (0,)),)),
    "a job that cannot be one": lambda _: Plan(starts=(Start([], (0,)),)),  # type: ignore[arg-type]
    "a promise for never": lambda snapshot: Plan(reserves=(Reserve(first_job(snapshot), math.nan, (0,)),)),
    "a promise on a node beyond all numbers": lambda snapshot: Plan(
        reserves=(Reserve(first_job(snapshot), 9e9, (2**64,)),)
    ),
    "a promise beyond all times": lambda snapshot: Plan(reserves=(Reserve(first_job(snapshot), 10**30, (0,)),)),
    "no time to be asked again": lambda _: Plan(wake_s=math.nan),
    "victims that are not": lambda snapshot: Plan(preempts=(Preempt(first_job(snapshot), ((JobId(77), 0),)),)),
    "a choice for some time": lambda snapshot: Plan(choices=(Choice(first_job(snapshot), 0, "soon", math.inf),)),  # type: ignore[arg-type]
    "grants that are text": lambda _: Plan(grants=("job 1",)),  # type: ignore[arg-type]
    "waiting jobs without end": lambda _: Plan(waiting=itertools.repeat(None)),  # type: ignore[arg-type]
    "a choice among none": lambda snapshot: Plan(choices=(Choice(first_job(snapshot), 99, 1.0, math.inf),)),
}


class FaultyExecutor(FakeExecutor):
    """It reports something else at first, or brings it."""

    def __init__(self, fault: object) -> None:
        super().__init__(NODES, lambda _: (1.0, End(EndKind.EXITED, exit_code=0)))
        self.fault = fault
        self.left = FAULT_COUNT

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        if self.left:
            self.left -= 1
            task_status.started()
            garbage: Any = self.fault
            await report(garbage)
        await super().run(report, task_status=task_status)


N1 = NODES[0].name
STARTED = PartStatus(AttemptKey(JobId(1), 0, 1), 1.0)
REPORTED: dict[str, object] = {
    "nothing": None,
    "text": "n1 is up",
    "a message of people": Submit(()),
    "a class": NodeSilent,
    "a node by itself": NODES[0],
    "a node without a name": NodeSilent(None),  # type: ignore[arg-type]
    "a name that cannot be written": NodeSilent(NodeName("\udc80")),
    "no boot": NodeReported(NODES[0], None),  # type: ignore[arg-type]
    "a node with half a CPU": NodeReported(attrs.evolve(NODES[0], cpu_count=0.5), "boot"),
    "parts in a list": PartsChanged(N1, [STARTED]),  # type: ignore[arg-type]
    "parts without end": PartsChanged(N1, itertools.repeat(STARTED)),  # type: ignore[arg-type]
    "an end that never was": PartsChanged(N1, (attrs.evolve(STARTED, end_time_s=math.nan),)),
    "an end in words": PartsChanged(N1, (attrs.evolve(STARTED, end="well"),)),
    "an exit code beyond all numbers": PartsChanged(
        N1, (attrs.evolve(STARTED, end=End(EndKind.EXITED, exit_code=2**64)),)
    ),
    "notice in words": NodeLeaving(N1, "spot", "soon"),  # type: ignore[arg-type]
}


async def run_with(
    engine: Engine | None = None,
    observer: Observer | None = None,
    deadline_s: float = 1.0,
    executor: FakeExecutor | None = None,
) -> Rig:
    """A kernel with this plugin, in which ten jobs run to their ends; with an observer, one more after the other until
    it is switched off. Each job is submitted by itself, so that the engine is asked at least ten times: a plan of which
    nothing holds is as good as an empty one, upon which it is asked again when something happens."""
    journal = MemoryJournal()
    executor = executor or FakeExecutor(NODES, lambda _: (1.0, End(EndKind.EXITED, exit_code=0)))
    conducts = Conducts(trio.current_time)
    shell = Shell(
        journal=journal,
        conducts=conducts,
        effects=Effects({"metal": executor}, lambda _: "metal", {}, conducts=conducts),
        observers=Observers({} if observer is None else {"tried": observer}, deadline_s, conducts),
        now_s=trio.current_time,
        rebuild=journal.rebuild,
    )
    rig = Rig(Kernel(Core(engine or FakeEngine(), "tried"), shell), journal, executor, conducts=conducts)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.kernel.run, CLUSTER)
        for job_id in [(await rig.submit(submission(f"job {number}")))[0] for number in range(10)]:
            assert await rig.ended(job_id) is JobState.COMPLETED
        while observer is not None and "tried" not in rig.kernel.state.disabled_observers:
            (job_id,) = await rig.submit()
            assert await rig.ended(job_id) is JobState.COMPLETED
        await rig.kernel.settled()
        nursery.cancel_scope.cancel()
    assert journal.rebuild().dump() == rig.kernel.state.dump(), "the journal tells of another state"
    return rig


@pytest.mark.parametrize("error", WORST, ids=lambda error: type(error).__name__)
async def test_an_engine_that_raises_starts_nothing_and_is_asked_again(
    error: BaseException, autojump_clock: trio.testing.MockClock
) -> None:
    rig = await run_with(Faulty(raising(error)))
    assert rig.kernel.meter.plan_failure_count == FAULT_COUNT
    assert "hal_plan_failures_total 4\n" in rig.kernel.meter.render().decode()
    conduct = rig.conducts.of("engine", "tried")
    assert conduct.failure_count == FAULT_COUNT
    assert conduct.last_problem == repr(error)
    assert conduct.call_count == rig.kernel.meter.plans.count


@pytest.mark.parametrize("name", GARBAGE)
async def test_an_engine_that_returns_garbage_does_no_harm(name: str, autojump_clock: trio.testing.MockClock) -> None:
    await run_with(Faulty(GARBAGE[name]))


@pytest.mark.parametrize("name", REPORTED)
async def test_an_executor_that_reports_garbage_is_begun_again(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    rig = await run_with(executor=FaultyExecutor(REPORTED[name]))
    assert rig.conducts.of("executor", "metal").last_problem.startswith("executor 'metal' reported ")


class BreaksWhenItLends:
    """An engine that fails for ever after the pass in which it has proposed to suspend somebody."""

    def __init__(self) -> None:
        self._engine = Preempting(Easy())
        self._is_broken = False

    def plan(self, snapshot: Snapshot) -> Plan:
        assert not self._is_broken, "bug"
        plan = self._engine.plan(snapshot)
        self._is_broken = any(each.node_numbers for each in plan.preempts)
        return plan


async def test_who_stands_still_goes_on_although_the_engine_fails(autojump_clock: trio.testing.MockClock) -> None:
    names = tuple(node.name for node in NODES[:1])
    low = Partition(PartitionName("low"), names, preempt_mode=PreemptMode.SUSPEND)
    high = Partition(PartitionName("high"), names, priority=1, preempts=(low.name,))
    executor = FakeExecutor(NODES[:1], lambda _: (100.0, End(EndKind.EXITED, exit_code=0)))
    async with running(executor=executor) as rig:
        await rig.kernel.ask(DefineCluster(Cluster("test", NODES[:1], (low, high))))
        rig.kernel._core.engine = BreaksWhenItLends()
        jobs = [
            (await rig.submit(submission(partition=each.name, cpus_per_task=4, walltime_s=1000.0)))[0]
            for each in (low, high)
        ]
        with trio.fail_after(3600.0):
            for job_id in reversed(jobs):
                assert await rig.ended(job_id) is JobState.COMPLETED
        assert rig.kernel.meter.plan_failure_count
        assert sum(isinstance(event, JobSuspended | JobResumed) for event in rig.journal.events) == 2


def test_a_pause_between_passes_grows_to_a_bound() -> None:
    core, journal = World().join("n0").core, MemoryJournal()
    effects, observers = Effects({}, lambda _: "", {}), Observers({})
    shell = Shell(journal=journal, effects=effects, observers=observers, now_s=float, rebuild=journal.rebuild)
    kernel = Kernel(core, shell)
    pauses = []

    async def fail() -> None:
        for _ in range(12):
            kernel._engine_failed(ValueError("bug"))
            pauses.append(kernel._engine_pause_s)

    trio.run(fail)
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses[-1] == ENGINE_PAUSE_S_MAX


class Worst:
    """An observer that raises whatever it is given."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        raise self._error


class Eater:
    """An observer that goes on when it is cancelled, for long: by catching it, or by a shield."""

    def __init__(self, is_shielded: bool) -> None:
        self._is_shielded = is_shielded
        self.eaten_count = 0
        self.call_count = 0

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        self.call_count += 1
        if self._is_shielded:
            with trio.CancelScope(shield=True):
                await trio.sleep(3600.0)
        while self.eaten_count < 500:
            try:
                await trio.sleep(3600.0)
            except trio.Cancelled:
                self.eaten_count += 1


@pytest.mark.parametrize("error", WORST, ids=lambda error: type(error).__name__)
async def test_an_observer_may_raise_whatever_it_likes(
    error: BaseException, autojump_clock: trio.testing.MockClock
) -> None:
    rig = await run_with(observer=Worst(error))
    assert type(error).__name__ in rig.kernel.state.disabled_observers["tried"]
    assert rig.conducts.of("observer", "tried").last_problem == rig.kernel.state.disabled_observers["tried"]


class Nameless(Exception):
    """An error that cannot even be shown."""

    def __repr__(self) -> str:
        raise SystemExit(4)


async def test_an_error_that_cannot_be_shown_is_named(autojump_clock: trio.testing.MockClock) -> None:
    rig = await run_with(Faulty(raising(Nameless())))
    assert rig.conducts.of("engine", "tried").last_problem == "Nameless, which cannot be shown"


class Spinner:
    """An observer that computes and never waits; before that it waited, as one should."""

    def __init__(self) -> None:
        self.step_count = 0

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        for _ in range(3):
            await trio.sleep(0.01)
        while True:
            self.step_count += 1


class Blocker:
    """An observer that holds up everybody and does not even compute."""

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        threading.Event().wait(3600.0)


async def test_an_observer_that_blocks_is_broken_off(autojump_clock: trio.testing.MockClock) -> None:
    rig = await run_with(observer=Blocker(), deadline_s=0.04)
    assert "held up HAL for more than 0.02 s" in rig.kernel.state.disabled_observers["tried"]


async def test_an_observer_that_computes_without_end_is_broken_off(autojump_clock: trio.testing.MockClock) -> None:
    spinner = Spinner()
    rig = await run_with(observer=spinner, deadline_s=0.1)
    assert spinner.step_count > 0
    assert "held up HAL for more than 0.05 s" in rig.kernel.state.disabled_observers["tried"]


@pytest.mark.parametrize("is_shielded", [True, False], ids=["by a shield", "by catching it"])
async def test_an_observer_that_eats_its_cancellation_is_left_behind(
    is_shielded: bool, autojump_clock: trio.testing.MockClock
) -> None:
    eater = Eater(is_shielded)
    rig = await run_with(observer=eater)
    assert eater.call_count == 1
    assert "took longer than 1 s" in rig.kernel.state.disabled_observers["tried"]


def test_what_a_wall_lets_through_is_not_the_plugins() -> None:
    assert passes(KeyboardInterrupt())
    assert passes(BaseExceptionGroup("both", [ValueError(), KeyboardInterrupt()]))
    assert not any(map(passes, WORST))
    assert not passes(ExceptionGroup("two", [ValueError(), OSError()]))


class OwnPlan(Plan):
    """A class of the engine's: looking at what is derived from ours may call the engine, which may raise or block."""


class OwnStart(Start):
    """The same."""


class OwnTuple(tuple[Any, ...]):
    """The same."""


@pytest.mark.parametrize(
    "plan",
    [
        OwnPlan(),
        Plan(starts=OwnTuple()),
        Plan(starts=(OwnStart(JobId(1), (0,)),)),
        Plan(starts=(Start(JobId(1), OwnTuple((0,))),)),
        Plan(preempts=(Preempt(JobId(1), OwnTuple()),)),
        Plan(waiting=OwnTuple()),
    ],
    ids=["plan", "starts", "start", "nodes", "victims", "waiting"],
)
def test_nothing_of_the_engines_own_is_looked_at_outside_of_its_wall(plan: Plan) -> None:
    with pytest.raises(PluginError):
        checked_plan(plan, "tried")


anything = st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.binary())
"""Of no use as a part of a plan, or of use by chance."""


@settings(deadline=None)
@given(anything, anything, anything, st.lists(anything).map(tuple))
def test_whatever_is_in_a_plan_it_is_refused_or_can_be_looked_at(job, number, count, others) -> None:
    """Never anything but a PluginError, and what passes does no harm to the state."""
    world = World().join("n0")
    job_id = world.submit()
    for plan in (
        Plan(starts=(Start(job, (number,), count),)),
        Plan(starts=(Start(job_id, others),)),
        Plan(reserves=(Reserve(job_id, number, (count,)),)),
        Plan(preempts=(Preempt(job, ((number, count),)),)),
        Plan(starts=others, depth=number, wake_s=count),
        job,
    ):
        try:
            good = checked_plan(plan, "tried")
        except PluginError:
            continue
        world._take(world.core.accept(good, world.now_s))
    world.check_at_end()
