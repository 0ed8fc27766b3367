"""The contract of an executor that can suspend attempts, as a check to run against any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from hal_core.models.effect import LaunchOrder, SuspendOrder
from hal_core.models.message import Message, NodeReported, PartsChanged, PartStatus
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.planes import Executor, SuspendExecutor
from hal_core.testing.check_planes import PATIENCE_S

LOOK_S: Final = 0.01


async def check_suspend_executor(
    executor: Executor, node: NodeName, order: LaunchOrder, tell: Callable[[], None], is_still: Callable[[], bool]
) -> None:
    """`node` is a node of the executor. What `order` launches ends soon after it was told to, and not before;
    `is_still` says whether all of its first attempt stands still."""
    assert isinstance(executor, SuspendExecutor)
    parts: dict[AttemptKey, PartStatus] = {}
    nodes: set[NodeName] = set()
    more = trio.Event()

    async def report(message: Message) -> None:
        nonlocal more
        if isinstance(message, NodeReported):
            nodes.add(message.node.name)
        elif isinstance(message, PartsChanged):
            parts.update((part.key, part) for part in message.parts)
        more.set()
        more = trio.Event()

    async def ended(key: AttemptKey) -> None:
        while key not in parts or parts[key].end is None:
            await more.wait()

    second = attrs.evolve(order, key=order.key._replace(attempt=2))
    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE_S):
            await nursery.start(executor.run, report)
            while node not in nodes:
                await more.wait()
            await executor.suspend(node, [SuspendOrder(order.key)])  # it has not begun: nothing happens
            await executor.launch(node, [order])
            while order.key not in parts:
                await more.wait()
            await executor.suspend(node, [SuspendOrder(order.key), SuspendOrder(order.key)])
            while not is_still():  # noqa: ASYNC110 - only the executor's own side knows, and it tells nobody
                await trio.sleep(LOOK_S)
            tell()
            await executor.launch(node, [second])
            await ended(second.key)
            assert parts[order.key].end is None, "it ended, and should have stood still"
            await executor.suspend(node, [SuspendOrder(order.key, does_resume=True)])
            await ended(order.key)
            await executor.suspend(node, [SuspendOrder(order.key)])  # it is over: nothing happens
            await executor.forget(node, [order.key, second.key])
        nursery.cancel_scope.cancel()
