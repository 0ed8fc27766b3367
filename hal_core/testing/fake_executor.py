"""An executor without processes: attempts take as long as they are told, on whatever clock trio has.

With trio's autojump clock a day of jobs passes in milliseconds. Faults are methods: a test silences a node, loses it,
or lets it report again. Orders reach a node only while it is in contact, as with a real agent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import trio

from hal_core.models.effect import CancelOrder, LaunchOrder, SuspendOrder
from hal_core.models.job import End, EndKind
from hal_core.models.message import NodeLost, NodeReported, NodeSilent, PartsChanged, PartStatus
from hal_core.models.node import Node, NodeName
from hal_core.models.placement import AttemptKey
from hal_core.planes import Report

Behaviour = Callable[[LaunchOrder], tuple[float, End]]
"""(seconds that this part runs, how it then ends), by order."""


def succeeds_at_once(_: LaunchOrder) -> tuple[float, End]:
    return 0.0, End(EndKind.EXITED, exit_code=0)


@attrs.define
class _FakeNode:
    node: Node
    boot_id: str
    is_in_contact: bool = True
    epoch: int = 0
    parts: dict[AttemptKey, PartStatus] = attrs.field(factory=dict)
    scopes: dict[AttemptKey, trio.CancelScope] = attrs.field(factory=dict)
    still: dict[AttemptKey, trio.Event] = attrs.field(factory=dict)
    """What is suspended, until it goes on."""


class FakeExecutor:
    """Executor (planes.py) over nodes in memory. `launch_count` counts real starts: at most 1 each."""

    def __init__(self, nodes: Sequence[Node], behaviour: Behaviour = succeeds_at_once) -> None:
        self._nodes = {node.name: _FakeNode(node, f"boot-{node.name}") for node in nodes}
        self._behaviour = behaviour
        self._nursery: trio.Nursery | None = None
        self._report: Report | None = None
        self.launch_count: dict[tuple[NodeName, AttemptKey], int] = {}

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled; every node reports first."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._report = nursery, report
            for name in self._nodes:
                await self.reconnect(name)
            task_status.started()
            await trio.sleep_forever()

    async def launch(self, node: NodeName, orders: Sequence[LaunchOrder]) -> None:
        assert self._nursery is not None, "launch before run"
        on = self._nodes[node]
        if not on.is_in_contact:
            return
        for order in orders:
            if order.epoch < on.epoch:
                continue
            on.epoch = order.epoch
            if order.key in on.parts:
                self._nursery.start_soon(self._send, on, order.key)
            else:
                self.launch_count[node, order.key] = self.launch_count.get((node, order.key), 0) + 1
                on.parts[order.key] = PartStatus(order.key, start_time_s=trio.current_time())
                on.scopes[order.key] = trio.CancelScope()
                self._nursery.start_soon(self._run_part, on, order)

    async def cancel(self, node: NodeName, orders: Sequence[CancelOrder]) -> None:
        on = self._nodes[node]
        for order in orders if on.is_in_contact else ():
            if order.key in on.scopes:
                on.scopes[order.key].cancel()
            elif self._nursery is not None:
                never = PartStatus(order.key, None, trio.current_time(), End(EndKind.CANCELLED))
                on.parts.setdefault(order.key, never)
                self._nursery.start_soon(self._send, on, order.key)

    async def suspend(self, node: NodeName, orders: Sequence[SuspendOrder]) -> None:
        """As planes.SuspendExecutor. What stands still ends only when it goes on, or is cancelled."""
        on = self._nodes[node]
        for order in orders if on.is_in_contact else ():
            if order.does_resume:
                on.still.pop(order.key, trio.Event()).set()
            elif order.key in on.scopes:
                on.still.setdefault(order.key, trio.Event())

    async def forget(self, node: NodeName, keys: Sequence[AttemptKey]) -> None:
        on = self._nodes[node]
        for key in keys if on.is_in_contact else ():
            if key not in on.scopes:
                on.parts.pop(key, None)

    def records(self, node: NodeName) -> tuple[PartStatus, ...]:
        """What the node still has records of."""
        return tuple(self._nodes[node].parts.values())

    async def silence(self, node: NodeName) -> None:
        """Contact is lost; what runs there runs on."""
        self._nodes[node].is_in_contact = False
        await self._tell(NodeSilent(node))

    async def reconnect(self, node: NodeName) -> None:
        """The node reports with all that it has records of."""
        on = self._nodes[node]
        on.is_in_contact = True
        await self._tell(NodeReported(on.node, on.boot_id, tuple(on.parts.values())))

    async def crash(self, node: NodeName) -> None:
        """The machine loses power: what ran is gone, without an end. It comes back by `reconnect`, newly booted."""
        on = self._nodes[node]
        on.is_in_contact = False
        for scope in on.scopes.values():
            scope.cancel()
        on.scopes.clear()
        on.parts.clear()
        on.boot_id += "+"
        await self._tell(NodeLost(node, "power lost"))

    async def _run_part(self, on: _FakeNode, order: LaunchOrder) -> None:
        key, scope = order.key, on.scopes[order.key]
        await self._send(on, key)
        limit_s = math.inf if order.spec.walltime_s is None else order.spec.walltime_s
        runtime_s, end = self._behaviour(order)
        with scope:
            await trio.sleep(min(runtime_s, limit_s))
            while (still := on.still.get(key)) is not None:
                await still.wait()
        if on.scopes.get(key) is not scope:
            return  # the machine crashed
        if scope.cancelled_caught:
            end = End(EndKind.CANCELLED)
        elif runtime_s > limit_s:
            end = End(EndKind.TIME_LIMIT)
        del on.scopes[key]
        on.still.pop(key, None)
        on.parts[key] = attrs.evolve(on.parts[key], end_time_s=trio.current_time(), end=end)
        await self._send(on, key)

    async def _send(self, on: _FakeNode, key: AttemptKey) -> None:
        if on.is_in_contact and key in on.parts:
            await self._tell(PartsChanged(on.node.name, (on.parts[key],)))

    async def _tell(self, message: NodeReported | NodeSilent | NodeLost | PartsChanged) -> None:
        assert self._report is not None, "a report before run"
        await self._report(message)
