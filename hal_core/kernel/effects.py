"""Effects: carrying out, on the planes, what the journalled events call for. Each node has a lane of its own.

A lane works in rounds: it takes what has gathered while it was busy, and sends the suspensions of it, then the
launches, which may need the CPUs of what is suspended, then the cancels, then the forgets. What comes meanwhile waits
for the next round, so that nothing overtakes an order for the same
attempt: a launch that came after its forget would start again what has ended. Nobody waits for a forget, and each
costs the node a wake and a record on the wire: those of FORGET_EVERY_S go together. A slow node holds up nobody else.
Effects may be lost (node out of contact, daemon killed, executor that fails again and again): the core orders again
what is outstanding when the node reports.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import trio

from hal_core.errors import Refused, Unavailable
from hal_core.failpoints import reach
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.executor_reports import reporting_as
from hal_core.kernel.executor_runs import ExecutorRun, Walled
from hal_core.kernel.providers import Providers
from hal_core.kernel.staging import Routed, Staging, as_they_are
from hal_core.kernel.step_watch import EXECUTOR_ALLOWANCE_S, Charge
from hal_core.kernel.walls import passes, told
from hal_core.models.effect import (
    BringAhead,
    CancelOrder,
    CancelPart,
    Effect,
    Forget,
    Keep,
    Launch,
    LaunchOrder,
    Stage,
    SuspendOrder,
    SuspendPart,
)
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.planes import Executor, LocalityProvider, Report, StoreExecutor, SuspendExecutor

logger = logging.getLogger("hal.effects")
FORGET_EVERY_S: Final = 0.1
AGAIN_S: Final = 1.0
"""So soon orders that failed are sent again; then twice as long each time."""
AGAIN_WITHIN_S: Final = 15.0
ORDERS_S_MAX: Final = 300.0
"""An executor that has not sent a node's orders by then never will."""


def having_stores(executors: Mapping[str, Executor]) -> set[str]:
    """The names of those whose nodes have stores."""
    return {name for name, each in executors.items() if isinstance(each, StoreExecutor)}


def suspending(executors: Mapping[str, Executor]) -> set[str]:
    """The names of those that can suspend what they run."""
    return {name for name, each in executors.items() if isinstance(each, SuspendExecutor)}


@attrs.define
class _Round:
    """What waits for one node."""

    suspends: list[SuspendOrder] = attrs.Factory(list)
    launches: list[LaunchOrder] = attrs.Factory(list)
    cancels: list[CancelOrder] = attrs.Factory(list)
    forgets: list[AttemptKey] = attrs.Factory(list)

    def __bool__(self) -> bool:
        return bool(self.suspends or self.launches or self.cancels or self.forgets)


@attrs.define
class _Lane:
    waiting: _Round = attrs.Factory(_Round)
    is_busy: bool = False
    forgets_due_s: float = 0.0
    news: trio.Event = attrs.Factory(trio.Event)
    """Something came while the lane waited for that."""

    def take(self, now_s: float) -> _Round:
        """What to send now."""
        taken, self.waiting = self.waiting, _Round()
        if taken.forgets and now_s < self.forgets_due_s:
            self.waiting.forgets, taken.forgets = taken.forgets, []
        elif taken.forgets:
            self.forgets_due_s = now_s + FORGET_EVERY_S
        return taken


