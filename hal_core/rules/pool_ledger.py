"""What a pool has, owes and has spent: a fold of its events. After a crash it is folded again, and nothing is lost.

An instance is in the ledger before the provider is asked for it, and leaves it when the provider says that it is gone.
So whatever the provider has under one of our tokens is known, and whatever is known costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import assert_never

import attrs

from hal_core.models.cloud_pool import HOUR_S, AccountBudget, CloudPool, Market, PoolOffer, SpendLimit
from hal_core.models.pool_decision import InstanceState, PoolInstance, Provision
from hal_core.models.pool_event import (
    InstanceDrained,
    InstanceGone,
    InstanceJoined,
    InstanceReleased,
    InstancesRefused,
    InstancesRequested,
    InstancesStarted,
    JobAdmitted,
    JobsDeclined,
    LeaseExtended,
    OfferClosed,
    PoolEvent,
    PoolResumed,
    PoolStopped,
    StartedInstance,
)
from hal_core.rules.pool_budget import Tally, paid_by

BACK_OFF_S = 60.0
BACK_OFF_S_MAX = 3600.0
BELIEF_H = 24.0
"""What the configuration says of interruptions counts as much as so many hours of an instance that were seen."""


@attrs.frozen
class Request:
    """Instances that a provider was, or will be, asked for, and has not answered."""

    token: str
    offer: str
    count: int
    until_s: float


@attrs.frozen
class LedgerContent:
    """All that a ledger holds, for a dump of the state."""

    instances: tuple[PoolInstance, ...] = ()
    drained: tuple[str, ...] = ()
    closed: tuple[tuple[str, float, str], ...] = ()
    """(offer, until when it is closed, why)."""
    failures: tuple[tuple[str, int], ...] = ()
    requests: tuple[Request, ...] = ()
    serial: int = 0
    period_begin_s: float = -math.inf
    spent_by_gone: float = 0.0
    seen: tuple[tuple[str, float, int], ...] = ()
    """(offer, seconds that its instances were ready, how many of them were taken back)."""
    accounts: tuple[tuple[str, float, float], ...] = ()
    """(account, when the period of its budget began, what was spent in it by what is gone)."""


class PoolLedger:
    """The instances of one pool, its spend, and the offers that are closed for a while."""

    def __init__(self, budget: SpendLimit | None = None, account_budgets: Sequence[AccountBudget] = ()) -> None:
        self._tally = Tally()
        self._tally_of: dict[str, Tally] = {}
        """By account, of those whose budgets pay or have paid for instances."""
        self.set_budgets(budget, account_budgets)
        self.instances: dict[str, PoolInstance] = {}
        self.drained: set[str] = set()
        self.closed_until_s: dict[str, float] = {}
        self.closed_why: dict[str, str] = {}
        self.requests: dict[str, Request] = {}
        """By token: asked again, after a crash too, until there is an answer."""
        self.serial = 0
        self._failures: dict[str, int] = {}
        """By offer, in a row."""
        self._seen: dict[str, tuple[float, int]] = {}
        """By offer: how long its instances were ready that are gone, and how many were taken back."""

    def apply(self, event: PoolEvent) -> None:
        match event:
            case InstancesRequested(offer=name, price_per_hour=price, boot_s=boot_s):
                self.serial += 1
                offer = PoolOffer(name, price, boot_s, event.count, life_s=event.life_s)
                provision = Provision(event.token, name, event.count, event.until_s, event.reason, event.account)
                self.instances |= {each.name: each for each in requested(provision, offer, event.time_s)}
                self.requests[event.token] = Request(event.token, name, event.count, event.until_s)
            case InstancesStarted(token=token, started=started):
                self.requests.pop(token, None)
                self._started(token, {each.instance: each for each in started})
            case InstancesRefused(token=token):
                self.requests.pop(token, None)
                self._refused(event)
            case OfferClosed(offer=name):
                self._close(event)
            case InstanceJoined(instance=name, time_s=time_s):
                joined = self.instances[name]
                until_s = min(joined.until_s, time_s + joined.life_s)
                self._change(name, state=InstanceState.READY, ready_s=time_s, until_s=until_s)
                self._failures.pop(self.instances[name].offer, None)
            case LeaseExtended(instance=name, until_s=until_s):
                self._change(name, until_s=until_s)
            case InstanceDrained(instance=name):
                self.drained.add(name)
                self._see(self.instances[name].offer, 0.0, 1)
            case InstanceReleased(instance=name):
                self._change(name, state=InstanceState.RELEASING)
            case InstanceGone(instance=name, time_s=time_s):
                gone = self.instances.pop(name)
                self.requests.pop(gone.token, None)
                if gone.state is not InstanceState.BOOTING:
                    was_taken = gone.state is InstanceState.READY and time_s < gone.until_s
                    self._see(gone.offer, time_s - gone.ready_s, was_taken and name not in self.drained)
                self.drained.discard(name)
                self._tally.gone(gone, time_s)
                if gone.account:
                    self._tally_of.setdefault(gone.account, Tally()).gone(gone, time_s)
            case JobAdmitted() | JobsDeclined() | PoolStopped() | PoolResumed():
                pass
            case _:
                assert_never(event)

    def _started(self, token: str, started: dict[str, StartedInstance]) -> None:
        for name in [each.name for each in self.instances.values() if each.token == token]:
            if name in started:
                self._change(name, node=started[name].node, native_id=started[name].native_id)
            else:
                del self.instances[name]

    def _refused(self, event: InstancesRefused) -> None:
        refused = [each for each in self.instances.values() if each.token == event.token]
        for each in refused:
            del self.instances[each.name]
        if refused:
            self._close(OfferClosed(event.time_s, event.pool, refused[0].offer, event.detail, event.retry_s))

    def _close(self, event: OfferClosed) -> None:
        self.closed_until_s[event.offer], self.closed_why[event.offer] = event.retry_s, event.detail
        self._failures[event.offer] = self._failures.get(event.offer, 0) + 1

    def set_budgets(self, budget: SpendLimit | None, account_budgets: Sequence[AccountBudget]) -> None:
        """From now on. What was spent in the period stays spent, also by an account that has no budget for a while."""
        self._tally.limit = budget or SpendLimit(math.inf)
        limits = {each.account: each.limit for each in account_budgets}
        for account in limits.keys() | self._tally_of.keys():
            self._tally_of.setdefault(account, Tally()).limit = limits.get(account, SpendLimit(math.inf))

    def content(self) -> LedgerContent:
        return LedgerContent(
            tuple(self.instances.values()),
            tuple(sorted(self.drained)),
            tuple((name, until_s, self.closed_why.get(name, "")) for name, until_s in self.closed_until_s.items()),
            tuple(self._failures.items()),
            tuple(self.requests.values()),
            self.serial,
            self._tally.begin_s,
            self._tally.by_gone,
            tuple((name, *seen) for name, seen in self._seen.items()),
            tuple((account, each.begin_s, each.by_gone) for account, each in sorted(self._tally_of.items())),
        )

    def restore(self, content: LedgerContent) -> None:
        self.instances = {each.name: each for each in content.instances}
        self.drained = set(content.drained)
        self.closed_until_s = {name: until_s for name, until_s, _ in content.closed}
        self.closed_why = {name: why for name, _, why in content.closed}
        self._failures = dict(content.failures)
        self.requests = {each.token: each for each in content.requests}
        self.serial = content.serial
        self._tally.begin_s, self._tally.by_gone = content.period_begin_s, content.spent_by_gone
        for account, begin_s, by_gone in content.accounts:
            tally = self._tally_of.setdefault(account, Tally())
            tally.begin_s, tally.by_gone = begin_s, by_gone
        self._seen = {name: (ready_s, count) for name, ready_s, count in content.seen}

    def note_idle(self, name: str, since_s: float | None) -> None:
        """Since when no job is on the instance; None: some are. It follows from the events of jobs, so it is none."""
        self._change(name, idle_since_s=since_s)

    def spent(self, now_s: float) -> float:
        """In the period of that moment, until then."""
        return self._tally.spent(self.instances.values(), now_s)

    def spent_by(self, now_s: float) -> dict[str, float]:
        """Likewise, each in its own period, by the accounts whose budgets pay or have paid for instances."""
        there = self.instances.values()
        return {account: tally.spent(paid_by(account, there), now_s) for account, tally in self._tally_of.items()}

    def committed(self, now_s: float, account: str | None = None) -> float:
        """From then on, until the ends of all leases, or of those that the account pays for."""
        there = self.instances.values()
        mine = there if account is None else paid_by(account, there)
        return math.fsum(each.cost(now_s, each.until_s) for each in mine)

    def as_seen(self, pool: CloudPool, now_s: float) -> CloudPool:
        """The pool with the interruptions that are to be expected by now."""
        if all(each.market is Market.ON_DEMAND for each in pool.offers):
            return pool
        rates = [(each, self.interruptions_per_hour(each, now_s)) for each in pool.offers]
        return attrs.evolve(pool, offers=tuple(attrs.evolve(each, interruptions_per_hour=rate) for each, rate in rates))

    def interruptions_per_hour(self, offer: PoolOffer, now_s: float) -> float:
        """How often one of its instances is taken back: what was said of it, corrected by what was seen."""
        ready_s, count = self._seen.get(offer.name, (0.0, 0))
        there = (each for each in self.instances.values() if each.offer == offer.name)
        ready_s += sum(now_s - each.ready_s for each in there if each.state is InstanceState.READY)
        return (offer.interruptions_per_hour * BELIEF_H + count) / (BELIEF_H + ready_s / HOUR_S)

    def back_off_s(self, offer: str) -> float:
        """How long to leave the offer alone after one more failure: twice as long each time in a row."""
        return min(BACK_OFF_S * 2.0 ** self._failures.get(offer, 0), BACK_OFF_S_MAX)

    def _see(self, offer: str, ready_s: float, count: int) -> None:
        before_s, before = self._seen.get(offer, (0.0, 0))
        self._seen[offer] = before_s + max(0.0, ready_s), before + count

    def _change(self, name: str, **fields: object) -> None:
        self.instances[name] = attrs.evolve(self.instances[name], **fields)  # type: ignore[arg-type]


def requested(provision: Provision, offer: PoolOffer, now_s: float) -> Iterable[PoolInstance]:
    """The instances that a provision asks for, as they are known from then on."""
    for number in range(1, provision.count + 1):
        name = f"{provision.token}-{number}"
        times_s = (now_s, provision.until_s, now_s + offer.boot_s)
        terms = (offer.name, InstanceState.BOOTING, offer.price_per_hour, *times_s)
        yield PoolInstance(name, provision.token, *terms, life_s=offer.life_s, account=provision.account)
