"""What a pool's rule is shown of the state: which jobs wait and could run there, and what is free on its instances.

Each element of a job array is a want of its own, as long as there is room in what a decision looks at. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from hal_core.models.cloud_pool import Market
from hal_core.models.job import JobSpec, Shape
from hal_core.models.node import Node, NodeName
from hal_core.models.plan import PendingJob, Snapshot
from hal_core.models.pool_decision import InstanceState, Want
from hal_core.rules.pool_starts import starts_in_turn
from hal_core.rules.pool_supply import WHOLE
from hal_core.rules.pools import WANTS_MAX, PoolView

if TYPE_CHECKING:
    from hal_core.models.cloud_pool import PoolOffer
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.node_table import NodeTable
    from hal_core.rules.pool_book import KeptPool
    from hal_core.rules.state import State

SCAN_MAX = 2_000
"""So many jobs of the queue are looked at for those that a pool could serve."""


def view_of(state: State, kept: KeptPool, now_s: float, more: JobRecord | None = None) -> PoolView:
    """All that a decision about this pool sees; with a job `more` that nobody knows of, at the end of the queue."""
    ledger, name = kept.ledger, kept.pool.name
    snapshot = state.snapshot(now_s)
    return PoolView(
        now_s,
        tuple(ledger.instances.values()),
        free_shares(state, kept, snapshot),
        wants_of(state, kept, snapshot, more),
        {job_id: event.offer for job_id, event in state.pools.admitted.items() if event.pool == name},
        ledger.spent(now_s),
        dict(ledger.closed_until_s),
        kept.worth,
        ledger.serial,
        ledger.spent_by(now_s),
    )


def free_shares(state: State, kept: KeptPool, snapshot: Snapshot) -> dict[str, float]:
    """Of the instances that can be given work: which share of each no job has, or will have for long."""
    table, open_nodes = state.table, {}
    for each in kept.ledger.instances.values():
        number, offer = table.number_of.get(NodeName(each.node)), kept.pool.offer(each.offer)
        if each.state is InstanceState.READY and number is not None and table.is_available[number]:
            open_nodes[number] = (each.name, offer.boot_s if offer is not None else 0.0)
    busy = dict.fromkeys(open_nodes, 0.0)
    for row in snapshot.running():
        for number in row.node_numbers:
            if number in open_nodes:
                share = WHOLE if row.shape.is_exclusive else max(_shares(table.nodes[number], row.shape))
                busy[number] += share * lasting(row.expected_end_s - snapshot.now_s, open_nodes[number][1])
    return {name: max(free_share(table, number), WHOLE - busy[number]) for number, (name, _) in open_nodes.items()}


def lasting(expected_s: float, boot_s: float) -> float:
    """Which part of the time that a new instance takes to boot something lasts: 1 if it lasts as long.

    What the instances that are there will have worked off before a new one could help needs no new one. So the size of
    a pool follows the work that is left, and not how many jobs it is cut into.
    """
    return min(1.0, max(0.0, expected_s) / boot_s) if boot_s > 0.0 else 1.0


def free_share(table: NodeTable, number: int) -> float:
    """Of what it has least of, now."""
    node = table.nodes[number]
    if not table.allocation_count[number]:
        return WHOLE
    shares = [table.free_cpus[number] / node.cpu_count, table.free_memory_bytes[number] / node.memory_bytes]
    shares += [table.free_gpus[number].get(kind, 0) / node.gpus.count(kind) for kind in set(node.gpus)]
    shares += [table.free_generic[number].get(name, 0) / count for name, count in node.generic]
    return max(0.0, min(shares))


def wants_of(state: State, kept: KeptPool, snapshot: Snapshot, more: JobRecord | None = None) -> list[Want]:
    """In the order of the queue. Jobs that another pool has admitted are that pool's."""
    rows: list[PendingJob] = []
    needs: list[tuple[dict[str, float], str]] = []
    last = () if more is None or more.job_id in state.jobs else (more.pending_row(),)
    for row in chain(islice(snapshot.pending(), SCAN_MAX), last):
        record = _record(state, row, more)
        need = _needs(state, kept, row, record)
        if need:
            count = min(row.element_count, WANTS_MAX - len(rows))
            rows += [row] * count
            needs += [(need, payer_of(state, kept, record))] * count
        if len(rows) >= WANTS_MAX:
            break
    starts_s = starts_in_turn(snapshot, rows)
    found = zip(rows, needs, starts_s, strict=True)
    return [_want(kept, _record(state, row, more).spec, row, need, at_s) for row, need, at_s in found]


