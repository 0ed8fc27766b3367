"""The pools of a cluster, as the state keeps them: their ledgers, who was admitted, what was learned. A fold of events.

A node of a pool is closed to all work unless an instance stands behind it that is ready and is to be kept; then it is
open to the jobs that the pool has admitted, until its lease ends. What an instance was is forgotten with it: the next
one that is the same node begins with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from hal_core.models.cloud_pool import CloudPool
from hal_core.models.job import JobId
from hal_core.models.node import NodeName, NodeStatus
from hal_core.models.pool_decision import InstanceState, PoolInstance
from hal_core.models.pool_event import (
    InstanceGone,
    InstanceJoined,
    InstancesStarted,
    JobAdmitted,
    JobsDeclined,
    PoolEvent,
    PoolResumed,
    PoolStopped,
)
from hal_core.models.rented import NOTHING_RENTED, Admission
from hal_core.rules.job_record import JobRecord
from hal_core.rules.node_table import NodeTable
from hal_core.rules.pool_choice import LEASE_SPARE_S
from hal_core.rules.pool_ledger import LedgerContent, PoolLedger
from hal_core.rules.pool_worth import Worth

NOT_RENTED = "it is not rented now"


@attrs.frozen
class PoolContent:
    """One pool with all that is kept of it, for a dump of the state."""

    pool: CloudPool
    ledger: LedgerContent
    worth_price: float
    worth_highest: float
    late: tuple[JobId, ...]
    stopped: PoolStopped | None


class KeptPool:
    """One pool. One that the configuration has no more is kept until its last instance is gone."""

    def __init__(self, pool: CloudPool) -> None:
        self.pool = pool
        self.ledger = PoolLedger(pool.budget, pool.account_budgets)
        self.worth = Worth()
        self.late: set[JobId] = set()
        """Jobs that wait and were counted as ones that miss the goal."""
        self.stopped: PoolStopped | None = None
        """By whom, while it is."""

    @property
    def terms(self) -> CloudPool:
        """As its rule is to see it now."""
        return attrs.evolve(self.pool, is_stopped=True) if self.stopped is not None else self.pool


class PoolBook:
    """All pools, by name. It opens and closes their nodes in the node table."""

    def __init__(self) -> None:
        self.pools: dict[str, KeptPool] = {}
        self.admitted: dict[JobId, JobAdmitted] = {}
        """Jobs of which something waits and may start in a pool."""
        self.offer_of: dict[str, tuple[str, str]] = {}
        """Node -> the pool and the offer that it belongs to."""
        self.instance_of: dict[str, tuple[str, str]] = {}
        """Node -> its pool and the instance that it is now."""
        self.rented = NOTHING_RENTED
        """As engines see it. Replaced, never changed."""
        self._table = NodeTable()
        self._masks: dict[tuple[str, str], int] = {}
        """The nodes of each offer, as bits."""
        self._paid: dict[tuple[str, str, str], int] = {}
        """Those of them that are instances now, by who pays, as bits."""

    def __bool__(self) -> bool:
        return bool(self.pools)

    def nodes_of(self, pool: str, offer: str) -> int:
        """All that its instances can be, as bits."""
        return self._masks.get((pool, offer), 0)

    def kept(self) -> Iterator[tuple[KeptPool, PoolInstance]]:
        """All instances of all pools."""
        for each in self.pools.values():
            for instance in each.ledger.instances.values():
                yield each, instance

    # -- the fold ------------------------------------------------------------------------------------------------------

    def define(self, pools: Iterable[CloudPool], table: NodeTable) -> None:
        """These stand in the configuration from now on."""
        self._table = table
        before, self.pools = self.pools, {}
        for pool in pools:
            kept = before.pop(pool.name, None) or KeptPool(pool)
            kept.pool = pool
            kept.ledger.set_budgets(pool.budget, pool.account_budgets)
            self.pools[pool.name] = kept
        for name, kept in before.items():
            if kept.ledger.instances:
                kept.pool = attrs.evolve(kept.pool, offers=(), count_min=0, is_stopped=True)
                self.pools[name] = kept
        self._look_at_all()

    def apply(self, event: PoolEvent) -> None:
        kept = self.pools[event.pool]
        before = kept.ledger.instances.get(getattr(event, "instance", ""))
        kept.ledger.apply(event)
        match event:
            case JobAdmitted(job_id=job_id):
                self.admitted[job_id] = event
                self._admit()
            case JobsDeclined():
                kept.worth = Worth(event.worth_price, event.worth_highest)
                kept.late.update(event.late)
                for job_id in event.withdrawn:
                    self.admitted.pop(job_id, None)
                self._admit()
            case PoolStopped():
                kept.stopped = event
            case PoolResumed():
                kept.stopped = None
            case InstancesStarted():
                self._look_at(each.node for each in event.started)
            case InstanceJoined(instance=name):
                kept.ledger.note_idle(name, event.time_s)
            case InstanceGone():
                assert before is not None, f"{event.instance} was not there"
                self._forget(before.node, event.time_s)
            case _:
                pass
        if before is not None:
            self._look_at([before.node])

    def placed(self, record: JobRecord, time_s: float) -> None:
        """Elements of the job start."""
        waited_s = time_s - record.submit_time_s
        for kept in self.pools.values():
            is_counted = record.job_id in kept.late or record.job_id in self.admitted
            if not is_counted and waited_s <= kept.pool.within_s and kept.worth != Worth():
                kept.worth = kept.worth.on_time(kept.pool.goal.share)
        self.left(record)

    def left(self, record: JobRecord) -> None:
        """Forget a job of which nothing waits any more."""
        if record.pending_count:
            return
        for kept in self.pools.values():
            kept.late.discard(record.job_id)
        if self.admitted.pop(record.job_id, None) is not None:
            self._admit()

    def note_work(self, node: str, time_s: float) -> None:
        """A job came to the node, or left it."""
        found = self.instance_of.get(node)
        if found is not None:
            is_idle = not self._table.allocation_count[self._number(node)]
            self.pools[found[0]].ledger.note_idle(found[1], time_s if is_idle else None)

    # -- as a dump has it ----------------------------------------------------------------------------------------------

    def restore(self, pools: Iterable[PoolContent], admitted: Iterable[JobAdmitted]) -> None:
        for each in pools:
            kept = self.pools.setdefault(each.pool.name, KeptPool(each.pool))
            kept.ledger.restore(each.ledger)
            kept.worth = Worth(each.worth_price, each.worth_highest)
            kept.late, kept.stopped = set(each.late), each.stopped
        self.admitted = {each.job_id: each for each in admitted}
        self._look_at_all()

    def content(self) -> tuple[PoolContent, ...]:
        return tuple(
            PoolContent(
                each.pool,
                each.ledger.content(),
                each.worth.price,
                each.worth.highest,
                tuple(sorted(each.late)),
                each.stopped,
            )
            for each in self.pools.values()
        )

    # -- what follows from it ------------------------------------------------------------------------------------------

    def _number(self, node: str) -> int:
        return self._table.number_of[NodeName(node)]

    def _look_at_all(self) -> None:
        offers = [(kept.pool.name, offer) for kept in self.pools.values() for offer in kept.pool.offers]
        self.offer_of = {node: (name, offer.name) for name, offer in offers for node in offer.nodes}
        self._masks = {
            (name, offer.name): sum(1 << self._number(node) for node in offer.nodes) for name, offer in offers
        }
        self._admit()
        closed = (self._table.nodes[number].name for number in self._table.closed)
        self._look_at({*self.offer_of, *closed, *(each.node for _, each in self.kept())})

    def _look_at(self, nodes: Iterable[str]) -> None:
        """Open them, or close them."""
        table = self._table
        self.instance_of = {each.node: (kept.pool.name, each.name) for kept, each in self.kept() if each.node}
        self._look_who_pays()
        for node in nodes:
            if NodeName(node) in table.number_of:
                number = self._number(node)
                table.set_closed(number, not self._is_open(node))
                if (
                    node in self.offer_of
                    and node not in self.instance_of
                    and table.status[number] is NodeStatus.UNKNOWN
                ):
                    table.detail[number] = NOT_RENTED
        leases = [
            (each.until_s - LEASE_SPARE_S / 2, 1 << self._number(each.node))
            for _, each in self.kept()
            if each.node and self._is_open(each.node)
        ]
        self.rented = attrs.evolve(self.rented, leases=tuple(leases))

    def _is_open(self, node: str) -> bool:
        """Nodes of no pool are none of its business."""
        if NodeName(node) not in self._table.number_of:
            return False
        if node not in self.instance_of:
            return node not in self.offer_of
        pool, name = self.instance_of[node]
        ledger = self.pools[pool].ledger
        return ledger.instances[name].state is InstanceState.READY and name not in ledger.drained

    def _forget(self, node: str, time_s: float) -> None:
        """Whatever the node was, the next one of its name is not."""
        if NodeName(node) in self._table.number_of:
            number = self._number(node)
            self._table.boot_id[number] = ""
            self._table.set_status(number, NodeStatus.UNKNOWN, time_s, NOT_RENTED)

    def _look_who_pays(self) -> None:
        """Of the instances. If it is otherwise than before, jobs may start elsewhere than before."""
        paid: dict[tuple[str, str, str], int] = {}
        for kept, each in self.kept():
            if NodeName(each.node) in self._table.number_of:
                key = kept.pool.name, each.offer, each.account
                paid[key] = paid.get(key, 0) | 1 << self._number(each.node)
        if paid != self._paid:
            self._paid = paid
            self._admit()

    def _nodes_for(self, event: JobAdmitted) -> int:
        """Those of its offer, without the instances that others pay for."""
        nodes = self.nodes_of(event.pool, event.offer)
        for (pool, offer, account), paid in self._paid.items():
            if (pool, offer) == (event.pool, event.offer) and account != event.account:
                nodes &= ~paid
        return nodes

    def _admit(self) -> None:
        admissions = {
            job_id: Admission(self._nodes_for(event), event.is_gang) for job_id, event in self.admitted.items()
        }
        self.rented = attrs.evolve(self.rented, admissions=admissions)
