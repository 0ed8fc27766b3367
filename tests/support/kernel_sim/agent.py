"""The agent of a simulated node: its connection to the daemon, as hal_core/agent/agent.py keeps it.

It holds nothing that could be lost. What it refuses (orders of an old epoch, launches after the lease) is decided by
the production code.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from hal_core.agent.agent import is_outdated
from hal_core.agent.lease import Terms
from hal_core.models.effect import LaunchOrder
from hal_core.models.message import NodeReported, PartsChanged, PartStatus
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from tests.support.kernel_sim.machine import Machine
from tests.support.kernel_sim.network import HANG_UP, Pipe

if TYPE_CHECKING:
    from tests.support.kernel_sim.daemon import Link

HEARTBEAT_S = 10.0
SILENCE_S = 3 * HEARTBEAT_S
WELCOME_S = 30.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.05, 10.0


class Session:
    """One connection as the agent sees it."""

    def __init__(self, agent: Agent, begin_s: float) -> None:
        self.up = Pipe(agent.world, agent.node.name, True, self._at_daemon)
        self.down = Pipe(agent.world, agent.node.name, False, lambda message: agent.obey(self, message))
        self.begin_s = begin_s
        self.heard_s = begin_s
        self.is_welcome = False
        self.link: Link | None = None
        """The daemon's side, once it has heard the first word."""
        self.reported: dict[AttemptKey, PartStatus] = {}
        self._agent = agent
        self._daemon_life = agent.world.daemon.life

    def _at_daemon(self, message: Any) -> None:
        daemon = self._agent.world.daemon
        if daemon.life == self._daemon_life:
            daemon.hear(self, message)


class Agent(Machine):
    """A machine with its agent."""

    session: Session | None = None
    is_alive = True
    _pause_s = BACKOFF_S_MIN

    def start(self) -> None:
        """The agent starts, by itself or after a boot."""
        self.is_alive = True
        self._pending: set[AttemptKey] = set()
        """What this agent has sent to the spawner and no record shows: not to be sent twice."""
        self._pause_s = BACKOFF_S_MIN
        self._connect_after(self.dice.uniform(0.0, 1.0))

    def kill(self) -> None:
        """SIGKILL: its socket is closed by the machine."""
        self.is_alive = False
        self._leave()

    def power_off(self) -> None:
        """Nobody says goodbye."""
        super().power_off()
        self.is_alive = False
        if self.session is not None:
            self.session.up.drop()
            self.session.down.drop()
            self.session = None

    # -- the connection ------------------------------------------------------------------------------------------------

    def _connect_after(self, delay_s: float) -> None:
        self.world.timeline.after(delay_s, self._connect)

    def _connect(self) -> None:
        if not (self.is_on and self.is_alive) or self.session is not None:
            return
        if not self.world.daemon.is_listening or self.world.network.is_cut(self.node.name):
            self._try_again()
            return
        session = self.session = Session(self, self.world.now_s)
        parts = tuple(record.status() for record in self.records.values())
        session.reported = {part.key: part for part in parts}
        session.up.send(NodeReported(self.node, self.boot_id, parts))
        self._watch(session)

    def _try_again(self) -> None:
        self._connect_after(self._pause_s * self.dice.uniform(0.5, 1.5))
        self._pause_s = min(self._pause_s * 2, BACKOFF_S_MAX)

    def _leave(self) -> None:
        """Close the connection and, if alive, dial again."""
        if self.session is not None:
            self.session.up.send(HANG_UP)
            self.session = None
        if self.is_on and self.is_alive:
            self._try_again()

    def _watch(self, session: Session) -> None:
        """Heartbeats, and silence of the other side."""
        if self.session is not session:
            return
        now_s = self.world.now_s
        if now_s - session.heard_s >= (SILENCE_S if session.is_welcome else WELCOME_S):
            self._leave()
            return
        if session.is_welcome:
            session.up.send(messages.Heartbeat(now_s))
        self.world.timeline.after(HEARTBEAT_S, lambda: self._watch(session))

    # -- what the daemon says ------------------------------------------------------------------------------------------

    def obey(self, session: Session, message: Any) -> None:
        """One message of the daemon, if this session is still the agent's."""
        if self.session is not session:
            return
        session.heard_s = self.world.now_s
        if message is HANG_UP or isinstance(message, messages.Refusal):
            self._leave()
            return
        if isinstance(message, messages.Welcome):
            assert message.epoch >= self.epoch, "welcomed by an older daemon"
            session.is_welcome = True
            self._pause_s = BACKOFF_S_MIN
            self.terms = Terms.since(self.boot_id, message.lease_s, session.begin_s)
            self._report(self.records)
            return
        if isinstance(message, messages.Heartbeat):
            assert self.terms is not None
            self.terms = Terms.since(self.boot_id, self.terms.length_s, message.sent_s)
            return
        self.carry_out(message)

    def carry_out(self, message: messages.Launch | messages.Cancel | messages.Suspend | messages.Forget) -> None:
        """An order, unless it is an old one."""
        if is_outdated(message, self.epoch):
            self.world.count("old_orders_refused")
            return
        self.epoch = max(self.epoch, message.epoch)
        match message:
            case messages.Launch():
                for order in message.orders():
                    self._tell_again(order.key)
                    self._launch_if_leased(order)
            case messages.Cancel():
                for cancel in message.orders:
                    self._tell_again(cancel.key)
                    self.tell_spawner(partial(self.cancel, cancel.key, cancel.grace_s))
            case messages.Suspend():
                for each in message.orders:
                    self.tell_spawner(partial(self.suspend, each.key, not each.does_resume))
            case _:
                for key in message.keys:
                    self.tell_spawner(partial(self._forget, key))

    def _forget(self, key: AttemptKey) -> None:
        """By the agent, once the spawner has read what was sent before."""
        self.forget(key)
        self._tell_again(key)

    def _launch_if_leased(self, order: LaunchOrder) -> None:
        if order.spec.can_requeue:
            self.put_under_lease(order)
            if self.terms is not None and self.terms.is_over(self.world.now_s):
                self.world.count("launches_after_lease")
                return
        if order.key in self.records:
            self.launch(order)
        elif order.key not in self._pending:
            self._pending.add(order.key)
            self.tell_spawner(partial(self._read_launch, order))

    def _read_launch(self, order: LaunchOrder) -> None:
        self._pending.discard(order.key)
        self.launch(order)

    # -- reports -------------------------------------------------------------------------------------------------------

    def _tell_again(self, key: AttemptKey) -> None:
        if self.session is not None:
            self.session.reported.pop(key, None)

    def changed(self, key: AttemptKey) -> None:
        self._report((key,))

    def _report(self, keys: Iterable[AttemptKey]) -> None:
        session = self.session
        if session is None or not session.is_welcome or not self.is_alive:
            return
        parts = []
        for key in keys:
            status = self.records[key].status() if key in self.records else None
            if status is None or session.reported.get(key) == status:
                continue
            if status.start_time_s is not None or status.end is not None:
                session.reported[key] = status
                parts.append(status)
        if parts:
            session.up.send(PartsChanged(self.node.name, tuple(parts)))