class Effects:
    """Starts effects. `executor_name_of` says which executor a node belongs to."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        executor_name_of: Callable[[NodeName], str],
        localities: Mapping[str, LocalityProvider],
        routed: Routed = as_they_are,
        *,
        conducts: Conducts | None = None,
    ) -> None:
        self._executor_name_of = executor_name_of
        self._conducts = conducts or Conducts(time.time)
        self._walled = {name: Walled(name, each, Charge(EXECUTOR_ALLOWANCE_S)) for name, each in executors.items()}
        self._staging = Staging(self._walled_of, Providers(localities, self._conducts), routed, self._conducts)
        self._lanes: dict[NodeName, _Lane] = {}
        self._epoch = 0
        self._report: Report | None = None
        self._nursery: trio.Nursery | None = None
        self._early: list[Effect] = []
        """Effects that came before `run`."""

    async def run(
        self, epoch: int, report: Report, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Own the effects' tasks, and the executors', until cancelled. Started when the executors take orders."""
        self._epoch, self._report = epoch, report
        async with trio.open_nursery() as nursery:
            for walled in self._walled.values():
                run = ExecutorRun(walled, self._conducts)
                await run.begin(nursery, reporting_as(walled.name, report, self._executor_name_of))
            self._nursery = nursery
            early, self._early = self._early, []
            self.start(early)
            task_status.started()
            await trio.sleep_forever()

    def start(self, effects: Sequence[Effect]) -> None:
        """Start the effects and return at once."""
        if self._nursery is None:
            self._early += effects
            return
        for effect in effects:
            match effect:
                case Launch(node=node, order=order):
                    self._waiting(node).launches.append(attrs.evolve(order, epoch=self._epoch))
                case SuspendPart(node=node, order=order):
                    self._waiting(node).suspends.append(order)
                case CancelPart(node=node, order=order):
                    self._waiting(node).cancels.append(order)
                case Forget(node=node, key=key):
                    self._waiting(node).forgets.append(key)
                case Stage():
                    self._nursery.start_soon(self._stage, effect)
                case Keep(node=node, order=order):
                    self._nursery.start_soon(self._staging.keep, node, order)
                case BringAhead():
                    self._nursery.start_soon(self._staging.bring_ahead, effect)
        for node in {effect.node for effect in effects if not isinstance(effect, Stage | Keep | BringAhead)}:
            lane = self._lanes[node]
            lane.news.set()
            if not lane.is_busy:
                lane.is_busy = True
                self._nursery.start_soon(self._serve, node, lane)

    def _waiting(self, node: NodeName) -> _Round:
        return self._lanes.setdefault(node, _Lane()).waiting

    async def _serve(self, node: NodeName, lane: _Lane) -> None:
        while lane.waiting:
            lane.news = trio.Event()
            if taken := lane.take(trio.current_time()):
                await self._deliver(node, taken)
            else:
                with trio.move_on_at(lane.forgets_due_s):
                    await lane.news.wait()
        lane.is_busy = False

    async def _deliver(self, node: NodeName, taken: _Round) -> None:
        """What failed is sent again soon, but not much later: by then an attempt might have been given up."""
        until_s, pause_s = trio.current_time() + AGAIN_WITHIN_S, AGAIN_S
        while not await self._is_sent(node, taken):
            if trio.current_time() + pause_s > until_s:
                logger.error("orders for %s are repeated when the node reports", node)
                break
            await trio.sleep(pause_s)
            pause_s *= 2

    async def _is_sent(self, node: NodeName, taken: _Round) -> bool:
        try:
            walled = self._walled_of(node)
        except Unavailable as error:
            logger.error("no orders are sent: %s", error)
            return False
        try:
            with trio.fail_after(ORDERS_S_MAX), walled.charge.calling():
                await _order(walled.executor, node, taken)
        except BaseException as error:  # the wall around a plugin: its failure is said, what it lost is ordered again
            if passes(error):
                raise
            self._conducts.wrong("executor", walled.name, told(error))
            logger.exception("executor %s failed to send orders to %s", walled.name, node)
            return False
        return True

    async def _stage(self, effect: Stage) -> None:
        assert self._report is not None
        if (outcome := await self._staging.stage(effect)) is not None:
            await self._report(outcome)

    def _walled_of(self, node: NodeName) -> Walled:
        """Raises Unavailable: what runs there was started with another configuration."""
        name = self._executor_name_of(node)
        if name not in self._walled:
            raise Unavailable(f"node {node} is of executor {name!r}, which is not in the configuration any more")
        return self._walled[name]


async def _order(executor: Executor, node: NodeName, taken: _Round) -> None:
    """What was sent is in `taken` no more: sent again after what follows it, a launch would start once more."""
    if taken.suspends:
        if not isinstance(executor, SuspendExecutor):
            raise Refused("it cannot suspend what runs on its nodes")
        await executor.suspend(node, taken.suspends)
        taken.suspends = []
    if taken.launches:
        reach("order.before_launch")
        await executor.launch(node, taken.launches)
        taken.launches = []
        reach("order.after_launch")
    if taken.cancels:
        reach("order.before_cancel")
        await executor.cancel(node, taken.cancels)
        taken.cancels = []
        reach("order.after_cancel")
    if taken.forgets:
        reach("order.before_forget")
        await executor.forget(node, taken.forgets)
        taken.forgets = []
        reach("order.after_forget")
