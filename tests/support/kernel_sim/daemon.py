"""The simulated daemon: the kernel's cycle, writer and lanes on virtual time, around the production core.

As in kernel/loop.py nothing is answered, observed or ordered before it is on disk; a failed append throws away what was
decided ahead of the disk. A kill loses all but the journal. Connections are kept as hal_executor_metal keeps them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from hal_core.errors import Unavailable, UserError
from hal_core.models.effect import CancelPart, Effect, Forget, Launch, Stage, SuspendPart
from hal_core.models.event import Event
from hal_core.models.message import (
    Answer,
    ClockSet,
    DefineCluster,
    Message,
    NodeReported,
    NodeSilent,
    PartsChanged,
    StagingDone,
    StagingFailed,
    Tick,
)
from hal_core.models.node import NodeName, NodeStatus
from hal_core.rules.core import Core, Decided
from hal_core.wire import messages
from tests.support.kernel_sim.agent import HEARTBEAT_S, SILENCE_S, Session
from tests.support.kernel_sim.network import HANG_UP

if TYPE_CHECKING:
    from tests.support.kernel_sim.world import World

RETRY_S = 5.0
LOOK_S = 30.0
"""So late it is noticed that somebody has set the clock, when nothing else happens."""
Told = Callable[[Answer | Exception], None]
"""Gets the answer once it is on disk, or why there is none."""


@attrs.define
class Batch:
    events: list[Event] = attrs.Factory(list)
    effects: list[Effect] = attrs.Factory(list)
    answers: list[tuple[Told, Answer]] = attrs.Factory(list)


@attrs.define
class Lane:
    """Orders for one node that were not yet sent: those of this round, and what has gathered meanwhile."""

    round: dict[type, list[Any]] = attrs.Factory(dict)
    waiting: dict[type, list[Any]] = attrs.Factory(dict)
    is_busy: bool = False


class Link:
    """The daemon's side of a connection: messages are taken one by one, each reported before the next."""

    def __init__(self, session: Session, name: NodeName) -> None:
        self.session = session
        self.name = name
        self.inbound: deque[Any] = deque()
        self.is_busy = True
        self.waits_since_s = 0.0
        self.early: list[Any] = []
        """Orders that wait for the welcome."""
        self.joined_s = math.inf
        """Since when it is on disk that the node is here."""
        self.is_open = True


