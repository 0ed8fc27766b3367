"""The heap's shell of a pool: carries out what was decided, by calls to a simulated cloud, the ledger always first.

After a crash it is made anew from the events and the cloud's list, like the daemon's. What was asked for and not
answered is asked for again with its token; what the list lacks is gone; what the list has and the ledger has not is
released, for nobody would ever give it work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from hal_core.models.cloud_pool import AccountBudget, CloudPool, SpendLimit
from hal_core.models.pool_decision import Extend, InstanceState, PoolAction, Provision, Relinquish
from hal_core.models.pool_event import (
    InstanceGone,
    InstanceJoined,
    InstanceReleased,
    InstancesRefused,
    InstancesRequested,
    LeaseExtended,
    PoolEvent,
)
from hal_core.rules.pool_ledger import PoolLedger
from hal_core.rules.pools import PoolDecision, PoolView
from hal_core.sim.cloud import CallAnswer, SimulatedCloud

RETRY_S = 30.0
"""A call without an answer is repeated after so long."""


class PoolRule(Protocol):
    """rules/pools.py, or another one to compare it with."""

    def __call__(self, pool: CloudPool, view: PoolView) -> PoolDecision: ...


class CloudSite:
    """One pool and its provider."""

    def __init__(self, pool: CloudPool, cloud: SimulatedCloud, events: Iterable[PoolEvent] = ()) -> None:
        self.pool = pool
        self.cloud = cloud
        self.ledger = PoolLedger(pool.budget, pool.account_budgets)
        self.events: list[PoolEvent] = []
        self._unanswered: dict[str, tuple[str, int, float]] = {}
        """Requests by token: offer, count, lease."""
        self._repeated: set[str] = set()
        """Tokens of requests that may have been carried out before they were answered."""
        self._untold: dict[str, float] = {}
        """Leases that instances may not know of yet."""
        self._releasing: dict[str, None] = {}
        """Instances that are to be released until the cloud says that they are."""
        self._is_in_doubt = True
        """No list has said yet what there is."""
        self.unknown_count = 0
        """Instances that the cloud had and the ledger had not: there should be none."""
        self.observe_s = -math.inf
        """When to look at the cloud again."""
        for event in events:
            self._record(event)
        self._recover()

    def carry_out(self, actions: Sequence[PoolAction], now_s: float) -> None:
        """Each action is an event before it is a call."""
        for action in actions:
            match action:
                case Provision(token, name, count, until_s, reason, account):
                    offer = self.pool.offer(name)
                    assert offer is not None
                    terms = (count, offer.price_per_hour, offer.boot_s, until_s, reason)
                    self._record(InstancesRequested(now_s, self.pool.name, token, name, *terms, account=account))
                    self._unanswered[token] = name, count, until_s
                case Extend(name, until_s, reason):
                    self._record(LeaseExtended(now_s, self.pool.name, name, until_s, reason))
                    self._untold[name] = until_s
                case Relinquish(name, reason):
                    self._record(InstanceReleased(now_s, self.pool.name, name, reason))
                case _:
                    continue
        self.call(now_s)

    def call(self, now_s: float) -> None:
        """Make every call that is outstanding, once."""
        for token, (offer, count, until_s) in list(self._unanswered.items()):
            if until_s <= now_s:
                # The next list says which of its instances are there, and were paid for longer.
                del self._unanswered[token]
                self._is_in_doubt = True
                continue
            answer = self.cloud.provision(now_s, token, offer, count, until_s)
            if answer is CallAnswer.DONE:
                del self._unanswered[token]
                self._is_in_doubt |= token in self._repeated  # what began at the first call may have ended since
            elif answer is CallAnswer.NO_CAPACITY:
                del self._unanswered[token]
                retry_s = now_s + self.ledger.back_off_s(offer)
                self._record(InstancesRefused(now_s, self.pool.name, token, "no capacity", retry_s))
            else:
                self._repeated.add(token)
        for name, until_s in list(self._untold.items()):
            if self.cloud.extend(now_s, name, until_s) is CallAnswer.DONE:
                del self._untold[name]
        for name in list(self._releasing):
            each = self.ledger.instances.get(name)
            if each is None:
                del self._releasing[name]
            elif each.token not in self._unanswered and self.cloud.release(now_s, each.name) is CallAnswer.DONE:
                self._record(InstanceGone(now_s, self.pool.name, name, "released"))
        self._look_again(now_s)

    def observe(self, now_s: float) -> list[str]:
        """Look at what there is. Returns the instances that are gone and that HAL did not release."""
        self.cloud.advance(now_s)
        if now_s < self.observe_s:
            return []
        listed = self.cloud.list(now_s)
        self._is_in_doubt = listed is None
        if listed is None:
            self.observe_s = now_s + RETRY_S
            return []
        lost = []
        for each in list(self.ledger.instances.values()):
            if each.name not in listed:
                if each.token not in self._unanswered:
                    lost.append(each.name)
                    self._record(InstanceGone(now_s, self.pool.name, each.name, "the provider does not have it"))
            elif listed[each.name] and each.state is InstanceState.BOOTING:
                self._record(InstanceJoined(now_s, self.pool.name, each.name))
        for name in sorted(listed.keys() - self.ledger.instances.keys()):
            self.unknown_count += 1
            self.cloud.release(now_s, name)
        self.call(now_s)
        return lost

    def spent_by_account(self, now_s: float) -> dict[str, float]:
        """Since the beginning, whatever the periods are, of the accounts with budgets of their own."""
        for_ever = [AccountBudget(each.account, SpendLimit(math.inf)) for each in self.pool.account_budgets]
        ledger = PoolLedger(None, for_ever)
        for event in self.events:
            ledger.apply(event)
        return ledger.spent_by(now_s)

    def _record(self, event: PoolEvent) -> None:
        self.ledger.apply(event)
        self.events.append(event)
        if isinstance(event, InstanceReleased):
            self._releasing[event.instance] = None
        elif isinstance(event, InstanceGone):
            self._releasing.pop(event.instance, None)

    def _recover(self) -> None:
        """Of no request is it known whether it was answered: all that may still matter are repeated."""
        counts: dict[str, tuple[str, int, float]] = {}
        for each in self.ledger.instances.values():
            if each.state is not InstanceState.READY:
                _, count, _ = counts.get(each.token, ("", 0, 0.0))
                counts[each.token] = each.offer, count + 1, each.until_s
            self._untold[each.name] = each.until_s
        self._unanswered.update(counts)
        self._repeated.update(counts)

    def _look_again(self, now_s: float) -> None:
        self.observe_s = max(now_s, self.cloud.next_time_s())
        if self._is_in_doubt or self._unanswered or self._untold or self._releasing:
            self.observe_s = min(self.observe_s, now_s + RETRY_S)
