"""Passes in a thread: what they return and raise, and that one that does not end holds up nobody.

And the kernel with such passes: what comes in meanwhile, and what becomes of a plan for a state that is no more.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from hal_core.errors import PluginError, Unavailable
from hal_core.kernel.effects import Effects
from hal_core.kernel.loop import Kernel
from hal_core.kernel.observers import Observers
from hal_core.kernel.pass_runner import LEFT_BEHIND_MAX, SHORT_COUNT, PassRunner
from hal_core.kernel.shell import Shell
from hal_core.models.job import End, EndKind, JobState
from hal_core.models.plan import Plan, Snapshot
from hal_core.rules.core import Core
from hal_core.rules.snapshot import PassOverError
from hal_core.testing import FakeEngine, FakeExecutor
from tests.support.memory_journal import MemoryJournal
from tests.unit.test_kernel_loop import CLUSTER, NODES, Rig

LONG_S = 60.0
"""Nothing here takes so long, unless it fails."""
PLAN = Plan(depth=7)


def compute() -> Plan:
    while True:
        pass


def swallow() -> Plan:
    """Goes on after it was broken off once."""
    try:
        return compute()
    except trio.TooSlowError:
        return PLAN


async def test_a_pass_returns_what_it_returns_and_raises_what_it_raises() -> None:
    passes = PassRunner()
    here = threading.get_ident()
    elsewhere: list[int] = []

    def plan() -> Plan:
        elsewhere.append(threading.get_ident())
        return PLAN

    assert await passes.run(plan) is PLAN
    assert elsewhere
    assert elsewhere != [here]
    for error, kind in ((ValueError("bug"), ValueError), (SystemExit(3), SystemExit), (MemoryError(), MemoryError)):
        with pytest.raises(kind):
            await passes.run(raising(error))
    with pytest.raises(PluginError, match="raised KeyboardInterrupt"):
        await passes.run(raising(KeyboardInterrupt()))


def raising(error: BaseException) -> Callable[[], Plan]:
    def fault() -> Plan:
        raise error

    return fault


async def test_the_loop_goes_on_while_a_pass_is_computed() -> None:
    go = threading.Event()

    def plan() -> Plan:
        assert go.wait(LONG_S)
        return PLAN

    async with trio.open_nursery() as nursery:
        nursery.start_soon(PassRunner().run, plan)
        await trio.lowlevel.checkpoint()
        go.set()


@pytest.mark.parametrize("endless", [compute, swallow])
async def test_what_computes_for_too_long_is_broken_off_and_ends(endless: Callable[[], Plan]) -> None:
    passes = PassRunner(deadline_s=0.05, grace_s=LONG_S)
    with pytest.raises(trio.TooSlowError, match=r"a pass took longer than 0\.05 s"):
        await passes.run(endless)
    assert not passes._left_behind
    assert await PassRunner().run(lambda: PLAN) is PLAN, "the thread that was broken off does what comes next"


async def test_what_blocks_outside_of_python_is_left_behind_and_there_may_be_few_of_those() -> None:
    passes, stuck = PassRunner(deadline_s=0.02, grace_s=0.02), threading.Event()

    def block() -> Plan:
        stuck.wait(LONG_S)  # As in a C library: a lock is not woken by an exception.
        return PLAN

    for _ in range(LEFT_BEHIND_MAX):
        with pytest.raises(trio.TooSlowError, match="a pass took longer"):
            await passes.run(block)
    with pytest.raises(trio.TooSlowError, match="3 passes that were broken off have not ended yet"):
        await passes.run(lambda: PLAN)
    left = list(passes._left_behind)
    stuck.set()
    with trio.fail_after(LONG_S):
        for each in left:
            await each.done.wait()
    assert await passes.run(lambda: PLAN) is PLAN


async def trusted() -> PassRunner:
    """One that computes the next pass on the loop."""
    passes = PassRunner()
    for _ in range(SHORT_COUNT):
        assert await passes.run(lambda: PLAN) is PLAN
    return passes


async def test_after_many_short_passes_the_next_is_computed_on_the_loop() -> None:
    passes, where = await trusted(), []

    def plan() -> Plan:
        where.append(threading.get_ident())
        return PLAN

    assert await passes.run(plan) is PLAN
    assert where == [threading.get_ident()]
    with pytest.raises(ValueError, match="bug"):
        await passes.run(raising(ValueError("bug")))
    assert await passes.run(plan) is PLAN
    assert where[1] != threading.get_ident(), "what raised is asked in a thread next"


def block_for_long() -> None:
    threading.Event().wait(LONG_S)


def compute_for_long() -> None:
    with suppress(Exception):
        compute()


@pytest.mark.parametrize("holds_up", [compute_for_long, block_for_long])
async def test_the_loop_waits_for_no_pass_that_is_long_after_all(holds_up: Callable[[], None]) -> None:
    passes, where, handler = await trusted(), [], signal.getsignal(signal.SIGALRM)

    def plan() -> Plan:
        where.append(threading.get_ident())
        if len(where) == 1:
            holds_up()
        return PLAN

    assert await passes.run(plan) is PLAN
    assert where[0] == threading.get_ident()
    assert where[1] != threading.get_ident(), "the same pass, in a thread"
    assert signal.getsignal(signal.SIGALRM) is handler


async def test_who_is_cancelled_does_not_wait_for_the_pass() -> None:
    passes = PassRunner()
    with trio.move_on_after(0.05) as scope:
        await passes.run(compute)
    assert scope.cancelled_caught
    (left,) = passes._left_behind
    with trio.fail_after(LONG_S):
        await left.done.wait()


def test_what_ends_after_the_loop_has_ended_harms_nobody() -> None:
    go = threading.Event()

    def block() -> Plan:
        go.wait(LONG_S)
        return PLAN

    async def leave() -> PassRunner:
        passes = PassRunner()
        with trio.move_on_after(0.05):
            await passes.run(block)
        return passes

    (left,) = trio.run(leave)._left_behind
    go.set()
    deadline_s = time.monotonic() + LONG_S
    while left.result is None:
        assert time.monotonic() < deadline_s


class Gated(FakeEngine):
    """Plans when it may, once there is a job."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def plan(self, snapshot: Snapshot) -> Plan:
        if any(snapshot.pending()):
            self.has_begun.set()
            assert self.may_go_on.wait(LONG_S)
        return super().plan(snapshot)


