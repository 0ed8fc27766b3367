"""What a job would cost where, before it is submitted; and what a pool would do now, before it does it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from hal_core.models.cloud_pool import HOUR_S
from hal_core.models.pool_decision import Admit, Decline, Extend, PoolAction, Provision, Relinquish
from hal_core.models.pool_quote import PlannedAction, PoolQuote
from hal_core.rules.pool_choice import Option, options_of
from hal_core.rules.pool_explain import answer_to
from hal_core.rules.pool_starts import starts_in_turn
from hal_core.rules.pool_supply import Supply
from hal_core.rules.pool_wants import view_of
from hal_core.rules.pools import decide_pool

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.pool_book import KeptPool
    from hal_core.rules.state import State


def quotes(state: State, record: JobRecord, now_s: float) -> tuple[PoolQuote, ...]:
    """For a job that waits, or that would: the site's own nodes first, then every offer of every pool that would do.

    Nothing without pools: then there is nothing to be compared.
    """
    if not state.pools.pools:
        return ()
    found = [quote for kept in state.pools.pools.values() for quote in _of_pool(state, kept, record, now_s)]
    return (_of_own(state, record, now_s), *found)


def planned(state: State, kept: KeptPool, now_s: float) -> tuple[PlannedAction, ...]:
    """What the pool would do if it decided now."""
    decision = decide_pool(kept.ledger.as_seen(kept.terms, now_s), view_of(state, kept, now_s))
    return tuple(_planned(action) for action in decision.actions)


def _of_own(state: State, record: JobRecord, now_s: float) -> PoolQuote:
    """By the prices of the partition."""
    row = record.pending_row()
    (start_s,) = starts_in_turn(state.snapshot(now_s), [row])
    partition = state.partitions[row.shape.partition]
    shape = row.shape
    per_hour = partition.money_per_cpu_hour * shape.total_cpus
    per_hour += partition.money_per_gpu_hour * sum(part.node_count * part.gpus_asked for part in shape.parts)
    run_s = row.expected_s if row.expected_s < math.inf else None
    cost = None if run_s is None else per_hour * run_s * row.element_count / HOUR_S
    wait_s = None if start_s == math.inf else max(0.0, start_s - now_s)
    says = "no nodes of the site would ever do" if wait_s is None else ""
    return PoolQuote(wait_s=wait_s, run_s=run_s, cost=cost, says=says)


def _of_pool(state: State, kept: KeptPool, record: JobRecord, now_s: float) -> Iterator[PoolQuote]:
    view = view_of(state, kept, now_s, record)
    pool = kept.ledger.as_seen(kept.terms, now_s)
    said = answer_to(kept, record, decide_pool(pool, view))
    wants = [want for want in view.wants if want.job_id == record.job_id]
    supply = Supply(view.instances, view.free, now_s)
    options = list(options_of(pool.offers, wants[0], supply, now_s)) if wants else []
    count = record.pending_row().element_count
    for option in options:
        is_chosen = said.offer == option.offer.name
        says = said.text if is_chosen or not said.offer else ""
        yield attrs.evolve(_quote(kept.pool.name, option, count, now_s), says=says, is_chosen=is_chosen)
    if not options:
        yield PoolQuote(pool=kept.pool.name, says=said.text)


def _quote(pool: str, option: Option, count: int, now_s: float) -> PoolQuote:
    offer = option.offer
    lease_s = option.lease_until_s(now_s) - now_s
    return PoolQuote(
        pool=pool,
        offer=offer.name,
        market=offer.market.value,
        wait_s=max(0.0, option.start_s - now_s),
        boot_s=offer.boot_s if option.missing else 0.0,
        run_s=option.run_s,
        cost=option.cost * count,
        committed=offer.price_per_hour * option.missing * lease_s * count / HOUR_S,
    )


def _planned(action: PoolAction) -> PlannedAction:
    match action:
        case Provision(_, offer, count, _, reason):
            return PlannedAction("rent", f"{count} x {offer}", reason)
        case Extend(instance, _, reason):
            return PlannedAction("pay longer for", instance, reason)
        case Relinquish(instance, reason):
            return PlannedAction("give back", instance, reason)
        case Admit(job_id, offer, reason, _):
            return PlannedAction("admit", f"job {job_id}", f"{offer}: {reason}")
        case Decline(job_id, reason, _):
            return PlannedAction("let wait", f"job {job_id}", reason)
