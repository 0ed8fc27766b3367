"""The kernel: shell 1, on trio. One task decides, one writes; nothing is seen or acted upon before it is on disk.

The loop task takes all that waits in the inbox, decides and applies it, hands the events to the writer, and plans while
the writer syncs. The writer puts everything that was handed over into one transaction, and only then answers, tells the
observers and starts the effects. If an append fails, what was applied ahead of the disk is forgotten: the state is
rebuilt from the journal and the callers are told that HAL is unavailable.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import outcome
import trio

from hal_core.errors import HalError, Unavailable
from hal_core.failpoints import reach
from hal_core.kernel.cycle_meter import CycleMeter
from hal_core.kernel.shell import Journal, Shell
from hal_core.kernel.step_watch import watching
from hal_core.kernel.wall_clock import WallClock
from hal_core.kernel.walls import passes, told
from hal_core.models.effect import Effect
from hal_core.models.event import Event
from hal_core.models.message import Answer, ClockSet, DefineCluster, Message, NodeSilent, Tick
from hal_core.models.node import Cluster, NodeStatus
from hal_core.rules.core import Core, Decided
from hal_core.rules.state import State

logger = logging.getLogger("hal.kernel")

BACKLOG_MAX: Final = 20_000
"""Events handed to the writer and not yet on disk: beyond that the loop waits for the writer."""
CYCLE_MAX: Final = 1_000
"""Messages decided in one go, so that one cycle does not hold up the rest of the daemon for long."""
LOOK_S: Final = 30.0
"""So late it is noticed at most that somebody has set the clock, when nothing else happens."""
ENGINE_PAUSE_S_MIN, ENGINE_PAUSE_S_MAX = 1.0, 60.0


class _Item:
    """A message in the inbox, and where its answer goes."""

    __slots__ = ("answer", "done", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.done = trio.Event()
        self.answer: outcome.Outcome[Answer] | None = None

    def resolve(self, answer: outcome.Outcome[Answer]) -> None:
        self.answer = answer
        self.done.set()


@attrs.define
class _Batch:
    """What was decided and is not yet on disk."""

    events: list[Event] = attrs.Factory(list)
    effects: list[Effect] = attrs.Factory(list)
    answers: list[tuple[_Item, Answer]] = attrs.Factory(list)


class Kernel:
    """The running kernel. `state` may be ahead of the disk by one cycle: `settled` waits for the disk."""

    def __init__(self, core: Core, shell: Shell) -> None:
        self._core = core
        self._shell = shell
        self.durable_sequence = core.state.sequence
        self.problem = ""
        """Why nothing new is taken, or the empty string."""
        self._retry_time_s = 0.0
        """When the journal may be tried again, on trio's clock."""
        self._inbox: deque[_Item] = deque()
        self._inbox_filled = trio.Event()
        self._room = trio.Event()
        self._batch = _Batch()
        self._batch_filled = trio.Event()
        self._advanced = trio.Event()
        """Replaced whenever `durable_sequence` or `problem` changes."""
        self._clock_set_sequence: float = 0
        """The event that says so if the clock was set; infinity: it is to be said, perhaps again, for that was lost."""
        self._generation = 0
        """Counts rebuilds: what was applied before one and is not on disk never happened."""
        self._next_plan_time_s = 0.0
        self._engine_pause_s = 0.0
        """How long the engine was left alone after it failed last; 0: it works."""
        self._rested = trio.Event()
        """Set while no pass is under way. Replaced by each."""
        self._rested.set()
        self.meter = CycleMeter()

    @property
    def state(self) -> State:
        return self._core.state

    @property
    def journal(self) -> Journal:
        return self._shell.journal

    # -- for the callers -----------------------------------------------------------------------------------------------

    async def ask(self, message: Message) -> Answer:
        """Send a message; its answer, once its events are on disk.

        Raises errors.UserError if the message is refused, errors.Unavailable if the inbox is full or the journal
        takes nothing.
        """
        if len(self._inbox) >= self._shell.inbox_max:
            raise Unavailable(f"{len(self._inbox)} requests are waiting; try again in a moment")
        return await self._send(message)

    async def report(self, message: Message) -> None:
        """The planes' way in: like `ask`, but waits while the inbox is full or the journal takes nothing.

        An observation is a fact and must not get lost. Saying it twice is harmless.
        """
        while True:
            while len(self._inbox) >= self._shell.inbox_max:
                await self._room.wait()
            try:
                await self._send(message)
                break
            except Unavailable as error:
                await trio.sleep(error.retry_after_s)
        reach("kernel.report_journalled")

    async def _send(self, message: Message) -> Answer:
        if self.problem:
            if self._is_resting:
                raise Unavailable(self.problem, 5.0)
            self._retry_time_s = trio.current_time() + 5.0
        item = _Item(message)
        self._inbox.append(item)
        self._inbox_filled.set()
        await item.done.wait()
        assert item.answer is not None
        return item.answer.unwrap()

    async def settled(self) -> None:
        """Wait until all that is applied now is on disk. Raises errors.Unavailable if it never will be."""
        sequence, generation = self.state.sequence, self._generation
        while self.durable_sequence < sequence and generation == self._generation:
            await self._advanced.wait()
        if generation != self._generation:
            raise Unavailable(self.problem or "the state was rebuilt; ask again", 1.0)

    async def rested(self) -> None:
        """Wait until no pass is under way: for those who are about to put the queue in order, as a pass does."""
        while not self._rested.is_set():
            await self._rested.wait()

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until an event after `sequence` is on disk."""
        while self.durable_sequence <= sequence:
            await self._advanced.wait()

    # -- the two tasks -------------------------------------------------------------------------------------------------

    async def run(self, cluster: Cluster, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started once the cluster as configured is on disk and the executors take orders."""
        with watching():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._loop)
                nursery.start_soon(self._shell.observers.run, self.report)
                await self._begin(cluster)
                await nursery.start(self._shell.effects.run, self._shell.journal.epoch, self.report)
                task_status.started()

    async def _begin(self, cluster: Cluster) -> None:
        """The configuration, and the fact that no node has reported to this daemon yet."""
        reach("kernel.recovered")
        await self.report(DefineCluster(cluster))
        reach("kernel.defined")
        await self.report(ClockSet())
        table = self.state.table
        for number, node in enumerate(table.nodes):
            if table.status[number] is NodeStatus.UP:
                await self.report(NodeSilent(node.name))

    async def _loop(self) -> None:
        """The cycle: take, decide, apply, hand over, plan."""
        clock = WallClock(self._shell.now_s, self._shell.steady_s)
        while True:
            await self._wait_for_work()
            now_s, step_s = clock.look()
            if step_s:
                logger.warning("the clock was set by %+.1f s; nodes out of contact are given their time anew", step_s)
                self._clock_set_sequence = math.inf
            if self._clock_set_sequence == math.inf and not self._is_resting:
                self._clock_set_sequence = self.state.sequence + 1
                await self._decide(_Item(ClockSet()), now_s)
            taken = [self._inbox.popleft() for _ in range(min(len(self._inbox), CYCLE_MAX))]
            self._room.set()
            self._room = trio.Event()
            for item in taken:
                await self._decide(item, now_s)
            if not self._is_resting:
                if self._core.is_tick_due(now_s):  # also when the inbox is never empty
                    await self._decide(_Item(Tick()), now_s)
                if self._core.needs_plan and trio.current_time() >= self._next_plan_time_s:
                    await self._plan(now_s)
                if self._engine_pause_s:  # it failed: who stands still does not wait for it
                    resumed = self._core.resume(now_s)
                    self._hand_over(resumed.events, resumed.effects)
            while len(self._batch.events) > BACKLOG_MAX:
                await self._advanced.wait()

    @property
    def _is_resting(self) -> bool:
        """The journal took nothing a moment ago: whatever was decided now would only be forgotten again."""
        return bool(self.problem) and (bool(self.journal.failure) or trio.current_time() < self._retry_time_s)

    async def _wait_for_work(self) -> None:
        """Until a message is there, a timer is due, or the plan that was put off may be made."""
        if self._inbox:
            await trio.lowlevel.checkpoint()
            return
        wake_s = self._core.next_wake_s()
        wait_s = LOOK_S if wake_s is None else min(LOOK_S, wake_s - self._shell.now_s())
        if self._core.needs_plan:
            wait_s = min(wait_s, self._next_plan_time_s - trio.current_time())
        if self.problem:
            wait_s = LOOK_S if self._shell.journal.failure else max(wait_s, self._retry_time_s - trio.current_time())
        self._inbox_filled = trio.Event()
        with trio.move_on_after(max(0.0, wait_s)):
            await self._inbox_filled.wait()

    async def _decide(self, item: _Item, now_s: float) -> None:
        """All of it or nothing. Other tasks get a turn in between, but nothing else is decided, nor handed over."""
        generation = self._generation
        steps = self._core.receiving(item.message, now_s)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                decided: Decided = done.value
                break
            except HalError as error:
                item.resolve(outcome.Error(error))
                return
            await trio.lowlevel.checkpoint()
            if generation != self._generation:  # the state to which it was being applied is no more
                item.resolve(outcome.Error(Unavailable(self.problem or "the state was rebuilt; ask again", 1.0)))
                return
        self._hand_over(decided.events, decided.effects)
        if self.durable_sequence == self.state.sequence:
            item.resolve(outcome.Value(decided.answer))
        else:
            self._batch.answers.append((item, decided.answer))
            self._batch_filled.set()

    async def _plan(self, now_s: float) -> None:
        """One pass. The loop spends at most half of its time planning: a long pass is followed by a pause as long."""
        started_s, generation = trio.current_time(), self._generation
        self._rested = trio.Event()
        snapshot = self._core.look(now_s)
        try:
            plan = await self._shell.run_pass(partial(self._core.propose, snapshot))
        except BaseException as error:  # the wall around a plugin
            if passes(error):
                raise
            self._engine_failed(error)
            return
        finally:
            snapshot.life.is_over = True  # before anybody changes what a pass that was left behind would look at
            self._rested.set()
        if generation != self._generation:  # The state that it was made for is no more.
            return
        self._engine_pause_s = 0.0
        decided = self._core.accept(plan, now_s)
        ended_s = trio.current_time()
        self._next_plan_time_s = ended_s + (ended_s - started_s)
        self.meter.plans.add(ended_s - started_s)
        self._shell.conducts.spent("engine", self._core.policy, ended_s - started_s)
        for refused in decided.refused:
            logger.warning("engine %s: start refused: %s: %s", self._core.policy, refused.start, refused.reason)
            self._shell.conducts.wrong("engine", self._core.policy, f"start refused: {refused.reason}")
        self._hand_over(decided.events, decided.effects)

    def _engine_failed(self, error: BaseException) -> None:
        """The wall around the engine: nothing starts by this pass, what runs is looked after, and it is asked again."""
        self.meter.plan_failure_count += 1
        self._engine_pause_s = min(max(ENGINE_PAUSE_S_MIN, 2.0 * self._engine_pause_s), ENGINE_PAUSE_S_MAX)
        self._next_plan_time_s = trio.current_time() + self._engine_pause_s
        name, pause_s = self._core.policy, self._engine_pause_s
        self._shell.conducts.wrong("engine", name, told(error))
        logger.error("engine %s failed; it is asked again in %g s", name, pause_s, exc_info=error)

    def _hand_over(self, events: Sequence[Event], effects: Sequence[Effect]) -> None:
        self._batch.events += events
        self._batch.effects += effects
        if events or effects:
            self._batch_filled.set()

    async def _write(self) -> None:
        """Put everything that was handed over on disk, then let the world see it."""
        while True:
            await self._batch_filled.wait()
            self._batch_filled = trio.Event()
            batch, self._batch = self._batch, _Batch()
            first_sequence = self.durable_sequence + 1
            reach("kernel.before_append")
            try:
                if batch.events:
                    started_s = trio.current_time()
                    await trio.to_thread.run_sync(self._shell.journal.append, batch.events)
                    self.meter.appends.add(trio.current_time() - started_s)
            except Unavailable as error:
                await self._forget(batch, error)
                continue
            reach("kernel.after_append")
            self.durable_sequence += len(batch.events)
            self.problem = ""
            self._notify()
            for item, answer in batch.answers:
                item.resolve(outcome.Value(answer))
            reach("kernel.answered")
            if batch.events:
                self._shell.observers.tell(first_sequence, batch.events)
            self._shell.effects.start(batch.effects)

    async def _forget(self, batch: _Batch, error: Unavailable) -> None:
        """An append failed: what was applied since the last durable event never happened."""
        self.problem = str(error)
        self._retry_time_s = trio.current_time() + error.retry_after_s
        logger.error("%s", error)
        state = await trio.to_thread.run_sync(self._shell.rebuild)
        lost, self._batch = (batch, self._batch), _Batch()
        assert state.sequence == self.durable_sequence, "the journal holds other events than were acknowledged"
        self._core.state = state
        self._core.needs_plan = True
        if self._clock_set_sequence > self.durable_sequence:
            self._clock_set_sequence = math.inf
        self._generation += 1
        self._inbox_filled.set()  # The loop may wait for a time that the lost events had set.
        self._notify()
        for each in lost:
            for item, _ in each.answers:
                item.resolve(outcome.Error(error))

    def _notify(self) -> None:
        self._advanced.set()
        self._advanced = trio.Event()
