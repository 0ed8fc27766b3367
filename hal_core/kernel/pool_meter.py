"""Figures of cloud pools for `GET /metrics`: instances by state, and money."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Final

from hal_core.kernel.exposition import family
from hal_core.models.pool_decision import InstanceState
from hal_core.rules.pool_status import account_budgets
from hal_core.rules.state import State

MONEY: Final = (
    ("hal_pool_spent", "Money spent in the period of the pool's budget."),
    ("hal_pool_committed", "Money that the leases of its instances will have cost at their ends."),
    ("hal_pool_budget", "Money that may be spent in a period; pools without a budget are left out."),
)

ACCOUNT_MONEY: Final = (
    ("hal_pool_account_spent", "Money spent in the period of the account's budget in the pool."),
    ("hal_pool_account_committed", "Money that the leases it pays for will have cost at their ends."),
    ("hal_pool_account_budget", "Money that the account may spend in a period."),
)


class PoolMeter:
    """`state` gives the live state."""

    def __init__(self, state: Callable[[], State], now_s: Callable[[], float]) -> None:
        self._state = state
        self._now_s = now_s

    def render(self) -> bytes:
        """In the Prometheus text format; nothing if there are no pools."""
        pools, now_s = self._state().pools.pools, self._now_s()
        if not pools:
            return b""
        instances: list[tuple[str, float]] = []
        money: dict[str, list[tuple[str, float]]] = {name: [] for name, _ in (*MONEY, *ACCOUNT_MONEY)}
        for name, kept in pools.items():
            label = f'pool="{name}"'
            counts = Counter(each.state for each in kept.ledger.instances.values())
            instances += [(f'{{{label},state="{state.value}"}}', float(counts[state])) for state in InstanceState]
            values = (kept.ledger.spent(now_s), kept.ledger.committed(now_s))
            amount = math.inf if kept.pool.budget is None else kept.pool.budget.amount
            for (family_name, _), value in zip(MONEY, (*values, amount), strict=True):
                if value < math.inf:
                    money[family_name].append((f"{{{label}}}", value))
            for each in account_budgets(kept, now_s):
                labels = f'{{{label},account="{each.account}"}}'
                amounts = (each.spent, each.committed, each.budget)
                for (family_name, _), value in zip(ACCOUNT_MONEY, amounts, strict=True):
                    money[family_name].append((labels, value))
        texts = [family("hal_pool_instances", "gauge", "Instances of cloud pools by state.", instances)]
        texts += [family(name, "gauge", about, money[name]) for name, about in MONEY]
        texts += [family(name, "gauge", about, money[name]) for name, about in ACCOUNT_MONEY if money[name]]
        return "".join(texts).encode("ascii")
