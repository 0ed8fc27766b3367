"""Which job stands before which: the place of a job in the queue, and its priority as a sum of named terms. Pure.

A place is a lane and a key. Within a lane the order of keys does not change with time; what does change (a user's fair
share, the age of all) moves a lane as a whole, so that a queue is put in order by merging lanes, never by sorting jobs.
A job changes its lane at most twice, at times that are known beforehand: when its age counts no more, and when it has
waited so long that it comes first.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from hal_core.models.explanation import PriorityTerm
from hal_core.models.policy import QueueOrder

if TYPE_CHECKING:
    from hal_core.models.node import Cluster
    from hal_core.rules.fair_share import FairShares
    from hal_core.rules.job_record import JobRecord

PARTITION_WEIGHT = 1 << 40
"""Of the partition's priority, where it goes before everything else."""
FOREVER_S = 10 * 365 * 86_400.0
"""The limit of a job without one, where its length matters."""


class Place(NamedTuple):
    """Ascending keys are the order of a lane; at `due_s` the job belongs into another one."""

    lane: Hashable
    key: float
    due_s: float = math.inf


class Shift(NamedTuple):
    """Where a lane stands at one moment: a job's rank is (tier, offset + scale * key), ascending."""

    tier: int = 0
    offset: float = 0
    scale: float = 1
    """Whole numbers, where keys are: they stay exact."""


STARVED = "starved"


class Strict:
    """The partition's priority, the job's own with that of its quality of service, age. Time changes nothing."""

    needs_shares = False

    def __init__(self, cluster: Cluster) -> None:
        self._partition = {partition.name: partition.priority for partition in cluster.partitions}
        self._qos = {qos.name: qos.priority for qos in cluster.qos}
        self._rules = cluster.priorities

    def rank(self, record: JobRecord) -> int:
        """Larger is earlier."""
        own = record.priority + self._qos.get(record.spec.qos, 0)
        return self._partition.get(record.spec.partition, 0) * PARTITION_WEIGHT + own

    def place(self, record: JobRecord, now_s: float) -> Place:
        return Place((), -self.rank(record))

    def shift(self, lane: Hashable, now_s: float, shares: FairShares | None) -> Shift:
        return Shift()

    def priority(self, record: JobRecord, now_s: float, shares: FairShares | None) -> float:
        """The sum of the terms."""
        own = record.priority + self._qos.get(record.spec.qos, 0)
        return self._partition.get(record.spec.partition, 0) + own

    def terms(self, record: JobRecord, now_s: float, shares: FairShares | None) -> Iterator[PriorityTerm]:
        spec = record.spec
        yield PriorityTerm(f"partition {spec.partition}", self._partition.get(spec.partition, 0))
        if spec.qos:
            yield PriorityTerm(f"quality of service {spec.qos}", self._qos.get(spec.qos, 0))
        yield PriorityTerm("job", record.priority)

    def _is_starved(self, record: JobRecord, now_s: float) -> bool:
        return now_s >= self._starved_s(record)

    def _starved_s(self, record: JobRecord) -> float:
        """When the job has waited so long that it comes first."""
        return since_s(record) + self._rules.starvation_s if self._rules.starvation_s else math.inf


