"""A simulated node: its power, the records on its disk, what runs, and the guard. The agent is in agent.py.

It keeps the launch protocol as launcher/spawner.py, launcher/supervisor.py and guard.py do: a durable claim before
anything is begun, an end record when nothing is left, and an end of what is under a lease that is over. The lease's
arithmetic is the production code's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from hal_core.agent.lease import Terms
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import End, EndKind
from hal_core.models.message import PartStatus
from hal_core.models.node import Node
from hal_core.models.placement import AttemptKey

if TYPE_CHECKING:
    from tests.support.kernel_sim.world import World

GUARD_PERIOD_S = 0.25
KILL_S_MAX = 0.2
BOOT_S_MIN, BOOT_S_MAX = 20.0, 900.0
SLOW_SHARE = 0.2
"""Of the orders, so many find a spawner that is slow to read, if the seed has such."""
NOT_BEGUN = "cancelled before it was launched"
BEFORE_LAUNCH = "the node lost its daemon before it was launched"


class Record:
    """One attempt's file on the node's disk, and the process behind it while it has no end."""

    __slots__ = (
        *("boot", "due_s", "end", "end_time_s", "is_cancelled", "is_suspended", "key", "left_s", "order"),
        *("start_time_s", "will_end"),
    )

    def __init__(self, key: AttemptKey, order: LaunchOrder | None, boot: int) -> None:
        self.key = key
        self.order = order
        self.boot = boot
        self.start_time_s: float | None = None
        self.end: End | None = None
        self.end_time_s: float | None = None
        self.is_cancelled = False
        self.is_suspended = False
        self.left_s: float | None = None
        """How long it still has, if it stands still."""
        self.due_s = 0.0
        """When the process ends, as far as is decided. An entry of the timeline for another time is void."""
        self.will_end: End | None = None
        """How, then."""

    def status(self) -> PartStatus:
        return PartStatus(self.key, self.start_time_s, self.end_time_s, self.end)


class Machine:
    """`parts_changed` is set by the agent, and called with every record that changed."""

    def __init__(self, world: World, node: Node, dice: Random) -> None:
        self.world = world
        self.node = node
        self.dice = dice
        self.is_on = True
        self.boot = 1
        self.epoch = 0
        self.terms: Terms | None = None
        self.records: dict[AttemptKey, Record] = {}
        self.skew_s = dice.uniform(-1, 1) * world.faults.skew_s_max
        self._read_s = 0.0
        """When the spawner will have read all that it was sent."""
        self._forgotten: set[AttemptKey] = set()
        """Released from the lease with their records."""

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boot}"

    def clock_s(self) -> float:
        return self.world.now_s + self.skew_s

    def changed(self, key: AttemptKey) -> None:
        """A record changed: the agent, if there is one, is told."""

    # -- orders --------------------------------------------------------------------------------------------------------

    def tell_spawner(self, carry_out: Callable[[], None]) -> None:
        """It reads one order after the other, perhaps late, and outlives the agent that sent them."""
        faults, now_s, boot = self.world.faults, self.world.now_s, self.boot
        if faults.spawner_s_max and self.dice.random() < SLOW_SHARE:
            self.world.count("slow_spawners")
            self._read_s = max(self._read_s, now_s + self.dice.uniform(0.0, faults.spawner_s_max))
        if self._read_s <= now_s:
            carry_out()
            return

        def read() -> None:
            if self.boot == boot and self.is_on:
                carry_out()

        self.world.timeline.at(self._read_s, read)

    def put_under_lease(self, order: LaunchOrder) -> None:
        """From now on the guard looks after it, whether or not the spawner has read of it."""
        boot = self.boot
        self.world.timeline.after(GUARD_PERIOD_S, lambda: self._guard(order, boot))

    def launch(self, order: LaunchOrder) -> None:
        if order.key in self.records:
            self.changed(order.key)
            return
        record = self.records[order.key] = Record(order.key, order, self.boot)
        boot = self.boot
        delay_s = self.dice.uniform(0.0, self.world.faults.launch_s_max)
        self.world.timeline.after(delay_s, lambda: self._begin(record, boot))

    def cancel(self, key: AttemptKey, grace_s: float) -> None:
        record = self.records.get(key)
        if record is None:
            self.claim_cancelled(key, NOT_BEGUN)
        elif record.end is None:
            self._terminate(record, grace_s)
        else:
            self.changed(key)

    def suspend(self, key: AttemptKey, is_suspended: bool) -> None:
        """What is not there, or has ended, needs neither."""
        record = self.records.get(key)
        if record is not None and record.end is None:
            record.is_suspended = is_suspended
            self._hold_still(record)

    def _hold_still(self, record: Record) -> None:
        """As its record says."""
        if record.start_time_s is None or record.is_cancelled:
            return
        if record.is_suspended and record.left_s is None:
            self.world.count("suspended")
            self.world.truth.suspend(self.node.name, record.key)
            record.left_s, record.due_s = record.due_s - self.world.now_s, math.inf
        elif not record.is_suspended and record.left_s is not None:
            self.world.truth.resume(self.node.name, record.key)
            self._thaw(record)

    def _thaw(self, record: Record) -> None:
        if record.left_s is not None:
            assert record.will_end is not None
            left_s, record.left_s = record.left_s, None
            self._end_after(record, left_s, record.will_end)

    def claim_cancelled(self, key: AttemptKey, detail: str) -> None:
        """It will never begin here."""
        record = self.records[key] = Record(key, None, self.boot)
        self._write_end(record, End(EndKind.CANCELLED, detail=detail))

    def forget(self, key: AttemptKey) -> None:
        record = self.records.get(key)
        if record is not None and record.end is not None:
            del self.records[key]
            self._forgotten.add(key)

    # -- processes -----------------------------------------------------------------------------------------------------

    def _begin(self, record: Record, boot: int) -> None:
        if self.boot != boot or not self.is_on or record.end is not None:
            return
        assert record.order is not None
        if self.dice.random() < self.world.faults.launch_failures:
            self._write_end(record, End(EndKind.LAUNCH_FAILED, exit_code=127, detail="no such file"))
            return
        self.world.truth.begin(self.node, record.order)
        record.start_time_s = self.clock_s()
        runtime_s, end = self.world.people.fate(record.order, self.node.name)
        self._end_after(record, runtime_s, end)
        self._hold_still(record)
        if record.is_cancelled:
            self._terminate(record, 1.0)
        self.changed(record.key)

    def _end_after(self, record: Record, delay_s: float, end: End) -> None:
        record.due_s = due_s = self.world.now_s + delay_s
        record.will_end = end
        boot = self.boot

        def finish() -> None:
            if self.boot == boot and self.is_on and record.end is None and record.due_s == due_s:
                self.world.truth.gone(self.node.name, record.key, end)
                self._write_end(record, end)

        self.world.timeline.at(due_s, finish)

    def _terminate(self, record: Record, grace_s: float) -> None:
        """SIGTERM now, SIGKILL after the grace. Who stands still goes on, to end in good order beside whoever has its
        CPUs."""
        record.is_cancelled = True
        if record.start_time_s is None:
            return
        if record.left_s is not None:
            self.world.truth.end_suspended(self.node.name, record.key)
            self._thaw(record)
        is_stubborn = self.dice.random() < self.world.faults.stubborn
        delay_s = grace_s if is_stubborn else self.dice.uniform(0.0, min(grace_s, 1.0))
        delay_s += self.dice.uniform(0.0, KILL_S_MAX)
        if self.world.now_s + delay_s < record.due_s:
            self._end_after(record, delay_s, End(EndKind.CANCELLED, signal=9 if is_stubborn else 15))

    def _write_end(self, record: Record, end: End) -> None:
        record.end, record.end_time_s = end, self.clock_s()
        self.changed(record.key)

    def kill_supervisor(self) -> None:
        """The spawner kills what a dead supervisor left, and only then writes the end."""
        alive = [each for each in self.records.values() if each.end is None and each.start_time_s is not None]
        if alive and self.is_on:
            record = self.dice.choice(alive)
            self.world.count("supervisor_kills")
            self._end_after(record, self.dice.uniform(0.0, KILL_S_MAX), End(EndKind.SUPERVISOR_LOST, detail="killed"))

    # -- the guard -----------------------------------------------------------------------------------------------------

    def _guard(self, order: LaunchOrder, boot: int) -> None:
        """Look when the lease, as it is now, would be over for this attempt; end it if it then is."""
        record = self.records.get(order.key)
        is_over = record is not None and record.end is not None
        if self.boot != boot or not self.is_on or is_over or order.key in self._forgotten or self.terms is None:
            return
        end_s = self.terms.end_s(order.spec.kill_grace_s)
        now_s = self.world.now_s
        if now_s < end_s:
            self.world.timeline.at(end_s + self.dice.uniform(0.0, GUARD_PERIOD_S), lambda: self._guard(order, boot))
            return
        if record is None:
            self.world.count("leases_over_before_the_claim")
            self.claim_cancelled(order.key, BEFORE_LAUNCH)
        elif record.start_time_s is not None:
            self.world.count("leases_over")
            self._terminate(record, self.terms.grace_left_s(now_s))
        self.world.timeline.after(GUARD_PERIOD_S, lambda: self._guard(order, boot))

    # -- power ---------------------------------------------------------------------------------------------------------

    def power_off(self) -> None:
        self.is_on = False
        for name, key in [each for each in self.world.truth.running if each[0] == self.node.name]:
            self.world.truth.gone(name, key, None)

    def power_on(self) -> None:
        """Of what had no end, the spawner writes one: no supervisor of this boot looks after it."""
        self.is_on, self.terms = True, None
        self.boot += 1
        for record in self.records.values():
            if record.end is None:
                record.end = End(EndKind.SUPERVISOR_LOST, detail="the node was restarted")
                record.end_time_s = self.clock_s()
