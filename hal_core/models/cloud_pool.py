"""Cloud pools: nodes that cost money and take minutes to appear. What a site allows; pool_decision.py has the rest.

Times are seconds since the epoch, money is in the cluster's currency. Nothing here talks to a provider.
"""

from __future__ import annotations

import math
from enum import Enum

import attrs

HOUR_S = 3600.0


class Market(Enum):
    """How a provider sells a node: for as long as one likes, or until it wants it back."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"


@attrs.frozen
class PoolOffer:
    """A kind of node of a pool, in one zone and one market, with what it costs from its request to its release."""

    name: str
    price_per_hour: float
    boot_s: float
    """From the request until work can start, as a rule."""
    count_max: int
    market: Market = Market.ON_DEMAND
    interruptions_per_hour: float = 0.0
    """How often one such node is taken back, as observed; of spot only."""
    speed: float = 1.0
    """A job that runs for an hour on the site's own nodes takes 1 / speed hours here."""
    nodes: tuple[str, ...] = ()
    """Of the cluster: what its instances are, one each, once they are there."""
    life_s: float = math.inf
    """So long after it became ready an instance ends, and no lease lasts longer: an allocation of a cluster does so."""

    @property
    def boot_s_max(self) -> float:
        """Who is not there by then never will be."""
        return boot_s_max(self.boot_s)


def boot_s_max(boot_s: float) -> float:
    """The longest boot that is waited for, of an offer that takes so long as a rule."""
    return BOOT_FACTOR_MAX * boot_s + BOOT_S_SPARE


IDLE_SHARE = 0.25
"""Of the boot time."""
BOOT_FACTOR_MAX = 3.0
BOOT_S_SPARE = 60.0


@attrs.frozen
class SpendLimit:
    """No more money than this in each period; periods begin at multiples of their length. A limit like any other."""

    amount: float
    period_s: float = math.inf

    def period_of(self, time_s: float) -> tuple[float, float]:
        """The period that the time is in: from, until."""
        if self.period_s == math.inf:
            return -math.inf, math.inf
        begin_s = math.floor(time_s / self.period_s) * self.period_s
        return begin_s, begin_s + self.period_s


@attrs.frozen
class AccountBudget:
    """What an account may spend of a pool's money. What is rented for its jobs serves no others."""

    account: str
    limit: SpendLimit
    below: tuple[str, ...] = ()
    """The accounts below it in the tree: it pays for their jobs too."""


@attrs.frozen
class WaitGoal:
    """So large a share of the jobs is to start within so many seconds. The others may wait for cheaper nodes."""

    share: float = 0.9
    within_s: float | None = None
    """None: as long as the quickest offer takes to boot, for no pool can be faster."""


@attrs.frozen
class CloudPool:
    """What a site allows HAL to rent. `offers` of equal cost are taken in this order."""

    name: str
    offers: tuple[PoolOffer, ...]
    count_max: int
    count_min: int = 0
    """Instances that stay although they are idle."""
    idle_s: float | None = None
    """How long an instance may be idle; None: a share of its boot time (rules/pools.py says why)."""
    budget: SpendLimit | None = None
    goal: WaitGoal = attrs.field(factory=WaitGoal)
    value_per_hour: float = 0.0
    """What it is worth that one job starts an hour earlier. A job may say that it is less."""
    wait_s_max: float = math.inf
    """Who would wait longer than this is served whatever it costs, within the budget."""
    is_stopped: bool = False
    """The kill switch: nothing is provisioned, and what is idle is released."""
    cloud: str = ""
    """Who supplies its instances, by the name in the configuration."""
    accounts: tuple[str, ...] = ()
    """Whose jobs it is for, and whose money its budget is. None named: everybody's."""
    account_budgets: tuple[AccountBudget, ...] = ()
    """Beside the pool's own: both have to have the money. No account of them is below another."""

    @property
    def within_s(self) -> float:
        """What the goal comes to."""
        if self.goal.within_s is not None:
            return self.goal.within_s
        return min((offer.boot_s for offer in self.offers), default=0.0)

    def offer(self, name: str) -> PoolOffer | None:
        return next((offer for offer in self.offers if offer.name == name), None)

    def payer_of(self, account: str) -> str:
        """The account whose budget pays for the jobs of this one; empty: none has one, and only the pool's counts."""
        budgets = (each for each in self.account_budgets if account == each.account or account in each.below)
        return next((each.account for each in budgets), "")

    def idle_s_of(self, offer: PoolOffer) -> float:
        return IDLE_SHARE * offer.boot_s if self.idle_s is None else self.idle_s
