"""The lanes of the kernel: orders for one node keep their order, however slow the executor is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.effects import FORGET_EVERY_S, Effects
from hal_core.models.effect import CancelOrder, CancelPart, Forget, Launch, LaunchOrder, Stage
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import Message, StagingDone
from hal_core.models.node import NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share
from hal_core.planes import Replica, Report

N1 = NodeName("n1")
SPEC = JobSpec("job", PartitionName("all"), command=("true",))


def key(number: int) -> AttemptKey:
    return AttemptKey(JobId(number), 0, 1)


def launch(number: int) -> Launch:
    return Launch(N1, LaunchOrder(key(number), Owner("ada", 1, 1), SPEC, Share(N1, 1, "0"), ((N1, 1),)))


@attrs.define
class SlowExecutor:
    """Each call takes a second; `fails` names the verb that raises."""

    said: list[tuple[str, int]] = attrs.Factory(list)
    fails: str = ""

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
        if verb == self.fails:
            raise OSError("the network is down")


@attrs.define
class Prompt(SlowExecutor):
    """Takes no time. `calls` has what was said together."""

    calls: list[tuple[str, list[int]]] = attrs.Factory(list)

    async def _say(self, verb: str, keys: Sequence[AttemptKey]) -> None:
        self.calls.append((verb, [each.job_id for each in keys]))
        await trio.lowlevel.checkpoint()


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


async def test_a_failing_executor_does_not_stop_the_lane(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    executor, conducts = SlowExecutor(fails="launch"), Conducts(trio.current_time)
    async with running(executor, conducts) as effects:
        effects.start([launch(1)])
        await trio.sleep(2)
        effects.start([Forget(N1, key(1))])
        await trio.sleep(2)
    assert executor.said == [("launch", 1), ("forget", 1)]
    assert "its orders are repeated" in caplog.text
    assert conducts.of("executor", "metal").last_problem == "OSError('the network is down')"


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
