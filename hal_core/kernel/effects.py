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
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import attrs
import trio

from hal_core.errors import HalError, PluginError, Refused, Unavailable
from hal_core.failpoints import reach
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.executor_runs import ExecutorRun
from hal_core.kernel.providers import Providers
from hal_core.kernel.step_watch import EXECUTOR_ALLOWANCE_S, Charge
from hal_core.kernel.walls import passes, told
from hal_core.models.dataset import Brought, Dataset
from hal_core.models.effect import (
    BringAhead,
    CancelOrder,
    CancelPart,
    Effect,
    Forget,
    Keep,
    KeepOrder,
    Launch,
    LaunchOrder,
    Stage,
    SuspendOrder,
    SuspendPart,
)
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
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.planes import Executor, LocalityProvider, Report, StoreExecutor, SuspendExecutor

logger = logging.getLogger("hal.effects")
BYTES_MAX: Final = 2**53
FORGET_EVERY_S: Final = 0.1
AGAIN_S: Final = 1.0
"""So soon orders that failed are sent again; then twice as long each time."""
AGAIN_WITHIN_S: Final = 15.0
ORDERS_S_MAX: Final = 300.0
"""An executor that has not sent a node's orders by then never will."""


Routed = Callable[[NodeName, Sequence[Dataset]], AbstractContextManager[Sequence[Dataset]]]
"""While datasets are brought to a node: the same with the replicas that the node is to read, in that order."""


