"""What a pool's rule sees and says: the instances that there are, the jobs that wait, and what is to be done.

Times are seconds since the epoch, money is in the cluster's currency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum

import attrs

from hal_core.models.cloud_pool import HOUR_S, boot_s_max
from hal_core.models.job import JobId


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
    node: str = ""
    """Which node of the cluster it is; empty: the provider has not said so yet."""
    native_id: str = ""
    """Its id at the provider; empty likewise."""
    life_s: float = math.inf
    """It ends so long after it became ready, whatever is paid for it."""
    account: str = ""
    """Whose budget pays for it; only jobs that this one pays for may start there. Empty: those that none pays for."""

    @property
    def latest_s(self) -> float:
        """While it boots: if it is not ready by then, it never will be."""
        return self.requested_s + boot_s_max(self.ready_s - self.requested_s)

    @property
    def until_s_max(self) -> float:
        """No lease of it can end later. Before it is ready nobody knows."""
        return math.inf if self.state is InstanceState.BOOTING else self.ready_s + self.life_s

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
    value_per_hour: float | None = None
    """What its user says that an hour less to wait is worth; None: what the pool says."""
    account: str = ""
    """Whose budget pays for it, beside the pool's; empty: none."""


@attrs.frozen
class Provision:
    """Rent instances. The token makes it idempotent: asked again after a crash, there are no more of them."""

    token: str
    offer: str
    count: int
    until_s: float
    reason: str
    account: str = ""
    """Whose budget pays, beside the pool's."""


@attrs.frozen
class Extend:
    """Go on paying for an instance. It must be told, for at the end of its lease it ends by itself."""

    instance: str
    until_s: float
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


PoolAction = Provision | Extend | Relinquish | Admit | Decline
