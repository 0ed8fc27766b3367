"""What a pool has, owes and has spent: a fold of its events. After a crash it is folded again, and nothing is lost.

An instance is in the ledger before the provider is asked for it, and leaves it when the provider says that it is gone.
So whatever the provider has under one of our tokens is known, and whatever is known costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import assert_never

import attrs

from hal_core.models.cloud_pool import InstanceState, PoolInstance, PoolOffer, SpendLimit
from hal_core.models.pool_event import (
    InstanceDrained,
    InstanceGone,
    InstanceJoined,
    InstanceReleased,
    InstancesRefused,
    InstancesRequested,
    JobAdmitted,
    LeaseExtended,
    PoolEvent,
)

BACK_OFF_S = 60.0
BACK_OFF_S_MAX = 3600.0


class PoolLedger:
    """The instances of one pool, its spend, and the offers that are closed for a while."""

    def __init__(self, budget: SpendLimit | None = None) -> None:
        self._budget = budget or SpendLimit(math.inf)
        self.instances: dict[str, PoolInstance] = {}
        self.drained: set[str] = set()
        self.closed_until_s: dict[str, float] = {}
        self.serial = 0
        self._failures: dict[str, int] = {}
        """By offer, in a row."""
        self._period_begin_s = -math.inf
        self._spent_by_gone = 0.0
        """In this period, by what is gone."""

    def apply(self, event: PoolEvent) -> None:
        match event:
            case InstancesRequested(offer=name, price_per_hour=price, boot_s=boot_s):
                self.serial += 1
                offer = PoolOffer(name, price, boot_s, event.count)
                for each in requested(event.token, offer, event.count, event.time_s, event.until_s):
                    self.instances[each.name] = each
            case InstancesRefused(token=token, retry_s=retry_s):
                for each in [each for each in self.instances.values() if each.token == token]:
                    self.closed_until_s[each.offer] = retry_s
                    self._failures[each.offer] = self._failures.get(each.offer, 0) + (each.name == f"{token}-1")
                    del self.instances[each.name]
            case InstanceJoined(instance=name, time_s=time_s):
                self._change(name, state=InstanceState.READY, ready_s=time_s)
                self._failures.pop(self.instances[name].offer, None)
            case LeaseExtended(instance=name, until_s=until_s):
                self._change(name, until_s=until_s)
            case InstanceDrained(instance=name):
                self.drained.add(name)
            case InstanceReleased(instance=name):
                self._change(name, state=InstanceState.RELEASING)
            case InstanceGone(instance=name, time_s=time_s):
                gone = self.instances.pop(name)
                self.drained.discard(name)
                self._begin_period(time_s)
                self._spent_by_gone += gone.cost(self._period_begin_s, time_s)
            case JobAdmitted():
                pass
            case _:
                assert_never(event)

    def note_idle(self, name: str, since_s: float | None) -> None:
        """Since when no job is on the instance; None: some are. It follows from the events of jobs, so it is none."""
        self._change(name, idle_since_s=since_s)

    def spent(self, now_s: float) -> float:
        """In the period of that moment, until then."""
        self._begin_period(now_s)
        return self._spent_by_gone + math.fsum(
            each.cost(self._period_begin_s, now_s) for each in self.instances.values()
        )

    def back_off_s(self, offer: str) -> float:
        """How long to leave the offer alone after one more failure: twice as long each time in a row."""
        return min(BACK_OFF_S * 2.0 ** self._failures.get(offer, 0), BACK_OFF_S_MAX)

    def _begin_period(self, now_s: float) -> None:
        begin_s, _ = self._budget.period_of(now_s)
        if begin_s > self._period_begin_s:
            self._period_begin_s, self._spent_by_gone = begin_s, 0.0

    def _change(self, name: str, **fields: object) -> None:
        self.instances[name] = attrs.evolve(self.instances[name], **fields)  # type: ignore[arg-type]


def requested(token: str, offer: PoolOffer, count: int, now_s: float, until_s: float) -> Iterable[PoolInstance]:
    """The instances that a provision asks for, as they are known from then on."""
    for number in range(1, count + 1):
        name = f"{token}-{number}"
        times = {"requested_s": now_s, "until_s": until_s, "ready_s": now_s + offer.boot_s}
        yield PoolInstance(name, token, offer.name, InstanceState.BOOTING, offer.price_per_hour, **times)