def as_they_are(_: NodeName, datasets: Sequence[Dataset]) -> AbstractContextManager[Sequence[Dataset]]:
    return nullcontext(datasets)


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
        self._executors = executors
        self._executor_name_of = executor_name_of
        self._routed = routed
        self._conducts = conducts or Conducts(time.time)
        self._providers = Providers(localities, self._conducts)
        self._executor_charges = {name: Charge(EXECUTOR_ALLOWANCE_S) for name in executors}
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
            for name, executor in self._executors.items():
                run = ExecutorRun(name, executor, self._executor_charges[name], self._conducts)
                await nursery.start(run.run, _reporting_as(name, report, self._executor_name_of))
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
                    self._nursery.start_soon(self._keep, node, order)
                case BringAhead():
                    self._nursery.start_soon(self._bring_ahead, effect)
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
        name = self._executor_name_of(node)
        try:
            with trio.fail_after(ORDERS_S_MAX), self._executor_charges[name].calling():
                await _order(self._executors[name], node, taken)
        except BaseException as error:  # the wall around a plugin: its failure is said, what it lost is ordered again
            if passes(error):
                raise
            self._conducts.wrong("executor", name, told(error))
            logger.exception("executor %s failed to send orders to %s", name, node)
            return False
        return True

    async def _stage(self, effect: Stage) -> None:
        """Bring the inputs of one attempt to its nodes: what providers know one after the other, datasets to all nodes
        at once. Nothing is reported while a node is out of contact: it is ordered again when that reports."""
        message: Message
        moved = 0
        try:
            for text in effect.inputs:
                address = self._providers.address_of(text, effect.working_directory)
                moved += await self._staged(address, effect.nodes)
            brought = await self._bring(effect)
            message = StagingDone(
                effect.key,
                moved + sum(each.bytes_moved for each in brought),
                sum(each.bytes_saved for each in brought),
                sum(each.bytes_moved - each.bytes_lent for each in brought),
                sum(each.read_s for each in brought),
            )
        except Unavailable as error:
            logger.info("staging of %s waits for its nodes: %s", effect.key, error)
            return
        except HalError as error:
            message = StagingFailed(effect.key, str(error))
        except BaseException as error:  # the wall around a plugin
            if passes(error):
                raise
            logger.exception("staging of %s failed", effect.key)
            message = StagingFailed(effect.key, f"the locality provider failed: {told(error)}")
        assert self._report is not None
        await self._report(message)

    async def _staged(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """By the first provider that recognises it: bytes that it moved."""
        name, provider = self._providers.provider(dataset)
        try:
            with self._providers.charges[name].calling():
                moved = await provider.stage(dataset, nodes)
            if type(moved) is not int or not 0 <= moved <= BYTES_MAX:  # it is journalled, and must be read back
                raise PluginError(f"`stage` returned {type(moved).__name__} {moved!r:.100}, not a number of bytes")
            return moved
        except BaseException as error:
            if not passes(error) and not isinstance(error, Unavailable):
                self._conducts.wrong("locality", name, str(error) if isinstance(error, HalError) else told(error))
            raise

    async def _bring(self, effect: Stage) -> list[Brought]:
        """What came to each node."""
        if effect.unknown:
            gone = ", ".join(effect.unknown)
            raise Refused(f"not in the catalogue any more: {gone}; see `hal data ls`")
        brought: list[Brought] = []
        failures: list[HalError] = []

        async def bring(node: NodeName, scope: trio.CancelScope) -> None:
            try:
                with self._routed(node, effect.datasets) as datasets:
                    brought.append(await self._brought(node, effect.key, datasets))
            except HalError as error:  # not through the nursery, which would wrap it
                failures.append(error)
                scope.cancel()

        if effect.datasets:
            async with trio.open_nursery() as nursery:
                for node in effect.nodes:
                    nursery.start_soon(bring, node, nursery.cancel_scope)
        if failures:
            raise failures[0]
        return brought

    async def _bring_ahead(self, effect: BringAhead) -> None:
        try:
            with self._routed(effect.node, effect.datasets) as datasets:
                brought = await self._brought(effect.node, effect.key, datasets)
            logger.info(
                "%d bytes were brought ahead to %s for job %d", brought.bytes_moved, effect.node, effect.key.job_id
            )
        except HalError as error:
            logger.info("not brought ahead to %s for job %d: %s", effect.node, effect.key.job_id, error)
        except BaseException as error:  # the wall around a plugin: the job brings it itself
            if passes(error):
                raise
            self._conducts.wrong("executor", self._executor_name_of(effect.node), told(error))
            logger.exception("bringing ahead to %s failed", effect.node)

    async def _brought(self, node: NodeName, key: AttemptKey, datasets: Sequence[Dataset]) -> Brought:
        store = self._store_of(node)
        with self._executor_charges[self._executor_name_of(node)].calling():
            return await store.bring(node, key, datasets)

    async def _keep(self, node: NodeName, order: KeepOrder) -> None:
        try:
            store = self._store_of(node)
            with self._executor_charges[self._executor_name_of(node)].calling():
                await store.keep(node, order)
        except BaseException as error:  # the wall around a plugin: the node is told again when it reports
            if passes(error):
                raise
            self._conducts.wrong("executor", self._executor_name_of(node), told(error))
            logger.exception("the store of %s could not be told what to keep", node)

    def _store_of(self, node: NodeName) -> StoreExecutor:
        name = self._executor_name_of(node)
        executor = self._executors[name]
        if not isinstance(executor, StoreExecutor):
            raise Refused(f"nodes of executor {name} have no store for datasets, and the job was placed on {node}")
        return executor


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


_OF_NODE: Final = (NodeSilent, NodeLost, NodeLeaving, PartsChanged, CopiesReported, OutputsMade)


def _reporting_as(executor: str, report: Report, executor_name_of: Callable[[NodeName], str]) -> Report:
    """What an executor reports, with its own name on the nodes: whether they are its own is the core's to decide, which
    refuses them. What it says of another's nodes besides is dropped: that an agent which was refused is silent, too."""
    others: set[NodeName] = set()

    async def told(message: Message) -> None:
        if isinstance(message, NodeReported):
            message = attrs.evolve(message, node=attrs.evolve(message.node, executor=executor))
        elif isinstance(message, _OF_NODE) and (owner := _owner(message.node)) not in (executor, ""):
            if message.node not in others:
                others.add(message.node)
                logger.warning("executor %s speaks of node %s of executor %s: dropped", executor, message.node, owner)
            await trio.lowlevel.checkpoint()
            return
        await report(message)

    def _owner(node: NodeName) -> str:
        """Empty if the configuration does not know the node: the core says what becomes of that."""
        try:
            return executor_name_of(node)
        except KeyError:
            return ""

    return told
