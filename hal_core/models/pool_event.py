"""What happens to the instances of pools, as facts in the past tense. The ledger of a pool is a fold of them."""

from __future__ import annotations

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


PoolEvent = (
    InstancesRequested
    | InstancesRefused
    | InstanceJoined
    | LeaseExtended
    | InstanceDrained
    | InstanceReleased
    | InstanceGone
    | JobAdmitted
)