class Weighted(Strict):
    """A sum of terms in seconds of waiting."""

    needs_shares = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        cpus = {node.name: node.cpu_count for node in cluster.nodes}
        self._cpus = {each.name: sum(cpus[node] for node in each.nodes) for each in cluster.partitions}

    def place(self, record: JobRecord, now_s: float) -> Place:
        since, starved_s = since_s(record), self._starved_s(record)
        if now_s >= starved_s:
            return Place((STARVED,), since)
        own = sum(term.value for term in self._own_terms(record))
        account, user = record.payer.account, record.payer.user
        ripe_s = since + self._rules.age_s_max
        if now_s >= ripe_s:
            return Place((account, user, True), -own, starved_s)
        return Place((account, user, False), since - own, min(ripe_s, starved_s))

    def shift(self, lane: Hashable, now_s: float, shares: FairShares | None) -> Shift:
        assert isinstance(lane, tuple)
        if lane == (STARVED,):
            return Shift(-1)
        account, user, is_ripe = lane
        factor = shares.of(account, user).factor if shares is not None else 0.0
        age_s = self._rules.age_s_max if is_ripe else now_s
        return Shift(0, -factor * self._rules.fair_share_s - age_s)

    def priority(self, record: JobRecord, now_s: float, shares: FairShares | None) -> float:
        return sum(term.value for term in self.terms(record, now_s, shares))

    def terms(self, record: JobRecord, now_s: float, shares: FairShares | None) -> Iterator[PriorityTerm]:
        assert shares is not None, "this order needs to know the fair shares"
        rules = self._rules
        age_s = min(max(now_s - since_s(record), 0.0), rules.age_s_max)
        yield PriorityTerm("age", round(age_s, 1), f"{age_s:.0f} s of waiting, at most {rules.age_s_max:.0f}")
        standing = shares.of(record.payer.account, record.payer.user)
        text = f"{standing.factor:.3f} of {rules.fair_share_s:.0f}"
        yield PriorityTerm("fair share", round(standing.factor * rules.fair_share_s, 1), text)
        yield from self._own_terms(record)
        if self._is_starved(record, now_s):
            yield PriorityTerm("starvation", 0.0, "it has waited so long that it comes before all others")

    def _own_terms(self, record: JobRecord) -> Iterator[PriorityTerm]:
        """What does not change with time."""
        rules, spec = self._rules, record.spec
        points = self._partition.get(spec.partition, 0)
        text = f"{points} points of {rules.partition_s:.0f} s"
        yield PriorityTerm(f"partition {spec.partition}", points * rules.partition_s, text)
        if spec.qos:
            points = self._qos.get(spec.qos, 0)
            text = f"{points} points of {rules.qos_s:.0f} s"
            yield PriorityTerm(f"quality of service {spec.qos}", points * rules.qos_s, text)
        if rules.size_s:
            cpus, of = record.shape.total_cpus, max(self._cpus.get(spec.partition, 0), 1)
            text = f"{cpus} of {of} CPUs, of {rules.size_s:.0f}"
            yield PriorityTerm("size", min(cpus / of, 1.0) * rules.size_s, text)
        name = "nice" if record.priority < 0 else "job"
        yield PriorityTerm(name, record.priority * rules.job_s, f"{record.priority} points of {rules.job_s:.0f} s")


class ExpansionFactor(Strict):
    """As strict; but among equals, who will have been there longest for what the job needs: (wait + limit) / limit."""

    def place(self, record: JobRecord, now_s: float) -> Place:
        since, starved_s = since_s(record), self._starved_s(record)
        if now_s >= starved_s:
            return Place((STARVED,), since)
        return Place((self.rank(record), self._length_s(record)), since, starved_s)

    def shift(self, lane: Hashable, now_s: float, shares: FairShares | None) -> Shift:
        assert isinstance(lane, tuple)
        if lane == (STARVED,):
            return Shift(-(1 << 62))
        rank, length_s = lane
        return Shift(-rank, -now_s / length_s, 1.0 / length_s)

    def terms(self, record: JobRecord, now_s: float, shares: FairShares | None) -> Iterator[PriorityTerm]:
        yield from super().terms(record, now_s, shares)
        waited_s, length_s = max(now_s - since_s(record), 0.0), self._length_s(record)
        text = f"{waited_s:.0f} s of waiting for {length_s:.0f} s of running; decides among equals"
        yield PriorityTerm("expansion factor", 1.0 + waited_s / length_s, text)
        if self._is_starved(record, now_s):
            yield PriorityTerm("starvation", 0.0, "it has waited so long that it comes before all others")

    def _length_s(self, record: JobRecord) -> float:
        limit_s = FOREVER_S if record.spec.walltime_s is None else record.spec.walltime_s
        return max(limit_s, self._rules.floor_s, 1.0)


Order = Strict
"""All orders have its methods."""


def since_s(record: JobRecord) -> float:
    """From when on the job's waiting counts."""
    return max(record.submit_time_s, record.spec.begin_time_s)


def order_of(cluster: Cluster) -> Order:
    """The order that the cluster's rules ask for."""
    match cluster.priorities.order:
        case QueueOrder.STRICT:
            return Strict(cluster)
        case QueueOrder.WEIGHTED:
            return Weighted(cluster)
        case QueueOrder.EXPANSION_FACTOR:
            return ExpansionFactor(cluster)