@asynccontextmanager
async def running(engine: FakeEngine, runner: PassRunner | None = None) -> AsyncIterator[Rig]:
    journal = MemoryJournal()
    executor = FakeExecutor(NODES, lambda _: (0.0, End(EndKind.EXITED, exit_code=0)))
    shell = Shell(
        journal=journal,
        effects=Effects({"metal": executor}, lambda _: "metal", {}),
        observers=Observers({}),
        now_s=trio.current_time,
        rebuild=journal.rebuild,
        run_pass=(runner or PassRunner()).run,
    )
    rig = Rig(Kernel(Core(engine, "gated"), shell), journal, executor)
    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(rig.kernel.run, CLUSTER)
            yield rig
            await rig.kernel.settled()
            nursery.cancel_scope.cancel()
    assert journal.rebuild().dump() == rig.kernel.state.dump()


async def test_what_comes_in_during_a_pass_waits_for_its_end_and_is_not_lost() -> None:
    engine, answers = Gated(), []

    async def submit() -> None:
        answers.extend(await rig.submit())

    async with running(engine) as rig, trio.open_nursery() as nursery:
        await submit()
        await trio.to_thread.run_sync(engine.has_begun.wait)
        assert answers, "the job that is planned for is on disk and answered, whatever the engine does"
        nursery.start_soon(submit)
        await trio.testing.wait_all_tasks_blocked()
        assert len(answers) == 1
        assert len(rig.kernel.state.jobs) == 1, "nothing changes what is planned with"
        with trio.move_on_after(0) as at_once:
            await rig.kernel.rested()
        assert at_once.cancelled_caught
        engine.may_go_on.set()
        await rig.kernel.rested()
        while len(answers) < 2:
            await rig.kernel.wait_beyond(rig.kernel.durable_sequence)
        for job_id in answers:
            assert await rig.ended(job_id) is JobState.COMPLETED


async def test_a_plan_for_a_state_that_never_reached_the_disk_is_dropped() -> None:
    engine = Gated()

    async def submit_in_vain() -> None:
        with pytest.raises(Unavailable, match="disk full"):
            await rig.submit()

    async with running(engine) as rig:
        rig.journal.retry_after_s = 0.0
        rig.journal.refuses = "disk full"
        rig.journal.gate.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit_in_vain)
            await trio.to_thread.run_sync(engine.has_begun.wait)
            rig.journal.gate.set()
        assert not rig.kernel.state.jobs
        rig.journal.refuses = None
        engine.may_go_on.set()
        await rig.kernel.rested()
        (job_id,) = await rig.submit()
        assert await rig.ended(job_id) is JobState.COMPLETED


class Stubborn(FakeEngine):
    """Goes on when its pass is broken off, once it may, and looks at what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.is_left, self.may_go_on, self.is_done = threading.Event(), threading.Event(), threading.Event()
        self.found: list[str] = []

    def plan(self, snapshot: Snapshot) -> Plan:
        if any(snapshot.pending()) and not self.is_left.is_set():
            self.is_left.set()
            while not self.may_go_on.is_set():
                with suppress(BaseException):
                    self.may_go_on.wait(LONG_S)
            for look in (lambda: list(snapshot.pending()), snapshot.room, lambda: snapshot.stage_in(("dataset:x",))):
                try:
                    look()
                except PassOverError as error:
                    self.found.append(str(error))
            self.is_done.set()
        return super().plan(snapshot)


async def test_a_pass_that_was_left_behind_is_shown_nothing_more() -> None:
    """It would put the queue in order while somebody else does, and remember in the state what is not so any more."""
    engine = Stubborn()
    async with running(engine, PassRunner(deadline_s=0.05, grace_s=0.05)) as rig:
        (job_id,) = await rig.submit()
        await trio.to_thread.run_sync(engine.is_left.wait, LONG_S)
        assert await rig.ended(job_id) is JobState.COMPLETED, "it is planned anew meanwhile"
        engine.may_go_on.set()
        await trio.to_thread.run_sync(engine.is_done.wait, LONG_S)
    assert engine.found == ["the pass is over; what it was shown is not so any more"] * 3
