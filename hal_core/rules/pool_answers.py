"""What providers, and the nodes that they have made, say: as events. Pure.

Answers come late, twice, or to what is not asked any more; each is compared with what the ledger has, and what does not
fit leads to nothing, or to its release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hal_core.models.event import Event, NodeWentDown
from hal_core.models.message import InstancesEnded, InstancesMade, ProvisionFailed
from hal_core.models.node import NodeName, NodeStatus
from hal_core.models.pool_decision import InstanceState, PoolInstance
from hal_core.models.pool_event import (
    InstanceGone,
    InstanceReleased,
    InstancesRefused,
    InstancesStarted,
    OfferClosed,
    StartedInstance,
)
from hal_core.rules import reports
from hal_core.rules.pool_nodes import LEASE_OVER, is_lease_over, is_up, join, status_of

if TYPE_CHECKING:
    from hal_core.rules.state import State


def instances_made(state: State, message: InstancesMade, now_s: float) -> list[Event]:
    """Whatever was the node of one of them before is gone."""
    kept = state.pools.pools.get(message.pool)
    request = None if kept is None else kept.ledger.requests.get(message.token)
    if kept is None or request is None:
        return []
    events: list[Event] = []
    started, replaced = [], set()
    for number, made in enumerate(message.made[: request.count], 1):
        started.append(StartedInstance(f"{message.token}-{number}", made.node, made.native_id))
        if made.node in state.pools.instance_of:
            pool, before = state.pools.instance_of[made.node]
            replaced.add(made.node)
            events += _gone(state, pool, before, "another machine is this node now", now_s)
    events.append(InstancesStarted(now_s, message.pool, message.token, tuple(started)))
    for each in started:
        if state.pools.offer_of.get(each.node) != (message.pool, request.offer):
            reason = f"the offer has no node {each.node} in the configuration"
            events.append(InstanceReleased(now_s, message.pool, each.instance, reason))
            continue
        is_booting = kept.ledger.instances[each.instance].state is InstanceState.BOOTING
        if is_booting and is_up(state, each.node) and each.node not in replaced:
            events += join(state, message.pool, each.instance, NodeName(each.node), now_s)
    return events


def provision_failed(state: State, message: ProvisionFailed, now_s: float) -> list[Event]:
    """Nothing was made; or who knows: then it is asked again, and the offer left alone meanwhile."""
    kept = state.pools.pools.get(message.pool)
    request = None if kept is None else kept.ledger.requests.get(message.token)
    if kept is None or request is None:
        return []
    ledger = kept.ledger
    retry_s = now_s + max(ledger.back_off_s(request.offer), message.retry_after_s)
    if message.is_certain:
        return [InstancesRefused(now_s, message.pool, message.token, message.detail, retry_s)]
    if now_s < ledger.closed_until_s.get(request.offer, now_s):
        return []
    return [OfferClosed(now_s, message.pool, request.offer, message.detail, retry_s)]


def instances_ended(state: State, message: InstancesEnded, now_s: float) -> list[Event]:
    """Of an instance whose node is in contact, a list that lacks it is not believed."""
    kept = state.pools.pools.get(message.pool)
    if kept is None:
        return []
    return [
        event
        for name in message.instances
        if (each := kept.ledger.instances.get(name)) is not None
        if message.was_asked or not is_up(state, each.node)
        for event in _gone(state, message.pool, name, _why_gone(message, each, now_s), now_s)
    ]


def _why_gone(message: InstancesEnded, each: PoolInstance, now_s: float) -> str:
    if message.was_asked:
        return "it was released"
    return LEASE_OVER if is_lease_over(each, now_s) else "the provider does not have it any more"


def _gone(state: State, pool: str, name: str, detail: str, now_s: float) -> list[Event]:
    """It is no more, and whatever ran there has ended."""
    each: PoolInstance = state.pools.pools[pool].ledger.instances[name]
    events: list[Event] = []
    node = NodeName(each.node)
    if node in state.table.number_of:
        if each.state is not InstanceState.RELEASING and status_of(state, node) not in (
            NodeStatus.UNKNOWN,
            NodeStatus.DOWN,
        ):
            events.append(NodeWentDown(now_s, node, detail))
        events += reports.ends_on(state, [node], detail, now_s, is_certain=True)
    return [*events, InstanceGone(now_s, pool, name, detail)]
