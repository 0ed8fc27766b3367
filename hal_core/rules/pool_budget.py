"""Budgets as hard limits: what was spent in this period, and what is committed, never exceed it.

Every instance has a lease. Until its end the instance is paid for in advance, as far as the budget is concerned, and at
its end it is gone: HAL releases it, and if HAL is not there it ends by itself. So whatever crashes, what is spent is at
most what was committed. A lease that reaches into the next period counts in this one with all of it, and in the next
with what is left: what is committed at the beginning of a period was within the one before, so it is within this one.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hal_core.models.cloud_pool import HOUR_S, SpendLimit
from hal_core.models.pool_decision import PoolInstance


class Purse:
    """What may still be committed while a decision is made."""

    def __init__(self, limit: SpendLimit | None, spent: float, instances: Iterable[PoolInstance], now_s: float) -> None:
        """`spent`: in the period of `now_s` and until then, by what is there and by what is gone."""
        self.left = math.inf
        if limit is not None:
            self.left = limit.amount - spent - math.fsum(each.cost(now_s, each.until_s) for each in instances)

    def pay(self, price_per_hour: float, duration_s: float, count: int = 1) -> bool:
        """Commit so much, if there is so much."""
        amount = self.cost(price_per_hour, duration_s, count)
        if amount > self.left:
            return False
        self.left -= amount
        return True

    @staticmethod
    def cost(price_per_hour: float, duration_s: float, count: int = 1) -> float:
        return price_per_hour * max(0.0, duration_s) * count / HOUR_S
