"""The queue: jobs that may start as far as they themselves are concerned, in order, kept incrementally.

What the order is, says queue_order.py; here jobs lie in the lanes that it names, each a sorted list, and whoever goes
through the queue merges them as far as needed. Resources and begin times are the engine's question.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from hal_core.models.event import JobHeld, JobReleased, PriorityChanged, VariantChosen
from hal_core.models.job import JobId
from hal_core.models.node import Cluster
from hal_core.rules.queue_order import Order, Place, Shift, order_of

if TYPE_CHECKING:
    from hal_core.rules.fair_share import FairShares
    from hal_core.rules.job_record import JobRecord

DUE_SPARE = 1000
"""Entries of jobs that have gone, above which they are cleared away."""
LaneKey = tuple[float, JobId]


Rank = tuple[int, float, JobId]
"""(tier, value, job); ascending order is queue order. A plain tuple, for there are many."""


class _Lane:
    """Jobs whose order among themselves does not change, and where they stand as a whole."""

    __slots__ = ("keys", "shift")

    def __init__(self) -> None:
        self.keys: list[LaneKey] = []
        self.shift = Shift()

    def ranks(self, at: int) -> Iterator[Rank]:
        tier, offset, scale = self.shift
        for key, job_id in self.keys[at:] if at else self.keys:
            yield tier, offset + scale * key, job_id

    def rank(self, key: LaneKey) -> Rank:
        return self.shift.tier, self.shift.offset + self.shift.scale * key[0], key[1]


class PendingQueue:
    """Sorted lanes. Inserting is a binary search and a memory move: 20 us at 100,000 jobs."""

    __slots__ = ("_due", "_lanes", "_order", "_size", "time_s")

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane] = {}
        self._order: Order = order_of(Cluster("", (), ()))
        self._due: list[tuple[float, JobId]] = []
        """When which job has to change its lane; entries of jobs that have gone are skipped."""
        self._size = 0
        self.time_s = 0.0
        """The moment that the lanes stand at."""

    def __len__(self) -> int:
        return self._size

    @property
    def order(self) -> Order:
        return self._order

    def define(self, cluster: Cluster) -> None:
        """The order is that of this cluster from now on. The caller puts all jobs in again."""
        assert not self._size, "jobs stand in an order that is void"
        self._order = order_of(cluster)
        self._lanes.clear()
        self._due.clear()

    def __iter__(self) -> Iterator[JobId]:
        """In the order of the queue; lazy."""
        if len(self._lanes) == 1:
            return (job_id for lane in self._lanes.values() for _, job_id in lane.keys)
        return (job_id for _, _, job_id in self.ranks())

    def first(self) -> JobId | None:
        return next(iter(self), None)

    def ranks(self, after: Rank | None = None) -> Iterator[Rank]:
        """Jobs behind that rank, in order: the lanes, merged as far as somebody looks."""
        heap: list[tuple[Rank, int, Iterator[Rank]]] = []
        for number, lane in enumerate(self._lanes.values()):
            at = 0 if after is None else bisect_right(lane.keys, after, key=lane.rank)
            ranks = lane.ranks(at)
            first = next(ranks, None)
            if first is not None:
                heap.append((first, number, ranks))
        heapify(heap)
        while len(heap) > 1:
            rank, number, ranks = heap[0]
            yield rank
            following = next(ranks, None)
            if following is None:
                heappop(heap)
            else:
                heapreplace(heap, (following, number, ranks))
        for rank, _, ranks in heap:
            yield rank
            yield from ranks

    def rank_of(self, record: JobRecord) -> Rank | None:
        """Where the job stands; None if it is not in the queue."""
        place = record.place
        return None if place is None else self._lanes[place.lane].rank((place.key, record.job_id))

    def count_before(self, record: JobRecord, now_s: float, shares: FairShares | None) -> int:
        """How many jobs stand before this one, or would if it stood here too. The lanes stand as they stand now."""
        rank = self.rank_at(record, now_s, shares)
        before = sum(bisect_left(lane.keys, rank, key=lane.rank) for lane in self._lanes.values())
        own = self.rank_of(record)
        return before - (own is not None and own < rank)

    def rank_at(self, record: JobRecord, now_s: float, shares: FairShares | None) -> Rank:
        """Where the job stands, or would if it stood here."""
        place = self._order.place(record, now_s)
        tier, offset, scale = self._order.shift(place.lane, now_s, shares)
        return tier, offset + scale * place.key, record.job_id

    def move_to(self, now_s: float, shares: FairShares | None, records: dict[JobId, JobRecord]) -> None:
        """Let the lanes stand where they stand at that moment, and let jobs change their lanes that have to."""
        due = self._due
        if len(due) > 2 * self._size + DUE_SPARE:
            self._due = due = [(due_s, job_id) for due_s, job_id in due if _is_due_then(records.get(job_id), due_s)]
            heapify(due)
        while due and due[0][0] <= now_s:
            record = records.get(heappop(due)[1])
            if record is not None and record.place is not None and record.place.due_s <= now_s:
                self.remove(record)
                self._insert(record, now_s)
        self.time_s = now_s
        for key, lane in self._lanes.items():
            lane.shift = self._order.shift(key, now_s, shares)

    def update(self, record: JobRecord) -> None:
        """Put the record into the queue, or take it out, as its own state says."""
        should = record.startable_count > 0
        if should and record.place is None:
            self._insert(record, self.time_s)
        elif record.place is not None and not should:
            self.remove(record)

    def _insert(self, record: JobRecord, now_s: float) -> None:
        place = record.place = self._order.place(record, now_s)
        rank = self._order.rank(record)
        if rank != record.rank:
            record.rank, record.row = rank, None
        lane = self._lanes.get(place.lane)
        if lane is None:
            lane = self._lanes[place.lane] = _Lane()
            lane.shift = self._order.shift(place.lane, now_s, None)
        insort(lane.keys, (place.key, record.job_id))
        self._size += 1
        if place.due_s < math.inf:
            heappush(self._due, (place.due_s, record.job_id))

    def remove(self, record: JobRecord) -> None:
        place: Place | None = record.place
        if place is not None:
            keys = self._lanes[place.lane].keys
            at = bisect_left(keys, (place.key, record.job_id))
            assert keys[at][1] == record.job_id, "the queue is not in order"
            del keys[at]
            if not keys:
                del self._lanes[place.lane]
            record.place = None
            self._size -= 1

    def change(self, record: JobRecord, event: JobHeld | JobReleased | PriorityChanged | VariantChosen) -> None:
        """Change what the event says of the record, and move that to where it belongs then."""
        match event:
            case JobHeld() | JobReleased():
                record.held_by = event.by if isinstance(event, JobHeld) else ""
                self.update(record)
            case PriorityChanged():
                self.set_priority(record, event.priority)
            case VariantChosen():
                self.remove(record)
                record.choose(event)
                self.update(record)

    def set_priority(self, record: JobRecord, priority: int) -> None:
        """Move the record to where its (new) priority puts it."""
        self.remove(record)
        record.priority, record.row = priority, None
        self.update(record)


def _is_due_then(record: JobRecord | None, due_s: float) -> bool:
    return record is not None and record.place is not None and record.place.due_s == due_s
