"""What happens to the instances of pools, as facts in the past tense. The ledger of a pool is a fold of them."""

from __future__ import annotations

import math

import attrs

from hal_core.models.job import JobId


@attrs.frozen
class InstancesRequested:
    """HAL is about to ask the provider. It costs money from now on, as far as budgets are concerned."""

    time_s: float
    pool: str
    token: str
    offer: str
    count: int
    price_per_hour: float
    boot_s: float
    until_s: float
    reason: str
    life_s: float = math.inf
    """So long after it became ready an instance ends."""
    account: str = ""
    """Whose budget pays for them, beside the pool's."""


@attrs.frozen
class StartedInstance:
    """One that the provider has made: which node it is, and its id there."""

    instance: str
    node: str
    native_id: str


@attrs.frozen
class InstancesStarted:
    """The provider's answer: it has made these of what was requested. The others do not exist, and never will."""

    time_s: float
    pool: str
    token: str
    started: tuple[StartedInstance, ...]


@attrs.frozen
class InstancesRefused:
    """The provider has none, or would not say so in time: nothing of this token exists, or ever will."""

    time_s: float
    pool: str
    token: str
    detail: str
    retry_s: float
    """The offer is not asked for before then."""


@attrs.frozen
class OfferClosed:
    """The provider failed, and what it did is not known: the request stands, and nothing more is asked of the offer."""

    time_s: float
    pool: str
    offer: str
    detail: str
    retry_s: float


@attrs.frozen
class InstanceJoined:
    """It can be given work."""

    time_s: float
    pool: str
    instance: str


@attrs.frozen
class LeaseExtended:
    time_s: float
    pool: str
    instance: str
    until_s: float
    reason: str


@attrs.frozen
class InstanceDrained:
    """Nothing more is started there."""

    time_s: float
    pool: str
    instance: str
    reason: str


@attrs.frozen
class InstanceReleased:
    """HAL is about to ask the provider to end it, and goes on until it is gone."""

    time_s: float
    pool: str
    instance: str
    reason: str


@attrs.frozen
class InstanceGone:
    """The provider no longer has it. It costs nothing more."""

    time_s: float
    pool: str
    instance: str
    detail: str


@attrs.frozen
class JobAdmitted:
    """A waiting job may start in the pool, and why that is worth it."""

    time_s: float
    pool: str
    job_id: JobId
    offer: str
    cost: float
    reason: str
    is_gang: bool = False
    """It has all its nodes in the pool, or none."""
    account: str = ""
    """Whose budget pays for it, beside the pool's: of the pool it starts on what that pays for, and nowhere else."""


@attrs.frozen
class JobsDeclined:
    """What was learned of the jobs that are not served: these will miss the goal, those may not start in the pool any
    more, and a start in time is worth so much from now on (rules/pool_worth.py)."""

    time_s: float
    pool: str
    late: tuple[JobId, ...]
    withdrawn: tuple[JobId, ...]
    worth_price: float
    worth_highest: float


@attrs.frozen
class PoolStopped:
    """Nothing more is rented, and what is idle is released; with `does_release`, what works too."""

    time_s: float
    pool: str
    by: str
    does_release: bool


@attrs.frozen
class PoolResumed:
    time_s: float
    pool: str
    by: str


PoolEvent = (
    InstancesRequested
    | InstancesStarted
    | InstancesRefused
    | OfferClosed
    | InstanceJoined
    | LeaseExtended
    | InstanceDrained
    | InstanceReleased
    | InstanceGone
    | JobAdmitted
    | JobsDeclined
    | PoolStopped
    | PoolResumed
)
