"""Nodes of pools that report: whether there may be any, and the instances that are ready by it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hal_core.errors import Refused
from hal_core.models.event import Event, NodeResumed
from hal_core.models.node import NodeName, NodeStatus
from hal_core.models.pool_decision import InstanceState, PoolInstance
from hal_core.models.pool_event import InstanceJoined, InstanceReleased, OfferClosed
from hal_core.rules.leaving import BY as CLOUD
from hal_core.rules.pool_choice import LEASE_SPARE_S

if TYPE_CHECKING:
    from hal_core.rules.state import State

LEASE_OVER = "it is rented, and its lease was over"
HAL = "hal"
"""Who drains a node by itself, and resumes it."""


def insist_on_instance(state: State, node: NodeName) -> None:
    """A node of a pool is there only if an instance is. Raises Refused."""
    if node not in state.pools.offer_of or node in state.pools.instance_of:
        return
    pool, offer = state.pools.offer_of[node]
    if not any(each.offer == offer for each in state.pools.pools[pool].ledger.requests.values()):
        raise Refused(f"node {node} belongs to pool {pool}, and no instance of it was asked for")


def joined(state: State, node: NodeName, missing: str, now_s: float) -> list[Event]:
    """The node has reported: if its instance was booting, it is ready; or, if it has less than the configuration says
    (`missing`), of no use: the next one would be just so."""
    if node not in state.pools.instance_of:
        return []
    pool, name = state.pools.instance_of[node]
    ledger = state.pools.pools[pool].ledger
    each = ledger.instances[name]
    if each.state is not InstanceState.BOOTING:
        return []
    if missing:
        retry_s = now_s + ledger.back_off_s(each.offer)
        closed = OfferClosed(now_s, pool, each.offer, missing, retry_s)
        return [closed, InstanceReleased(now_s, pool, name, missing)]
    return list(join(state, pool, name, node, now_s))


def why_it_goes(state: State, node: NodeName, time_s: float) -> str:
    """Why a rented node ended its jobs by itself at that time; empty: nothing is known of it."""
    if node not in state.pools.instance_of:
        return ""
    drain = state.table.drain[state.table.number_of[node]]
    if drain is not None and drain[1] == CLOUD:
        return f"{node}: {drain[0]}"
    pool, name = state.pools.instance_of[node]
    instance = state.pools.pools[pool].ledger.instances[name]
    return f"{node}: {LEASE_OVER}" if is_lease_over(instance, time_s) else ""


def is_lease_over(instance: PoolInstance, time_s: float) -> bool:
    """As good as: jobs are told a minute before, and nothing that may run longer is started."""
    return time_s >= instance.until_s - LEASE_SPARE_S


def join(state: State, pool: str, name: str, node: NodeName, now_s: float) -> Iterator[Event]:
    """The instance can be given work."""
    drain = state.table.drain[state.table.number_of[node]]
    if drain is not None and drain[1] in (CLOUD, HAL):
        yield NodeResumed(now_s, node, HAL)  # that was said of the instance before it
    yield InstanceJoined(now_s, pool, name)


def is_up(state: State, node: str) -> bool:
    return status_of(state, node) is NodeStatus.UP


def status_of(state: State, node: str) -> NodeStatus:
    number = state.table.number_of.get(NodeName(node))
    return NodeStatus.UNKNOWN if number is None else state.table.status[number]
