"""The lanes of the kernel: orders for one node keep their order, however slow the executor is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from hal_core.errors import PluginError
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.effects import FORGET_EVERY_S, ORDERS_S_MAX, Effects
from hal_core.kernel.executor_runs import LATE_S
from hal_core.kernel.step_watch import EXECUTOR_ALLOWANCE_S, watching
from hal_core.models.dataset import DataFile, Dataset
from hal_core.models.effect import (
    BringAhead,
    CancelOrder,
    CancelPart,
    Forget,
    Keep,
    KeepOrder,
    Launch,
    LaunchOrder,
    Stage,
)
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import (
    CopiesReported,
    Message,
    NodeLeaving,
    NodeLost,
    NodeReported,
    NodeSilent,
    OutputsMade,
    PartsChanged,
    StagingDone,
    StagingFailed,
)
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share
from hal_core.planes import Executor, Replica, Report

N1 = NodeName("n1")
SPEC = JobSpec("job", PartitionName("all"), command=("true",))


def key(number: int) -> AttemptKey:
    return AttemptKey(JobId(number), 0, 1)


def launch(number: int) -> Launch:
    return Launch(N1, LaunchOrder(key(number), Owner("ada", 1, 1), SPEC, Share(N1, 1, "0"), ((N1, 1),)))


@attrs.define
class SlowExecutor:
    """Each call takes a second; `fails` names the verb that raises, so many times."""

    said: list[tuple[str, int]] = attrs.Factory(list)
    fails: str = ""
    fails_count: int = 1000

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def launch(self, node: NodeName, orders: Sequence[LaunchOrder]) -> None:
        await self._say("launch", [order.key for order in orders])

    async def cancel(self, node: NodeName, orders: Sequence[CancelOrder]) -> None:
        await self._say("cancel", [order.key for order in orders])

    async def forget(self, node: NodeName, keys: Sequence[AttemptKey]) -> None:
        await self._say("forget", keys)

    async def _say(self, verb: str, keys: Sequence[AttemptKey]) -> None:
        await trio.sleep(1)
        self.said += [(verb, each.job_id) for each in keys]
        if verb == self.fails and self.fails_count:
            self.fails_count -= 1
            raise OSError("the network is down")


@attrs.define
class Prompt(SlowExecutor):
    """Takes no time. `calls` has what was said together."""

    calls: list[tuple[str, list[int]]] = attrs.Factory(list)

    async def _say(self, verb: str, keys: Sequence[AttemptKey]) -> None:
        self.calls.append((verb, [each.job_id for each in keys]))
        await trio.lowlevel.checkpoint()


@attrs.define
class Reporting(SlowExecutor):
    """Reports a node, which it takes for somebody else's."""

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        await report(NodeReported(Node(N1, 4, 0, executor="metal"), "boot"))
        await super().run(report, task_status=task_status)


async def test_what_an_executor_reports_has_its_name_whatever_it_says_itself():
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    effects = Effects({"north": Reporting()}, lambda _: "north", {})
    async with trio.open_nursery() as nursery:
        await nursery.start(effects.run, 1, hear)
        nursery.cancel_scope.cancel()
    assert [each.node.executor for each in heard if isinstance(each, NodeReported)] == ["north"]


@attrs.define
class Loud(SlowExecutor):
    """Reports all that is said of a node, of one that is its own and of one that is not."""

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        for node in (N1, NodeName("n2"), N1):
            for message in said_of(node):
                await report(message)
        await super().run(report, task_status=task_status)


def said_of(node: NodeName) -> list[Message]:
    return [
        NodeSilent(node),
        NodeLost(node, "gone"),
        NodeLeaving(node, "rent", 1.0),
        PartsChanged(node, ()),
        CopiesReported(node, ()),
        OutputsMade(node, key(1), ()),
    ]


async def test_what_an_executor_says_of_a_node_of_another_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    """Its silence would give up everything on a node that is there."""
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    effects = Effects({"metal": Loud()}, {N1: "slurm", "n2": "metal"}.__getitem__, {})
    async with trio.open_nursery() as nursery:
        await nursery.start(effects.run, 1, hear)
        nursery.cancel_scope.cancel()
    assert heard == said_of(NodeName("n2"))
    assert caplog.text.count("of executor slurm") == 1


