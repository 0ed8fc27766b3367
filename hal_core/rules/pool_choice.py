"""For one job that waits: would more nodes help, which, and is it worth it? A sum that a person can read. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import attrs

from hal_core.models.cloud_pool import HOUR_S, CloudPool, Market, PoolOffer
from hal_core.models.pool_decision import Want
from hal_core.rules.pool_supply import Place, Supply, count_of
from hal_core.rules.pool_worth import Worth

HOPELESS = 3.0
"""Who is to be interrupted so often before a checkpoint gets there in one of twenty tries: that is not begun."""
LEASE_SPARE_S = 300.0
"""Beyond the limit of the job: for its end to be known, and for the instance to be released."""


@attrs.frozen
class Option:
    """One way to serve a job: the places that are there, and how many instances more."""

    offer: PoolOffer
    need: float
    places: list[Place]
    missing: int
    start_s: float
    run_s: float
    """Interruptions included, as they are to be expected."""
    limit_s: float
    """It runs no longer, or is killed."""
    cost: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.run_s

    def lease_until_s(self, now_s: float) -> float:
        """A lease that ends no earlier than the job is sure to."""
        latest_s = max((place.latest_s for place in self.places), default=now_s)
        latest_s = max(latest_s, now_s + self.offer.boot_s_max if self.missing else now_s)
        return latest_s + self.limit_s + LEASE_SPARE_S

    def latest_s(self, now_s: float, want: Want) -> float:
        """Until when this can be put off and still keeps the deadline, whatever happens.

        Of spot: it may be interrupted in its last second, and then runs once more on what is not.
        """
        boot_s = self.offer.boot_s_max if self.missing else max(0.0, self.start_s - now_s)
        repeats = 2 if self.offer.market is Market.SPOT else 1
        if repeats == 2 and want.checkpoint_s < self.limit_s:
            return want.deadline_s - 2 * boot_s - self.limit_s - 2 * want.checkpoint_s
        return want.deadline_s - repeats * (boot_s + self.limit_s)


@attrs.frozen
class Verdict:
    """Serve the job by this option, or not; why; and when to ask again if nothing else happens."""

    option: Option | None
    reason: str
    is_late: bool = False
    wake_s: float = math.inf


def options_of(offers: Iterable[PoolOffer], want: Want, supply: Supply, now_s: float) -> Iterator[Option]:
    """In the order of the offers, without what its job cannot use."""
    for offer in offers:
        need = want.instances.get(offer.name)
        if need is None or want.limit_s == math.inf:
            continue
        limit_s = want.limit_s / offer.speed
        if limit_s + LEASE_SPARE_S > offer.life_s:
            continue
        places = supply.find(offer.name, need, now_s + limit_s + LEASE_SPARE_S, want.account)
        missing = count_of(need) - len(places)
        start_s = max((place.ready_s for place in places), default=now_s)
        if missing:
            start_s = max(start_s, now_s + offer.boot_s)
        run_s = _expected_run_s(offer, want, need)
        if run_s == math.inf:
            continue
        paid_s = need * run_s + missing * offer.boot_s
        cost = offer.price_per_hour * paid_s / HOUR_S
        yield Option(offer, need, places, missing, start_s, run_s, limit_s, cost)


def _expected_run_s(offer: PoolOffer, want: Want, need: float) -> float:
    """Until the work is done, with all that is done again after interruptions, and their boots: each stretch from one
    checkpoint to the next takes (e^x - 1) / x of its length, if x interruptions are to be expected in it (Daly, A
    higher order estimate of the optimum checkpoint interval for restart dumps, FGCS 22, 2006)."""
    run_s = want.expected_s / offer.speed
    per_s = _interruptions_per_s(offer, need)
    x = per_s * min(want.checkpoint_s, run_s)
    if x == 0.0:
        return run_s
    if x > HOPELESS:
        return math.inf
    return run_s * math.expm1(x) / x * (1.0 + per_s * offer.boot_s)


def _interruptions_per_s(offer: PoolOffer, need: float) -> float:
    return offer.interruptions_per_hour * count_of(need) / HOUR_S if offer.market is Market.SPOT else 0.0


def judge(pool: CloudPool, want: Want, options: list[Option], worth: Worth, now_s: float) -> Verdict:
    """The cheapest that keeps the deadline; without one, the cheapest that is worth its money."""
    if not options:
        return Verdict(None, "nothing that it offers lasts until the job has ended, or is not taken back too often")
    if want.deadline_s < math.inf:
        return _by_deadline(want, options, now_s)
    helping = [option for option in options if option.start_s < want.expected_start_s]
    late_s = want.submit_s + pool.within_s
    will_be_late = want.expected_start_s > late_s
    if not helping:
        return Verdict(None, "more nodes would not start it sooner", is_late=will_be_late and not want.is_late)
    best = min(helping, key=lambda option: option.cost)
    saved_s = want.expected_start_s - best.start_s
    timely = [option for option in helping if option.start_s <= late_s] if will_be_late and not want.is_late else []
    if want.expected_start_s == math.inf:
        return Verdict(best, f"{best.cost:.2f} on {best.offer.name}: no nodes of the site would ever do")
    value_per_hour = pool.value_per_hour
    if want.value_per_hour is not None:
        value_per_hour = min(want.value_per_hour, value_per_hour)
    worth_now = value_per_hour * saved_s / HOUR_S
    if timely:
        best = min(timely, key=lambda option: option.cost)
        worth_now += worth.price
    waited_s = want.expected_start_s - want.submit_s
    sums = f"{best.cost:.2f} on {best.offer.name} to start {_hours(saved_s)} sooner"
    if best.cost <= worth_now:
        return Verdict(best, f"{sums}: worth {worth_now:.2f}")
    if waited_s > pool.wait_s_max:
        return Verdict(
            best, f"{sums}: it would wait {_hours(waited_s)}, and none is to wait over {pool.wait_s_max:.0f} s"
        )
    return Verdict(None, f"{sums}: worth only {worth_now:.2f}", is_late=will_be_late and not want.is_late)


def _by_deadline(want: Want, options: list[Option], now_s: float) -> Verdict:
    """Put off as long as the cheapest can be: until then the site's own nodes may come free."""
    if want.expected_start_s + want.limit_s <= want.deadline_s:
        return Verdict(None, "the site's own nodes keep its deadline")
    keeping = [option for option in options if now_s <= option.latest_s(now_s, want)]
    if not keeping:
        hoping = [
            option for option in options if option.end_s <= want.deadline_s and option.offer.market is not Market.SPOT
        ]
        if not hoping:
            return Verdict(None, "nothing keeps its deadline any more")
        best = min(hoping, key=lambda option: option.cost)
        return Verdict(best, f"{best.cost:.2f} on {best.offer.name}: its deadline is kept if it ends as expected")
    best = min(keeping, key=lambda option: _cost_by_deadline(option, want, keeping))
    latest_s = best.latest_s(now_s, want)
    if latest_s - now_s > PUT_OFF_S:
        return Verdict(None, f"{best.offer.name} keeps its deadline until later", wake_s=latest_s - PUT_OFF_S)
    return Verdict(best, f"{best.cost:.2f} on {best.offer.name}: the cheapest that keeps its deadline")


def _cost_by_deadline(option: Option, want: Want, keeping: list[Option]) -> float:
    """Who is interrupted, and saved nothing, runs once more, on the cheapest that is not taken back."""
    x = _interruptions_per_s(option.offer, option.need) * want.expected_s / option.offer.speed
    lasting = [each.cost for each in keeping if each.offer.market is Market.ON_DEMAND]
    if x == 0.0 or want.checkpoint_s < want.expected_s or not lasting:
        return option.cost
    boots_s = option.missing * option.offer.boot_s
    paid_s = boots_s + option.need * want.expected_s / option.offer.speed * -math.expm1(-x) / x
    return option.offer.price_per_hour * paid_s / HOUR_S - math.expm1(-x) * min(lasting)


PUT_OFF_S = 120.0
"""A deadline is not put at stake by waiting for the last moment: this much before, the job is served."""


def _hours(duration_s: float) -> str:
    return f"{duration_s / HOUR_S:.1f} h" if duration_s < math.inf else "ever so much"
