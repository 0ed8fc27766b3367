"""What people are told of pools: what each has, owes and has spent, and why an offer is left alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from hal_core.models.cloud_pool import HOUR_S
from hal_core.models.node import NodeName
from hal_core.models.pool_decision import PoolInstance

if TYPE_CHECKING:
    from hal_core.models.cloud_pool import PoolOffer, SpendLimit
    from hal_core.rules.pool_book import KeptPool
    from hal_core.rules.state import State


@attrs.frozen(kw_only=True)
class PoolOfferStatus:
    """`closed_until_s` is None unless nothing more is asked of it for a while; `closed_why` says why."""

    name: str
    market: str
    price_per_hour: float
    boot_s: float
    count: int
    count_max: int
    closed_until_s: float | None
    closed_why: str


@attrs.frozen(kw_only=True)
class PoolInstanceStatus:
    """`node` and `native_id` are empty until the provider has answered. `until_s`: the end of its lease. `account`:
    whose budget pays for it beside the pool's; empty: none."""

    name: str
    node: str
    native_id: str
    offer: str
    state: str
    price_per_hour: float
    requested_time_s: float
    until_s: float
    account: str
    idle_since_s: float | None
    spent: float
    allocation_count: int


@attrs.frozen(kw_only=True)
class AccountBudgetStatus:
    """`spent` in its period of now; `committed` until the ends of the leases that it pays for."""

    account: str
    spent: float
    committed: float
    budget: float
    left: float
    period_s: float | None
    """None: the budget is for ever."""


@attrs.frozen(kw_only=True)
class PoolStatus:
    """`spent` in the period of now; `committed` until the ends of all leases. `left` is None without a budget."""

    name: str
    cloud: str
    accounts: tuple[str, ...]
    is_stopped: bool
    stopped_by: str
    count: int
    count_min: int
    count_max: int
    spent: float
    committed: float
    budget: float | None
    left: float | None
    period_s: float | None
    """None: the budget is for ever."""
    account_budgets: tuple[AccountBudgetStatus, ...]
    per_hour: float
    """What its instances cost now."""
    forecast: float | None
    """What will be spent by the end of the period, if the rest of it is like what is over of it. None: without periods,
    and in the first hour of one."""
    admitted_count: int
    """Jobs that wait and may start there."""
    offers: tuple[PoolOfferStatus, ...]
    instances: tuple[PoolInstanceStatus, ...]


def pool_status(state: State, kept: KeptPool, now_s: float) -> PoolStatus:
    pool, ledger = kept.pool, kept.ledger
    spent, committed = ledger.spent(now_s), ledger.committed(now_s)
    budget = pool.budget
    return PoolStatus(
        name=pool.name,
        cloud=pool.cloud,
        accounts=pool.accounts,
        is_stopped=kept.terms.is_stopped,
        stopped_by=kept.stopped.by if kept.stopped is not None else "",
        count=len(ledger.instances),
        count_min=pool.count_min,
        count_max=pool.count_max,
        spent=spent,
        committed=committed,
        budget=None if budget is None else budget.amount,
        left=None if budget is None else budget.amount - spent - committed,
        period_s=None if budget is None else _period_s(budget),
        account_budgets=tuple(account_budgets(kept, now_s)),
        per_hour=math.fsum(each.price_per_hour for each in ledger.instances.values()),
        forecast=None if budget is None else _forecast(budget, spent, committed, now_s),
        admitted_count=sum(event.pool == pool.name for event in state.pools.admitted.values()),
        offers=tuple(_offer(kept, offer, now_s) for offer in pool.offers),
        instances=tuple(_instance(state, each, now_s) for each in ledger.instances.values()),
    )


def account_budgets(kept: KeptPool, now_s: float) -> Iterator[AccountBudgetStatus]:
    """In the order of the configuration."""
    spent_by = kept.ledger.spent_by(now_s)
    for each in kept.pool.account_budgets:
        spent, committed = spent_by[each.account], kept.ledger.committed(now_s, each.account)
        yield AccountBudgetStatus(
            account=each.account,
            spent=spent,
            committed=committed,
            budget=each.limit.amount,
            left=each.limit.amount - spent - committed,
            period_s=_period_s(each.limit),
        )


def _period_s(limit: SpendLimit) -> float | None:
    return None if limit.period_s == math.inf else limit.period_s


def _forecast(budget: SpendLimit, spent: float, committed: float, now_s: float) -> float | None:
    """No less than is committed in this period already, and no more than the budget, which holds."""
    begin_s, end_s = budget.period_of(now_s)
    if not HOUR_S <= now_s - begin_s < math.inf:
        return None
    likely = spent * (end_s - begin_s) / (now_s - begin_s)
    return min(max(likely, spent + committed), budget.amount)


def _offer(kept: KeptPool, offer: PoolOffer, now_s: float) -> PoolOfferStatus:
    ledger = kept.ledger
    until_s = ledger.closed_until_s.get(offer.name, -math.inf)
    is_closed = until_s > now_s
    return PoolOfferStatus(
        name=offer.name,
        market=offer.market.value,
        price_per_hour=offer.price_per_hour,
        boot_s=offer.boot_s,
        count=sum(each.offer == offer.name for each in ledger.instances.values()),
        count_max=offer.count_max,
        closed_until_s=until_s if is_closed else None,
        closed_why=ledger.closed_why.get(offer.name, "") if is_closed else "",
    )


def _instance(state: State, each: PoolInstance, now_s: float) -> PoolInstanceStatus:
    number = state.table.number_of.get(NodeName(each.node))
    return PoolInstanceStatus(
        name=each.name,
        node=each.node,
        native_id=each.native_id,
        offer=each.offer,
        state=each.state.value,
        price_per_hour=each.price_per_hour,
        requested_time_s=each.requested_s,
        until_s=each.until_s,
        account=each.account,
        idle_since_s=each.idle_since_s,
        spent=each.cost(-math.inf, now_s),
        allocation_count=0 if number is None else state.table.allocation_count[number],
    )
