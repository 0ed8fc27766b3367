"""What each pool says of a job that waits: the sum that speaks for renting, or against it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hal_core.models.cloud_pool import Market
from hal_core.models.pool_decision import Admit, Decline, InstanceState
from hal_core.rules.pool_budget import paid_by
from hal_core.rules.pool_wants import view_of
from hal_core.rules.pools import PoolDecision, decide_pool

if TYPE_CHECKING:
    from hal_core.models.pool_event import JobAdmitted
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.pool_book import KeptPool
    from hal_core.rules.state import State

NOT_ASKED = "none of its offers is for such a job, or too many stand before it"
NO_RESTART = "its offers for such jobs may be taken back, and it must not begin again; with --requeue it may"
MIXED = "it asks for different nodes, and pools rent nodes of one kind for a job"
NO_LIMIT = "it has no time limit, and nobody knows what it would cost"


def pool_texts(state: State, record: JobRecord, now_s: float) -> tuple[str, ...]:
    """One sentence for each pool, as its rule would decide now."""
    texts = ((kept.pool.name, _text(state, kept, record, now_s)) for kept in state.pools.pools.values())
    return tuple(f"{name}: {text}" for name, text in texts if record.is_queued)


def waits_for(state: State, event: JobAdmitted, now_s: float) -> str:
    """What an admitted job waits for."""
    kept = state.pools.pools[event.pool]
    mine = [each for each in paid_by(event.account, kept.ledger.instances.values()) if each.offer == event.offer]
    booting = [each for each in mine if each.state is InstanceState.BOOTING]
    if not booting:
        return f"may start on {event.offer} of pool {event.pool}, or on other nodes, when one is free"
    left_s = max(0.0, min(each.ready_s for each in booting) - now_s)
    soon = f"expected in {left_s:.0f} s" if left_s else "expected any moment"
    return f"waits for {event.offer} of pool {event.pool}: {len(booting)} boot, {soon}"


def _text(state: State, kept: KeptPool, record: JobRecord, now_s: float) -> str:
    event = state.pools.admitted.get(record.job_id)
    if event is not None and event.pool == kept.pool.name:
        return f"admitted: {event.reason}; it {waits_for(state, event, now_s)}"
    decision = decide_pool(kept.ledger.as_seen(kept.terms, now_s), view_of(state, kept, now_s))
    said = answer_to(kept, record, decision)
    return f"would be admitted: {said.text}" if said.offer else said.text


@attrs.frozen
class Said:
    """What a decision says of one job. `offer` is empty if nothing is rented for it."""

    text: str
    offer: str = ""


def answer_to(kept: KeptPool, record: JobRecord, decision: PoolDecision) -> Said:
    """Of a job that was not admitted before."""
    if record.spec.components:
        return Said(MIXED)
    if record.spec.walltime_s is None:
        return Said(NO_LIMIT)
    said = [
        action for action in decision.actions if isinstance(action, Admit | Decline) and action.job_id == record.job_id
    ]
    if not said:
        is_taken_back = any(offer.market is Market.SPOT for offer in kept.pool.offers)
        return Said(NO_RESTART if is_taken_back and not record.spec.can_requeue else NOT_ASKED)
    best = next((action for action in said if isinstance(action, Admit)), said[0])
    return Said(best.reason, best.offer if isinstance(best, Admit) else "")
