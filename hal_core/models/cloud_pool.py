"""Cloud pools: nodes that cost money and take minutes to appear. What a site allows, what there is, what to do.

Times are seconds since the epoch, money is in the cluster's currency. Nothing here talks to a provider.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum

import attrs

from hal_core.models.job import JobId

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

    @property
    def boot_s_max(self) -> float:
        """Who is not there by then never will be."""
        return BOOT_FACTOR_MAX * self.boot_s + BOOT_S_SPARE


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
    """What it is worth that one job starts an hour earlier."""
    wait_s_max: float = math.inf
    """Who would wait longer than this is served whatever it costs, within the budget."""
    is_stopped: bool = False
    """The kill switch: nothing is provisioned, and what is idle is released."""

    @property
    def within_s(self) -> float:
        """What the goal comes to."""
        if self.goal.within_s is not None:
            return self.goal.within_s
        return min((offer.boot_s for offer in self.offers), default=0.0)

    def offer(self, name: str) -> PoolOffer | None:
        return next((offer for offer in self.offers if offer.name == name), None)

    def idle_s_of(self, offer: PoolOffer) -> float:
        return IDLE_SHARE * offer.boot_s if self.idle_s is None else self.idle_s


class InstanceState(Enum):
    """Of an instance, as the journal knows it."""

    BOOTING = "booting"
    """Requested, perhaps without an answer, and not ready."""
    READY = "ready"
    RELEASING = "releasing"
    """Asked to end; it costs money until the provider has said that it is gone."""


@attrs.frozen
class PoolInstance:
    """An instance of a pool. Its name is its token with a number: known before the provider knows of it."""

    name: str
    token: str
    offer: str
    state: InstanceState
    price_per_hour: float
    requested_s: float
    until_s: float
    """The end of its lease: what is committed for it. By then it has ended, if need be by itself."""
    ready_s: float
    """When it became ready, or is expected to."""
    idle_since_s: float | None = None
    """None: work runs on it, or waits for it."""

    def cost(self, from_s: float, until_s: float) -> float:
        """What it costs within this stretch of time, if it is there for all of it."""
        return self.price_per_hour * max(0.0, until_s - max(from_s, self.requested_s)) / HOUR_S


@attrs.frozen
class Want:
    """A job that waits, as a pool sees it."""

    job_id: JobId
    instances: Mapping[str, float]
    """How many instances of each offer it needs; a part of one if it leaves room beside it. Others do not serve it."""
    expected_start_s: float
    """Without any more nodes; infinity: never."""
    expected_s: float
    """How long it is expected to run, and `limit_s` at most."""
    limit_s: float
    submit_s: float
    deadline_s: float = math.inf
    """It is to have ended by then."""
    checkpoint_s: float = math.inf
    """An interruption loses no more work than this."""
    is_late: bool = False
    """It was counted as one that misses the goal."""


@attrs.frozen
class Provision:
    """Rent instances. The token makes it idempotent: asked again after a crash, there are no more of them."""

    token: str
    offer: str
    count: int
    until_s: float
    reason: str


@attrs.frozen
class Extend:
    """Go on paying for an instance. It must be told, for at the end of its lease it ends by itself."""

    instance: str
    until_s: float
    reason: str


@attrs.frozen
class Drain:
    """Nothing more is started there: the instance is released when it is idle, or at the end of its lease."""

    instance: str
    reason: str


@attrs.frozen
class Relinquish:
    """Release an instance. It is repeated until the provider says that it is gone."""

    instance: str
    reason: str


@attrs.frozen
class Admit:
    """The job may start on instances of this offer, beside the nodes that it may have anyway."""

    job_id: JobId
    offer: str
    reason: str
    cost: float
    """What it is expected to cost."""


@attrs.frozen
class Decline:
    """Nothing is rented for the job now, and why."""

    job_id: JobId
    reason: str
    is_late: bool = False
    """It will miss the goal, and is counted as one that does."""


PoolAction = Provision | Extend | Drain | Relinquish | Admit | Decline
