"""Which instances a pool gets and gives back: a pure function of what waits, what there is, and what money is left.

The engine knows nothing of money. What it would do without more nodes is asked of the plan it has anyway; here that is
held against what an offer costs. A job is admitted to the pool, or it waits for the site's own nodes.

An instance is kept idle for a quarter of the time that it took to boot. Keeping it as long as that would never cost
more than twice what the best hindsight would pay (ski rental; Karlin, Manasse, Rudolph and Sleator, Competitive snoopy
caching, Algorithmica 3, 1988), but on every workload that was tried the next job seldom came so soon: what waits takes
an instance the moment that it is free, so one that stays idle is one that nothing waits for. The quarter is what keeps
a pool from giving back and renting again at every breath. What a decision requests, it does not release.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import attrs

from hal_core.models.cloud_pool import HOUR_S, CloudPool, PoolOffer
from hal_core.models.job import JobId
from hal_core.models.pool_decision import (
    Admit,
    Decline,
    Extend,
    InstanceState,
    PoolAction,
    PoolInstance,
    Provision,
    Relinquish,
    Want,
)
from hal_core.rules.pool_budget import Purse, Purses
from hal_core.rules.pool_choice import LEASE_SPARE_S, Option, judge, options_of
from hal_core.rules.pool_ledger import requested
from hal_core.rules.pool_supply import Place, Supply
from hal_core.rules.pool_worth import Worth

LEASE_SLACK_S = LEASE_SPARE_S / 4
"""A lease is not made longer for less, or it would be with every look at a job that waits for its instance."""
WANTS_MAX = 500
"""So many waiting jobs are looked at in one decision."""


@attrs.frozen
class PoolView:
    """What one decision sees. `wants` in the order of the queue, those that were admitted and still wait too."""

    now_s: float
    instances: Sequence[PoolInstance] = ()
    free: Mapping[str, float] = attrs.field(factory=dict)
    """Of instances that are ready and not drained: which share of each no job has."""
    wants: Sequence[Want] = ()
    admitted: Mapping[JobId, str] = attrs.field(factory=dict)
    """Jobs that may start in the pool and do not run, and on which offer."""
    spent: float = 0.0
    """In this period and until now, by what is there and what is gone."""
    closed_until_s: Mapping[str, float] = attrs.field(factory=dict)
    """Offers that had no capacity, or over which the provider failed: not before then."""
    worth: Worth = attrs.field(factory=Worth)
    serial: int = 0
    """How many tokens there have been."""
    spent_by: Mapping[str, float] = attrs.field(factory=dict)
    """As `spent`, by the accounts that have budgets, each in its own period."""


@attrs.frozen
class PoolDecision:
    """What to do, what was learned of the goal, and when to decide again if nothing happens."""

    actions: tuple[PoolAction, ...]
    worth: Worth
    wake_s: float = math.inf


def decide_pool(pool: CloudPool, view: PoolView) -> PoolDecision:
    """What the pool should do now. Equal views have equal decisions."""
    decision = _Decision(pool, view)
    if not pool.is_stopped:
        decision.serve_admitted()
        decision.serve_others()
        decision.keep_minimum()
    else:
        decision.decline_all("the pool is stopped")
    decision.release_idle()
    decision.extend_busy()
    return PoolDecision(tuple(decision.actions), decision.worth, decision.wake_s)


class _Decision:
    """One decision while it is made."""

    def __init__(self, pool: CloudPool, view: PoolView) -> None:
        self._pool = pool
        self._view = view
        self._now_s = view.now_s
        self._instances = {each.name: each for each in view.instances}
        self._offers = {offer.name: offer for offer in pool.offers}
        self._counts = Counter([each.offer for each in view.instances])
        self._supply = Supply(view.instances, view.free, view.now_s)
        self._purses = Purses(pool, view.spent, view.spent_by, view.instances, view.now_s)
        self._serial = view.serial
        self._chosen: dict[JobId, str] = {}
        """Which offer serves a job, of which another element may have a want of its own."""
        self._needed: set[str] = set()
        """Instances that a job waits for, or that were given a longer lease."""
        self.actions: list[PoolAction] = []
        self.worth = view.worth
        self.wake_s = math.inf

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def serve_admitted(self) -> None:
        """What was decided stands, as long as the instances for it are there."""
        for want in self._view.wants:
            offer = self._view.admitted.get(want.job_id)
            if offer is None:
                continue
            found = next(iter(self._options(want, offer)), None)
            none_left = f"no more of {offer} can be had now, and what is there serves others"
            if refusal := none_left if found is None else self._serve(want, found, "its instances are gone"):
                self.actions.append(Decline(want.job_id, refusal))

    def serve_others(self) -> None:
        for want in self._view.wants[:WANTS_MAX]:
            if want.job_id in self._view.admitted:
                continue
            options = self._options(want, self._chosen.get(want.job_id))
            verdict = judge(self._pool, want, options, self.worth, self._now_s)
            self.wake_s = min(self.wake_s, verdict.wake_s)
            option, reason = verdict.option, verdict.reason
            refusal = "" if option is None else self._serve(want, option, reason)
            if option is None or refusal:
                is_late = verdict.is_late or (bool(refusal) and self._is_late(want))
                self.actions.append(Decline(want.job_id, f"{reason}; {refusal}" if refusal else reason, is_late))
                if is_late:
                    self.worth = self.worth.late(self._pool.goal.share, 0.0 if refusal else _cost(options))
                continue
            self._chosen[want.job_id] = option.offer.name
            self.actions.append(Admit(want.job_id, option.offer.name, reason, option.cost))
            if not want.is_late:
                self.worth = self.worth.on_time(self._pool.goal.share, option.cost)

    def decline_all(self, reason: str) -> None:
        self.actions += [Decline(want.job_id, reason) for want in self._view.wants]

    def _is_late(self, want: Want) -> bool:
        return not want.is_late and want.expected_start_s > want.submit_s + self._pool.within_s

    def _options(self, want: Want, name: str | None) -> list[Option]:
        """By this offer, or by all."""
        if name is None:
            offers: Collection[PoolOffer] = self._pool.offers
        else:
            offers = [self._offers[name]] if name in self._offers else ()
        return [option for option in options_of(offers, want, self._supply, self._now_s) if self._is_open(option)]

    def _is_open(self, option: Option) -> bool:
        """Whether so many more instances may be asked for; what is there already may be used in any case."""
        return not option.missing or self._closed(option.offer, option.missing) == ""

    def _closed(self, offer: PoolOffer, count: int) -> str:
        """Why no more of the offer are to be had; empty: they are."""
        until_s = self._view.closed_until_s.get(offer.name, -math.inf)
        if self._now_s < until_s:
            self.wake_s = min(self.wake_s, until_s)
            return f"{offer.name} failed, and is asked again in {until_s - self._now_s:.0f} s"
        if len(self._instances) + count > self._pool.count_max:
            return f"the pool may have {self._pool.count_max} instances"
        if self._counts[offer.name] + count > offer.count_max:
            return f"{offer.name} has {offer.count_max} instances at most"
        return ""

    def _serve(self, want: Want, option: Option, reason: str) -> str:
        """Take the places, rent what is missing, pay for all until the job has ended for certain. Or say why not."""
        until_s = option.lease_until_s(self._now_s)
        longer = [place for place in option.places if place.until_s < until_s - LEASE_SLACK_S]
        price = option.offer.price_per_hour
        amount = sum(Purse.cost(each.price_per_hour, until_s - each.until_s) for each in longer)
        amount += Purse.cost(price, until_s - self._now_s, option.missing)
        if lack := self._purses.lack(want.account, amount):
            return lack
        if option.missing:
            token, why = self._next_token(), f"job {want.job_id}: {reason}"
            self._provision(Provision(token, option.offer.name, option.missing, until_s, why, want.account))
        for place in longer:
            self._extend(place, until_s, f"job {want.job_id} may run until then")
        last_s = self._now_s + option.limit_s + LEASE_SPARE_S
        self._supply.take(self._supply.find(option.offer.name, option.need, last_s, want.account), option.need)
        self._needed.update(place.name for place in option.places)
        if option.places:
            spare_s = min(place.until_s for place in option.places) - until_s + LEASE_SLACK_S
            self.wake_s = min(self.wake_s, self._now_s + max(spare_s, 1.0))
        return ""

    # -- instances -----------------------------------------------------------------------------------------------------

    def _next_token(self) -> str:
        self._serial += 1
        return f"{self._pool.name}-{self._serial}"

    def _provision(self, action: Provision) -> None:
        offer, until_s = self._offers[action.offer], action.until_s
        amount = Purse.cost(offer.price_per_hour, until_s - self._now_s, action.count)
        self._purses.pay(action.account, amount)
        self.actions.append(action)
        for instance in requested(action, offer, self._now_s):
            self._instances[instance.name] = instance
            self._counts[offer.name] += 1
            self._needed.add(instance.name)
            latest_s = self._now_s + offer.boot_s_max
            terms = (instance.ready_s, until_s, offer.price_per_hour, instance.name, latest_s)
            self._supply.add(Place(offer.name, 1.0, *terms, account=action.account))

    def _extend(self, place: Place, until_s: float, reason: str) -> None:
        self._purses.pay(place.account, Purse.cost(place.price_per_hour, until_s - place.until_s))
        place.until_s = until_s
        self._instances[place.name] = attrs.evolve(self._instances[place.name], until_s=until_s)
        self._needed.add(place.name)
        self.actions.append(Extend(place.name, until_s, reason))

    def keep_minimum(self) -> None:
        """Paid for by the pool alone."""
        alive = [each for each in self._instances.values() if _is_minimum(each)]
        missing = self._pool.count_min - len(alive)
        for offer in self._pool.offers if missing > 0 else ():
            until_s = self._now_s + offer.boot_s_max + HOUR_S
            amount = Purse.cost(offer.price_per_hour, until_s - self._now_s, missing)
            if not self._closed(offer, missing) and not self._purses.lack("", amount):
                reason = f"the pool has {self._pool.count_min} instances at least"
                self._provision(Provision(self._next_token(), offer.name, missing, until_s, reason))
                return

    def release_idle(self) -> None:
        """Those that are idle for too long, longest first, down to the minimum; and those whose lease is over."""
        there = [each for each in self._view.instances if each.state is not InstanceState.RELEASING]
        left = sum(map(_is_minimum, there))
        over_s = self._now_s + LEASE_SPARE_S / 2
        works = InstanceState.READY
        perhaps = [
            each for each in there if each.idle_since_s is not None or each.state is not works or each.until_s <= over_s
        ]
        for each in sorted(perhaps, key=lambda instance: (instance.idle_since_s or 0.0, instance.name)):
            offer = self._offers.get(each.offer)
            reason = self._why_release(each, offer, is_spare=bool(each.account) or left > self._pool.count_min)
            if reason:
                self.actions.append(Relinquish(each.name, reason))
                left -= _is_minimum(each)

    def _why_release(self, each: PoolInstance, offer: PoolOffer | None, is_spare: bool) -> str:
        now_s = self._now_s
        if now_s >= each.until_s - LEASE_SPARE_S / 2 and self._instances[each.name].until_s == each.until_s:
            return "its lease is over"
        if each.state is InstanceState.BOOTING:
            never_s = each.latest_s if offer is not None else each.requested_s
            self.wake_s = min(self.wake_s, never_s)
            return "it did not join in time" if now_s >= never_s else ""
        if each.idle_since_s is None or each.name in self._needed:
            return ""
        if self._pool.is_stopped or offer is None:
            return "the pool is stopped" if self._pool.is_stopped else "its offer is no longer in the pool"
        idle_s = self._pool.idle_s_of(offer)
        if not is_spare:
            return ""
        if now_s - each.idle_since_s >= idle_s:
            return f"idle for {idle_s:.0f} s"
        self.wake_s = min(self.wake_s, each.idle_since_s + idle_s)
        return ""

    def extend_busy(self) -> None:
        """Instances of the minimum stay, as long as the budget lasts."""
        gone = {each.instance for each in self.actions if isinstance(each, Relinquish)}
        after, leaves, has_minimum = self._instances, InstanceState.RELEASING, self._pool.count_min > 0
        first_s = math.inf
        for each in self._view.instances:
            until_s = after[each.name].until_s
            if each.state is leaves or until_s != each.until_s or each.name in gone:
                continue
            if has_minimum and each.idle_since_s is not None and not each.account:
                until_s = self._kept_until_s(each)
            if until_s < first_s:
                first_s = until_s
        self.wake_s = min(self.wake_s, first_s - LEASE_SPARE_S / 2)

    def _kept_until_s(self, each: PoolInstance) -> float:
        """It is idle, and perhaps one of the minimum: then it is paid for a while longer."""
        until_s = min(each.until_s + HOUR_S, each.until_s_max)
        is_short = each.until_s - self._now_s < HOUR_S / 2 and until_s - each.until_s > LEASE_SLACK_S
        amount = Purse.cost(each.price_per_hour, until_s - each.until_s)
        if not is_short or self._purses.lack("", amount) or self._pool.is_stopped:
            return each.until_s
        place = Place(each.offer, 1.0, self._now_s, each.until_s, each.price_per_hour, each.name)
        self._extend(place, until_s, "it is one of the minimum")
        return until_s


def _is_minimum(each: PoolInstance) -> bool:
    """Whether it counts among those that stay although they are idle: what an account pays for does not."""
    return each.state is not InstanceState.RELEASING and not each.account


def _cost(options: Collection[Option]) -> float:
    return min((option.cost for option in options), default=0.0)
