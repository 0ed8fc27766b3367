"""What a pool does now, as events: the decision of its rule, and the orders of its administrators. Pure.

Each action of the rule is an event before anybody asks a provider, so what a crash leaves is known: the shell
(kernel/renting.py) sees from the state alone what is to be asked, and asks until there is an answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, assert_never

from hal_core.errors import NotFound, did_you_mean
from hal_core.models.event import Event
from hal_core.models.job import JobId
from hal_core.models.message import (
    Answer,
    DecidePool,
    InstancesEnded,
    InstancesMade,
    PoolMessage,
    ProvisionFailed,
    ResumePool,
    StopPool,
)
from hal_core.models.node import NodeName
from hal_core.models.pool_decision import (
    Admit,
    Decline,
    Extend,
    InstanceState,
    PoolAction,
    Provision,
    Relinquish,
)
from hal_core.models.pool_event import (
    InstanceDrained,
    InstanceReleased,
    InstancesRequested,
    JobAdmitted,
    JobsDeclined,
    LeaseExtended,
    PoolResumed,
    PoolStopped,
)
from hal_core.rules import pool_answers
from hal_core.rules.leaving import BY as CLOUD
from hal_core.rules.pool_wants import payer_of, view_of
from hal_core.rules.pools import PoolDecision, PoolView, decide_pool

if TYPE_CHECKING:
    from hal_core.rules.pool_book import KeptPool
    from hal_core.rules.state import State


def decide(state: State, message: PoolMessage, now_s: float) -> tuple[list[Event], Answer]:
    """As rules/decide.py, for all messages about pools."""
    match message:
        case DecidePool():
            return _decided(state, message, now_s)
        case InstancesMade():
            return pool_answers.instances_made(state, message, now_s), None
        case ProvisionFailed():
            return pool_answers.provision_failed(state, message, now_s), None
        case InstancesEnded():
            return pool_answers.instances_ended(state, message, now_s), None
        case StopPool() | ResumePool():
            return _stop_or_resume(state, message, now_s), None
        case _:
            assert_never(message)


def _decided(state: State, message: DecidePool, now_s: float) -> tuple[list[Event], Answer]:
    """One decision of the pool's rule."""
    kept = state.pools.pools.get(message.pool)
    if kept is None:
        return [], None
    view = view_of(state, kept, now_s)
    decision = decide_pool(kept.ledger.as_seen(kept.terms, now_s), view)
    events = list(_leaving(state, kept, now_s))
    events += _actions(state, kept, decision.actions, now_s)
    late, withdrawn = _declined(kept, view, decision)
    if late or withdrawn or decision.worth != kept.worth:
        worth = decision.worth
        events.append(JobsDeclined(now_s, kept.pool.name, late, withdrawn, worth.price, worth.highest))
    return events, decision.wake_s if decision.wake_s < math.inf else None


def _actions(state: State, kept: KeptPool, actions: Sequence[PoolAction], now_s: float) -> Iterator[Event]:
    name = kept.pool.name
    admitted: set[JobId] = set()
    for action in actions:
        match action:
            case Provision(token, offer_name, count, until_s, reason, account):
                offer = kept.pool.offer(offer_name)
                assert offer is not None, f"{name} has no offer {offer_name}"
                terms = (count, offer.price_per_hour, offer.boot_s, until_s, reason)
                yield InstancesRequested(now_s, name, token, offer_name, *terms, offer.life_s, account)
            case Extend(instance, until_s, reason):
                yield LeaseExtended(now_s, name, instance, until_s, reason)
            case Relinquish(instance, reason):
                yield InstanceReleased(now_s, name, instance, reason)
            case Admit(job_id, offer_name, reason, cost) if job_id not in admitted:
                admitted.add(job_id)
                record = state.jobs[job_id]
                is_gang, account = record.shape.node_count > 1, payer_of(state, kept, record)
                yield JobAdmitted(now_s, name, job_id, offer_name, cost, reason, is_gang, account)
            case _:
                pass


def _declined(kept: KeptPool, view: PoolView, decision: PoolDecision) -> tuple[tuple[JobId, ...], tuple[JobId, ...]]:
    """What is news of those that are not served: who is late, and who was admitted and, with none of its elements, is
    served any more."""
    declined = [action for action in decision.actions if isinstance(action, Decline)]
    late = {each.job_id for each in declined if each.is_late} - kept.late
    wanted, refused = Counter(want.job_id for want in view.wants), Counter(each.job_id for each in declined)
    withdrawn = [job_id for job_id, count in refused.items() if job_id in view.admitted and count == wanted[job_id]]
    return tuple(sorted(late)), tuple(sorted(withdrawn))


def _leaving(state: State, kept: KeptPool, now_s: float) -> Iterator[Event]:
    """Instances that their provider will take back get no more work, and are given back as soon as they are idle."""
    table, ledger = state.table, kept.ledger
    for each in list(ledger.instances.values()):
        number = table.number_of.get(NodeName(each.node))
        drain = None if number is None else table.drain[number]
        if each.state is not InstanceState.READY or drain is None or drain[1] != CLOUD:
            continue
        if each.name not in ledger.drained:
            yield InstanceDrained(now_s, kept.pool.name, each.name, drain[0])


def _stop_or_resume(state: State, message: StopPool | ResumePool, now_s: float) -> list[Event]:
    """The kill switch. Raises NotFound."""
    kept = state.pools.pools.get(message.pool)
    if kept is None:
        known = ", ".join(state.pools.pools) or "none"
        hint = did_you_mean(message.pool, state.pools.pools)
        raise NotFound(f"no pool named {message.pool!r}{hint}; there are: {known}")
    if isinstance(message, ResumePool):
        return [PoolResumed(now_s, message.pool, message.by)] if kept.stopped is not None else []
    events: list[Event] = []
    if kept.stopped is None or message.does_release:
        events.append(PoolStopped(now_s, message.pool, message.by, message.does_release))
    there = [each for each in kept.ledger.instances.values() if each.state is not InstanceState.RELEASING]
    reason = f"all are, by {message.by}"
    released = (InstanceReleased(now_s, message.pool, each.name, reason) for each in there)
    return [*events, *(released if message.does_release else ())]
