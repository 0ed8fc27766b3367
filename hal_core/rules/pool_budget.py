"""Budgets as hard limits: what was spent in this period, and what is committed, never exceed it.

Every instance has a lease. Until its end the instance is paid for in advance, as far as the budget is concerned, and at
its end it is gone: HAL releases it, and if HAL is not there it ends by itself. So whatever crashes, what is spent is at
most what was committed. A lease that reaches into the next period counts in this one with all of it, and in the next
with what is left: what is committed at the beginning of a period was within the one before, so it is within this one.

An account's budget is one more such limit. It pays for all of an instance that is rented for one of its jobs, so no job
that it does not pay for may start there: what an account spends is what its own jobs made necessary. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import attrs

from hal_core.models.cloud_pool import HOUR_S, CloudPool, SpendLimit
from hal_core.models.pool_decision import PoolInstance


@attrs.define
class Tally:
    """What was spent against one limit: in its period, and by instances that are gone."""

    limit: SpendLimit = attrs.field(factory=lambda: SpendLimit(math.inf))
    begin_s: float = -math.inf
    """Of the period."""
    by_gone: float = 0.0

    def gone(self, instance: PoolInstance, time_s: float) -> None:
        begin_s, _ = self.limit.period_of(time_s)
        if begin_s > self.begin_s:
            self.begin_s, self.by_gone = begin_s, 0.0
        self.by_gone += instance.cost(self.begin_s, time_s)

    def spent(self, instances: Iterable[PoolInstance], now_s: float) -> float:
        """In the period of that moment and until then, by these and by what is gone."""
        begin_s = max(self.limit.period_of(now_s)[0], self.begin_s)
        by_gone = self.by_gone if begin_s == self.begin_s else 0.0
        return by_gone + math.fsum(each.cost(begin_s, now_s) for each in instances)


class Purse:
    """What may still be committed while a decision is made."""

    def __init__(self, limit: SpendLimit | None, spent: float, instances: Iterable[PoolInstance], now_s: float) -> None:
        """`spent`: in the period of `now_s` and until then, by what is there and by what is gone."""
        self.left = math.inf
        if limit is not None:
            self.left = limit.amount - spent - math.fsum(each.cost(now_s, each.until_s) for each in instances)

    def pay(self, amount: float) -> None:
        """Commit so much, which is there."""
        self.left -= amount

    @staticmethod
    def cost(price_per_hour: float, duration_s: float, count: int = 1) -> float:
        return price_per_hour * max(0.0, duration_s) * count / HOUR_S


class Purses:
    """The pool's purse, and one for each account that has a budget: what an account pays for is taken from both."""

    def __init__(
        self,
        pool: CloudPool,
        spent: float,
        spent_by: Mapping[str, float],
        instances: Collection[PoolInstance],
        now_s: float,
    ) -> None:
        """`spent_by`: by account, as `spent` is by all."""
        self._of_pool = Purse(pool.budget, spent, instances, now_s)
        self._of_account = {
            each.account: Purse(each.limit, spent_by.get(each.account, 0.0), paid_by(each.account, instances), now_s)
            for each in pool.account_budgets
        }

    def lack(self, account: str, amount: float) -> str:
        """Which budget has not so much left; empty: both have."""
        mine = self._of_account.get(account)
        if mine is not None and amount > mine.left:
            return _lack(f"the budget of account {account}", mine.left, amount)
        return _lack("the budget", self._of_pool.left, amount) if amount > self._of_pool.left else ""

    def pay(self, account: str, amount: float) -> None:
        """Commit so much, which is there."""
        self._of_pool.pay(amount)
        if account in self._of_account:
            self._of_account[account].pay(amount)


def paid_by(account: str, instances: Iterable[PoolInstance]) -> list[PoolInstance]:
    """Those of the instances that this account's budget pays for."""
    return [each for each in instances if each.account == account]


def _lack(budget: str, left: float, amount: float) -> str:
    return f"{budget} has {max(0.0, left):.2f} left, and {amount:.2f} would be committed"