async def unheard(message: Message) -> None:
    raise AssertionError(f"nobody reports anything, but: {message}")


@asynccontextmanager
async def running(executor: SlowExecutor, conducts: Conducts | None = None) -> AsyncIterator[Effects]:
    effects = Effects({"metal": executor}, lambda _: "metal", {}, conducts=conducts)
    async with trio.open_nursery() as nursery:
        await nursery.start(effects.run, 1, unheard)
        yield effects
        nursery.cancel_scope.cancel()


async def test_nothing_overtakes_an_order_for_the_same_attempt(autojump_clock: trio.testing.MockClock) -> None:
    """A launch that came after its own forget would start an attempt that has ended."""
    executor = SlowExecutor()
    async with running(executor) as effects:
        effects.start([launch(1)])
        await trio.sleep(0.5)
        effects.start([launch(2)])
        effects.start([CancelPart(N1, CancelOrder(key(2), 0.0)), Forget(N1, key(2))])
        await trio.sleep(10)
    assert executor.said == [("launch", 1), ("launch", 2), ("cancel", 2), ("forget", 2)]


async def test_what_gathers_is_sent_in_batches(autojump_clock: trio.testing.MockClock) -> None:
    executor = SlowExecutor()
    async with running(executor) as effects:
        effects.start([launch(1)])
        await trio.sleep(0.5)
        for number in range(2, 100):
            effects.start([launch(number), Forget(N1, key(number - 1))])
        await trio.sleep(3)
    assert len(executor.said) == 99 + 98


async def test_orders_that_failed_are_sent_again_and_nothing_overtakes_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = SlowExecutor(fails="launch", fails_count=2)
    async with running(executor) as effects:
        effects.start([launch(1)])
        await trio.sleep(0.5)
        effects.start([Forget(N1, key(1)), launch(2)])
        await trio.sleep(60)
    assert executor.said == [("launch", 1)] * 3 + [("launch", 2), ("forget", 1)]


