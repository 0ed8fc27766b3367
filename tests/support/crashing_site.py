"""A pool's shell that crashes now and then, in the middle of a call or beside it, and comes back from its events."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hal_core.models.cloud_pool import CloudPool
from hal_core.models.pool_decision import Decline, PoolAction
from hal_core.rules.pools import PoolDecision, PoolView, decide_pool
from hal_core.sim.cloud import CallAnswer, SimulatedCloud, SimulatedOffer
from hal_core.sim.cloud_site import CloudSite

DOWN_S_MAX = 600.0


class Crash(Exception):
    """HAL is killed here."""


class DeadlyCloud(SimulatedCloud):
    """Whoever calls it may be killed before the call is carried out, or before it hears of it."""

    def __init__(
        self, offers: tuple[SimulatedOffer, ...], random: Random, fault_share: float, crash_share: float
    ) -> None:
        super().__init__(offers, random, fault_share)
        self._fate, self._crash_share = random, crash_share

    def provision(self, now_s: float, token: str, offer: str, count: int, until_s: float) -> CallAnswer:
        self._perhaps_crash()
        answer = super().provision(now_s, token, offer, count, until_s)
        self._perhaps_crash()
        return answer

    def extend(self, now_s: float, name: str, until_s: float) -> CallAnswer:
        self._perhaps_crash()
        answer = super().extend(now_s, name, until_s)
        self._perhaps_crash()
        return answer

    def release(self, now_s: float, name: str) -> CallAnswer:
        self._perhaps_crash()
        answer = super().release(now_s, name)
        self._perhaps_crash()
        return answer

    def _perhaps_crash(self) -> None:
        if self._fate.random() < self._crash_share:
            raise Crash


class CrashingSite(CloudSite):
    """While HAL is down nothing is called, and nothing decided."""

    def __init__(self, pool: CloudPool, cloud: DeadlyCloud, random: Random) -> None:
        self._random = random
        self._down_until_s = 0.0
        self.crash_count = 0
        self.account_lack_count = 0
        """How often a job was not served because its account's budget had too little left."""
        super().__init__(pool, cloud)

    def carry_out(self, actions: Sequence[PoolAction], now_s: float) -> None:
        if now_s >= self._down_until_s:
            try:
                super().carry_out(actions, now_s)
            except Crash:
                self._come_back(now_s)

    def rule(self, pool: CloudPool, view: PoolView) -> PoolDecision:
        """HAL's, when it is there again."""
        if view.now_s < self._down_until_s:
            return PoolDecision((), view.worth, self._down_until_s)
        decision = decide_pool(pool, view)
        refusals = [action.reason for action in decision.actions if isinstance(action, Decline)]
        self.account_lack_count += sum("the budget of account" in reason for reason in refusals)
        return decision

    def observe(self, now_s: float) -> list[str]:
        if now_s < self._down_until_s:
            return []
        known = set(self.ledger.instances)
        try:
            return super().observe(now_s)
        except Crash:
            self._come_back(now_s)
            return sorted(known - set(self.ledger.instances))

    def _come_back(self, now_s: float) -> None:
        """From the events; since when an instance is idle follows from those of jobs."""
        self.crash_count += 1
        idle = {each.name: each.idle_since_s for each in self.ledger.instances.values()}
        super().__init__(self.pool, self.cloud, self.events)
        for name in self.ledger.instances:
            self.ledger.note_idle(name, idle.get(name))
        self._down_until_s = now_s + self._random.uniform(0.0, DOWN_S_MAX)
        self.observe_s = self._down_until_s