class Daemon:
    """One daemon after the other: `life` counts them, and what belongs to a dead one does nothing."""

    def __init__(self, world: World, dice: Random) -> None:
        self._world = world
        self._dice = dice
        self.life = 0
        self.is_alive = False
        self.is_listening = False
        self.core: Core
        self.links: dict[NodeName, Link] = {}

    # -- birth and death -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """From the journal alone."""
        world = self._world
        world.journal.epoch += 1
        self.life += 1
        self.is_alive, self.is_listening = True, False
        self.links = {}
        self._leaving: set[NodeName] = set()
        self._lanes: dict[NodeName, Lane] = {}
        self._inbox: list[tuple[Message, Told]] = []
        self._batch = Batch()
        self._is_writing = False
        self._is_cycle_due = False
        self._problem_until_s = 0.0
        self._wake_s = float("inf")
        self._known_step_s: float = world.clock_step_s
        self._clock_set_sequence = 0
        self.core = Core(world.make_engine(), "simulated", world.journal.recover())
        self.report(DefineCluster(world.cluster), self._defined)

    def _defined(self) -> None:
        table = self.core.state.table
        up = [table.nodes[number].name for number, status in enumerate(table.status) if status is NodeStatus.UP]
        left = len(up) + 1

        def told() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self._ready()

        self.report(ClockSet(), told)
        for name in up:
            self.report(NodeSilent(name), told)

    def _ready(self) -> None:
        self.is_listening = True

    def kill(self) -> None:
        """SIGKILL. What was being written is on disk, or it is not."""
        if not self.is_alive:
            return
        if self._is_writing and self._dice.random() < 0.5:
            self._world.count("killed_after_sync")
            self._world.journal.append(self._written.events)
        self.is_alive = self.is_listening = False
        self.life += 1
        for link in self.links.values():
            link.session.down.send(HANG_UP)
        self.links = {}

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Unless the daemon is killed before."""
        life = self.life
        self._world.timeline.after(delay_s, lambda: act() if self.life == life else None)

    # -- the inbox -----------------------------------------------------------------------------------------------------

    def ask(self, message: Message, told: Told) -> None:
        """People's way in."""
        if not self.is_alive:
            told(Unavailable("no daemon"))
        elif self._world.now_s < self._problem_until_s:
            told(Unavailable("the journal takes nothing"))
        else:
            self._inbox.append((message, told))
            self._cycle_soon()

    def report(self, message: Message, done: Callable[[], None] = lambda: None) -> None:
        """The planes' way in: tried until it is on disk (or refused)."""

        def told(answer: Answer | Exception) -> None:
            if isinstance(answer, Unavailable):
                self._later(RETRY_S, lambda: self.report(message, done))
            else:
                done()

        self.ask(message, told)

    def _cycle_soon(self) -> None:
        if not self._is_cycle_due:
            self._is_cycle_due = True
            self._later(self._dice.uniform(0.0, 0.002), self._cycle)

    # -- the cycle and the writer --------------------------------------------------------------------------------------

    def _cycle(self) -> None:
        self._is_cycle_due = False
        now_s = self._world.wall_s
        if self._known_step_s != self._world.clock_step_s and self._world.now_s >= self._problem_until_s:
            self._known_step_s, self._clock_set_sequence = self._world.clock_step_s, self.core.state.sequence + 1
            self._decide(ClockSet(), lambda answer: None, now_s)
        taken, self._inbox = self._inbox, []
        for message, told in taken:
            self._decide(message, told, now_s)
        if self._world.now_s >= self._problem_until_s:
            if self.core.is_tick_due(now_s):
                self._decide(Tick(), lambda answer: None, now_s)
            if self.core.needs_plan:
                self._hand_over(self.core.plan(now_s))
        self._write()
        self._wake_when_due()

    def _decide(self, message: Message, told: Told, now_s: float) -> None:
        try:
            decided = self.core.receive(message, now_s)
        except UserError as error:
            told(error)
            return
        self._hand_over(decided)
        if not self._batch.events and not self._is_writing:
            told(decided.answer)
        else:
            self._batch.answers.append((told, decided.answer))

    def _hand_over(self, decided: Decided) -> None:
        self._batch.events += decided.events
        self._batch.effects += decided.effects

    def _wake_when_due(self) -> None:
        wake_s = self.core.next_wake_s()
        if wake_s is None:
            return
        wake_s = min(wake_s - self._world.clock_step_s, self._world.now_s + LOOK_S)
        wake_s = max(wake_s, self._world.now_s + 0.001, self._problem_until_s)
        if self._wake_s <= self._world.now_s or wake_s < self._wake_s:
            self._wake_s = wake_s
            self._later(wake_s - self._world.now_s, self._cycle_soon)

    def _write(self) -> None:
        """Begin a transaction with all that was decided, unless one is under way."""
        batch = self._batch
        if self._is_writing or not (batch.events or batch.effects or batch.answers):
            return
        self._written, self._batch = batch, Batch()
        self._is_writing = True
        delay_s = self._dice.uniform(0.0, self._world.faults.sync_s_max) if batch.events else 0.0
        self._later(delay_s, self._synced)

    def _synced(self) -> None:
        self._is_writing = False
        batch = self._written
        if batch.events and self._world.is_disk_failing:
            self._forget(batch)
            return
        self._world.journal.append(batch.events)
        self._world.checker.after_cycle(self.core.state)
        for told, answer in batch.answers:
            told(answer)
        self._start_effects(batch.effects)
        self._write()

    def _forget(self, batch: Batch) -> None:
        """An append failed: what was decided since the last durable event never happened."""
        self._world.count("appends_failed")
        lost, self._batch = (batch, self._batch), Batch()
        self.core.state = self._world.journal.recover()
        self.core.needs_plan = True
        if self._clock_set_sequence > self.core.state.sequence:
            self._known_step_s = math.nan  # As the real loop: that the clock was set is lost, and said again.
        self._problem_until_s = self._world.now_s + RETRY_S
        for each in lost:
            for told, _ in each.answers:
                told(Unavailable("the journal takes nothing"))
        self._later(RETRY_S, self._cycle_soon)

    # -- effects -------------------------------------------------------------------------------------------------------

    def _start_effects(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Stage):
                self._stage(effect)
                continue
            order = effect.key if isinstance(effect, Forget) else effect.order
            if isinstance(effect, Launch):
                order = attrs.evolve(effect.order, epoch=self._world.journal.epoch)
            lane = self._lanes.setdefault(effect.node, Lane())
            lane.waiting.setdefault(type(effect), []).append(order)
        for name, lane in self._lanes.items():
            if lane.waiting and not lane.is_busy:
                lane.is_busy = True
                self._serve(name, lane)

    def _serve(self, name: NodeName, lane: Lane) -> None:
        """Suspensions, then launches, cancels and forgets of one round, each of which takes the executor a while."""
        if not lane.round:
            lane.round, lane.waiting = lane.waiting, {}
        for kind in (SuspendPart, Launch, CancelPart, Forget):
            if kind in lane.round:
                self._send(name, kind, lane.round.pop(kind))
                delay_s = self._dice.uniform(0.0, self._world.faults.lane_s_max)
                self._later(delay_s, lambda: self._serve(name, lane))
                return
        lane.is_busy = False

    def _send(self, name: NodeName, kind: type, orders: list[Any]) -> None:
        """What the executor does; a node out of contact gets nothing."""
        link = self.links.get(name)
        if link is None:
            self._world.count("orders_dropped")
            return
        frames: Any
        if kind is Launch:
            frames = messages.launch_frames(orders)
        elif kind is SuspendPart:
            frames = messages.suspend_frames(self._world.journal.epoch, orders)
        elif kind is CancelPart:
            frames = messages.cancel_frames(self._world.journal.epoch, orders)
        else:
            frames = messages.forget_frames(self._world.journal.epoch, orders)
        send = link.session.down.send if link.joined_s < math.inf else link.early.append
        for frame in frames:
            send(frame)
            if kind is Launch:
                self._world.maybe_remember(name, frame)
            if self._dice.random() < self._world.faults.order_copies:
                send(frame)

    def _stage(self, effect: Stage) -> None:
        faults, dice = self._world.faults, self._dice
        delay_s = dice.uniform(0.0, faults.staging_s_max)
        self._later(delay_s, lambda: self.report(self._staged(effect)))
        if dice.random() < faults.kills_in_staging:
            self._later(dice.uniform(0.0, delay_s), self._world.kill_in_staging)
        if dice.random() < faults.report_copies:
            self._later(dice.uniform(0.0, 60.0), lambda: self.report(self._staged(effect)))

    def _staged(self, effect: Stage) -> Message:
        if self._dice.random() < self._world.faults.staging_failures:
            return StagingFailed(effect.key, "no such file")
        return StagingDone(effect.key, 1)

    # -- connections ---------------------------------------------------------------------------------------------------

    def hear(self, session: Session, message: Any) -> None:
        """Something came from a node."""
        if session.link is None:
            if isinstance(message, NodeReported):
                self._introduce(session, message)
            return
        session.link.inbound.append(message)
        self._take_next(session.link)

    def _introduce(self, session: Session, hello: NodeReported) -> None:
        name = hello.node.name
        if name in self.links or name in self._leaving:
            self._world.count("second_agents")
            session.down.send(messages.Refusal("another agent is connected"))
            session.down.send(HANG_UP)
            return
        link = session.link = self.links[name] = Link(session, name)
        self.report(hello, lambda: self._welcome(link))

    def _welcome(self, link: Link) -> None:
        """It is on disk that the node is here: it has its lease, and gets the orders that waited for that."""
        timeout_s = self._world.cluster.node_timeout_s
        welcome = messages.Welcome(messages.PROTOCOL_VERSION, self._world.journal.epoch, HEARTBEAT_S, timeout_s)
        link.session.down.send(welcome)
        link.joined_s = self._world.now_s
        for order in link.early:
            link.session.down.send(order)
        self._free(link)

    def _free(self, link: Link) -> None:
        link.is_busy = False
        link.waits_since_s = self._world.now_s
        self._take_next(link)
        self._watch(link, link.waits_since_s)

    def _watch(self, link: Link, since_s: float) -> None:
        """A node that says nothing for three heartbeats is out of contact."""

        def look() -> None:
            if link.is_open and not link.is_busy and link.waits_since_s == since_s:
                self._lose(link)

        if link.is_open and not link.is_busy:
            self._later(SILENCE_S, look)

    def _take_next(self, link: Link) -> None:
        while link.inbound and not link.is_busy and link.is_open:
            message = link.inbound.popleft()
            if message is HANG_UP:
                self._lose(link)
            elif isinstance(message, messages.Heartbeat):
                link.session.down.send(message)
                link.waits_since_s = self._world.now_s
                self._watch(link, link.waits_since_s)
            else:
                assert isinstance(message, PartsChanged)
                link.is_busy = True
                self._world.maybe_repeat(message)
                self.report(message, lambda: self._free(link))

    def _lose(self, link: Link) -> None:
        """Contact is lost. Until that is on disk, the node is not taken again."""
        link.is_open = False
        link.session.down.send(HANG_UP)
        del self.links[link.name]
        self._leaving.add(link.name)
        self.report(NodeSilent(link.name), lambda: self._leaving.remove(link.name))