async def test_what_was_sent_is_not_sent_again_when_what_came_after_it_failed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A launch that is repeated after its forget would start twice."""
    executor = SlowExecutor(fails="forget", fails_count=1)
    async with running(executor) as effects:
        effects.start([launch(1), Forget(N1, key(1))])
        await trio.sleep(60)
    assert executor.said == [("launch", 1), ("forget", 1), ("forget", 1)]


async def test_a_failing_executor_does_not_stop_the_lane(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    executor, conducts = SlowExecutor(fails="launch"), Conducts(trio.current_time)
    async with running(executor, conducts) as effects:
        effects.start([launch(1)])
        await trio.sleep(30)
        effects.start([Forget(N1, key(1))])
        await trio.sleep(2)
    assert executor.said == [("launch", 1)] * 4 + [("forget", 1)]
    assert "orders for n1 are repeated when the node reports" in caplog.text
    assert conducts.of("executor", "metal").last_problem == "OSError('the network is down')"


@attrs.define
class Rough(Prompt):
    """Holds up the loop when it is told something for the first time, as long as it can; `fails` names by what."""

    async def _say(self, verb: str, keys: Sequence[AttemptKey]) -> None:
        fails, self.fails = self.fails, ""
        if fails == "blocks":
            threading.Event().wait(60)
        while fails == "computes":
            pass
        if fails == "hangs":
            await trio.sleep_forever()
        await super()._say(verb, keys)


@pytest.mark.parametrize(
    ("fails", "problem"),
    [("blocks", "held up HAL"), ("computes", "held up HAL"), ("hangs", "TooSlowError")],
)
async def test_an_executor_that_never_comes_back_is_broken_off_and_given_what_comes_next(
    fails: str, problem: str, autojump_clock: trio.testing.MockClock
) -> None:
    executor, conducts = Rough(fails=fails), Conducts(trio.current_time)
    with watching():
        async with running(executor, conducts) as effects:
            effects.start([launch(1)])
            await trio.sleep(2 * ORDERS_S_MAX)
            effects.start([launch(2)])
            await trio.testing.wait_all_tasks_blocked()
    again = [("launch", [1])] if fails != "hangs" else []
    assert executor.calls == [*again, ("launch", [2])]
    assert problem in conducts.of("executor", "metal").last_problem


class Site:
    """A locality that holds up the loop in one of its calls, or answers what is no number of bytes."""

    def __init__(self, bad: str, moved: Any = None) -> None:
        self._bad = bad
        self._moved = moved

    def recognises(self, dataset: str) -> bool:
        if self._bad == "recognises":
            threading.Event().wait(60)
        return True

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        return [() for _ in datasets]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        if self._bad == "stage":
            threading.Event().wait(60)
        moved: int = self._moved
        return moved

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise AssertionError(f"nobody wants {dataset} to go")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        return 0.0, 0.0


@pytest.mark.parametrize("bad", ["recognises", "stage"])
async def test_a_locality_that_blocks_is_broken_off_and_the_job_is_told(bad: str) -> None:
    assert "held up HAL" in (await staged_by(Site(bad))).detail


@pytest.mark.parametrize("moved", [None, True, 1.5, math.nan, -1, 2**60, "all", ["garbage", object()]])
async def test_a_number_of_bytes_that_is_none_never_reaches_the_journal(moved: object) -> None:
    assert "not a number of bytes" in (await staged_by(Site("", moved))).detail


async def staged_by(site: Site) -> StagingFailed:
    messages: list[Message] = []
    reported = trio.Event()

    async def report(message: Message) -> None:
        messages.append(message)
        reported.set()

    effects = Effects({}, lambda _: "metal", {"site": site})
    with watching(), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(effects.run, 1, report)
            effects.start([Stage(key(1), ("data",), "/", (N1,))])
            await reported.wait()
            nursery.cancel_scope.cancel()
    (failed,) = messages
    assert isinstance(failed, StagingFailed)
    return failed


@attrs.define
class Frail(SlowExecutor):
    """Its `run` fails so many times."""

    left: int = 3
    begun_s: list[float] = attrs.Factory(list)
    starts: bool = True

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        self.begun_s.append(trio.current_time())
        if self.starts:
            task_status.started()
            await trio.sleep(10)
        if self.left:
            self.left -= 1
            raise SystemExit(7)
        await trio.sleep_forever()


async def test_orders_for_a_node_whose_executor_is_not_configured_any_more_end_nobody(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody takes a site out of the configuration while jobs run there, and cancels them afterwards."""
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    gone, executor = NodeName("gone"), Prompt()
    effects = Effects({"metal": executor}, {N1: "metal", gone: "slurm"}.__getitem__, {})
    dataset = Dataset("genome", "1", (DataFile("a", 1, "00"),), ())
    async with trio.open_nursery() as nursery:
        await nursery.start(effects.run, 1, hear)
        effects.start(
            [
                CancelPart(gone, CancelOrder(key(1), 0.0)),
                Stage(key(1), (), "/", (gone,), (dataset,)),
                BringAhead(gone, key(1), (dataset,)),
                Keep(gone, KeepOrder()),
                launch(2),
            ]
        )
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert executor.calls == [("launch", [2])]
    assert heard == []
    assert "node gone is of executor 'slurm', which is not in the configuration any more" in caplog.text


async def test_an_executor_whose_run_fails_is_begun_again_and_the_daemon_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor, conducts = Frail(), Conducts(trio.current_time)
    async with running(executor, conducts) as effects:
        await trio.sleep(100)
        effects.start([launch(1)])
        await trio.sleep(2)
    assert [round(each - executor.begun_s[0]) for each in executor.begun_s] == [0, 11, 23, 37]
    assert conducts.of("executor", "metal").last_problem == "SystemExit(7)"
    assert executor.said == [("launch", 1)]