def _record(state: State, row: PendingJob, more: JobRecord | None) -> JobRecord:
    return more if more is not None and more.job_id == row.job_id else state.jobs[row.job_id]


def payer_of(state: State, kept: KeptPool, record: JobRecord) -> str:
    """Whose budget pays for the job: what was decided when it was admitted stands."""
    event = state.pools.admitted.get(record.job_id)
    if event is not None and event.pool == kept.pool.name:
        return event.account
    return kept.pool.payer_of(record.spec.account)


def _want(kept: KeptPool, spec: JobSpec, row: PendingJob, need: tuple[dict[str, float], str], start_s: float) -> Want:
    """`need`: how many instances of each offer, and who pays."""
    deadline_s = math.inf if spec.deadline_time_s is None else spec.deadline_time_s
    checkpoint_s = math.inf if spec.checkpoint_s is None else spec.checkpoint_s
    times_s = (start_s, row.expected_s, row.walltime_s, row.submit_time_s, deadline_s, checkpoint_s)
    instances, account = need
    return Want(row.job_id, instances, *times_s, row.job_id in kept.late, spec.value_per_hour, account)


def _needs(state: State, kept: KeptPool, row: PendingJob, record: JobRecord) -> dict[str, float]:
    """How many instances of each offer one element needs. Who bears no restart is kept off what is taken back."""
    admitted, pool = state.pools.admitted.get(row.job_id), kept.pool
    is_elsewhere = admitted is not None and admitted.pool != pool.name
    if is_elsewhere or record.spec.reservation or record.spec.elastic_weight or record.spec.components:
        return {}
    if pool.accounts and record.spec.account not in pool.accounts:
        return {}
    fit = (offer for offer in pool.offers if offer.market is Market.ON_DEMAND or record.spec.can_requeue)
    found = ((offer.name, _need(state, offer, state.pools.nodes_of(pool.name, offer.name), row)) for offer in fit)
    return {name: need for name, need in found if need is not None}


def _need(state: State, offer: PoolOffer, nodes: int, row: PendingJob) -> float | None:
    """None: it would not run there at all."""
    shape = row.shape
    if len(offer.nodes) < shape.node_count or not nodes:
        return None
    ask = state.packing.ask(shape)
    if nodes & ~state.packing.partition_nodes.get(shape.partition, 0) or not ask.holds(nodes & ask.nodes):
        return None
    share = max(_shares(state.table.nodes[nodes.bit_length() - 1], shape), default=0.0)
    if share > WHOLE:
        return None
    if shape.node_count > 1:
        return float(shape.node_count)
    return (WHOLE if shape.is_exclusive else share) * lasting(row.expected_s / offer.speed, offer.boot_s)


def _shares(node: Node, shape: Shape) -> Iterator[float]:
    """Which share of the node's it takes, of everything that it asks for."""
    if not shape.suits(node.features):
        yield math.inf
    yield shape.cpus / node.cpu_count
    yield shape.memory_bytes / node.memory_bytes
    gpus = node.gpus.count(shape.gpu_type) if shape.gpu_type else len(node.gpus)
    asked = shape.gpus_asked
    if asked:
        yield asked / gpus if gpus else math.inf
    has = dict(node.generic)
    for name, count in shape.generic:
        yield count / has[name] if has.get(name) else math.inf