@attrs.define
class Tardy(SlowExecutor):
    """Computes for longer than it may in one step, before it has begun."""

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        end_s = time.thread_time() + EXECUTOR_ALLOWANCE_S + 0.1
        while time.thread_time() < end_s:
            pass
        await super().run(report, task_status=task_status)


async def test_one_that_takes_its_time_to_begin_is_not_broken_off() -> None:
    """There is nobody yet whom it could hold up, and the daemon would end."""
    executor, conducts = Tardy(), Conducts(trio.current_time)
    with watching():
        async with running(executor, conducts):
            pass
    assert conducts.of("executor", "metal").last_problem == ""


async def test_one_that_cannot_even_begin_ends_the_daemon_which_says_why() -> None:
    assert await problem_at_begin(Frail(starts=False)) == "executor 'metal' could not begin: SystemExit(7)"


async def problem_at_begin(executor: Executor) -> str:
    with pytest.raises(BaseExceptionGroup) as raised:
        async with running(executor):
            pytest.fail("it has begun")
    error: BaseException = raised.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, PluginError), "the daemon ends with a text, not with a traceback"
    return str(error)


@attrs.define
class Waiting(SlowExecutor):
    """Waits for something before it says that it has begun."""

    wait_s: float = 0.0

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(self.wait_s)
        await super().run(report, task_status=task_status)


async def test_while_one_does_not_begin_it_is_said_for_whom_the_daemon_waits(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    executor = Waiting(wait_s=2.5 * LATE_S)
    async with running(executor) as effects:
        effects.start([launch(1)])
        await trio.sleep(2 * LATE_S)
    said = [each.getMessage() for each in caplog.records]
    assert said == [f"executor metal has not begun after {after_s} s; HAL waits for it" for after_s in (30, 60)]
    assert executor.said == [("launch", 1)]


async def test_forgets_go_together_and_hold_up_no_launch(autojump_clock: trio.testing.MockClock) -> None:
    executor = Prompt()
    async with running(executor) as effects:
        for number in range(1, 5):
            effects.start([Forget(N1, key(number))])
            await trio.sleep(FORGET_EVERY_S / 8)
        effects.start([launch(9)])
        await trio.sleep(2 * FORGET_EVERY_S)
        effects.start([Forget(N1, key(5))])
        await trio.testing.wait_all_tasks_blocked()
    assert executor.calls == [("forget", [1]), ("launch", [9]), ("forget", [2, 3, 4]), ("forget", [5])]


async def test_a_forget_that_waited_comes_after_a_launch_that_was_ordered_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    executor = Prompt()
    async with running(executor) as effects:
        effects.start([Forget(N1, key(1))])
        await trio.testing.wait_all_tasks_blocked()
        effects.start([launch(2), Forget(N1, key(2))])
        await trio.sleep(2 * FORGET_EVERY_S)
    assert executor.calls == [("forget", [1]), ("launch", [2]), ("forget", [2])]


@attrs.define
class Shelf:
    """A provider whose datasets are named shelf:NAME, as those of `hal plugin new --plane locality` are."""

    brought: list[str] = attrs.Factory(list)

    def recognises(self, dataset: str) -> bool:
        return dataset.startswith(("shelf:", "/data/"))

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        raise AssertionError("nobody asks where")

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        self.brought.append(dataset)
        return 0

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise AssertionError("nobody takes it away")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        raise AssertionError("nobody asks what it costs")


async def test_what_a_provider_calls_its_own_is_no_path(autojump_clock: trio.testing.MockClock) -> None:
    shelf, is_told = Shelf(), trio.Event()
    effects = Effects({"metal": Prompt()}, lambda _: "metal", {"shelf": shelf})

    async def hear(message: Message) -> None:
        assert isinstance(message, StagingDone)
        is_told.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(effects.run, 1, hear)
        effects.start([Stage(key(1), ("shelf:a", "b", "/data/c"), "/data/here", (N1,))])
        with trio.fail_after(60):
            await is_told.wait()
        nursery.cancel_scope.cancel()
    assert shelf.brought == ["shelf:a", "/data/here/b", "/data/c"]
