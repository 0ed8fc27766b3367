"""Run the engine forward on an excerpt of the state: when would this job start if nothing else came in?

Running jobs are taken to end when they are expected to: at their limit, unless a predictor knows better. What stands in
the queue, before the job and behind it, is planned along, in the order of now. Nothing is preempted on the way, so a
start can be sooner than foreseen. Pure; it shares nothing with the live state, and can run anywhere.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs

from hal_core.models.job import JobId
from hal_core.models.node import NodeName, Partition, PartitionName
from hal_core.models.plan import Changes, PendingJob, Plan, Reserve, RunningJob, Start, Victim
from hal_core.models.plural import named
from hal_core.models.quota import Quota, within
from hal_core.models.reservation import Holds
from hal_core.models.room import Room
from hal_core.models.staging import Tiers
from hal_core.rules.excerpt import QUEUE_MAX, ArrayLeft, Asked, Excerpt, is_foreseeable
from hal_core.rules.foreseen_quota import NO_CLAIM, ForeseenQuota, Standings
from hal_core.rules.room_columns import RoomColumns

if TYPE_CHECKING:
    from hal_core.models.plan import NodeColumns, Snapshot

PASSES_MAX = 2_000
STEPS_MAX = 2_000
"""So many jobs are tried in all passes of one forecast together: half a second of work on a large cluster."""
SHARE_OF_WAITING = 20
"""Of jobs that wait without being tried, so many cost as much as one that is."""


Placed = tuple[float, JobId, int, tuple[int, ...], RunningJob]
"""When it ends, whose it is, and where: an element that borrows on some of its nodes has several rows."""


class Engine(Protocol):
    """planes.Engine, as far as rules may know it."""

    def plan(self, snapshot: Snapshot) -> Plan: ...


@attrs.frozen
class Forecast:
    """When and where the job would start; None and the reason if that cannot be said."""

    start_time_s: float | None
    nodes: tuple[NodeName, ...] = ()
    why_not: str = ""
    queue_s: float = 0.0
    """So much of the time until then it waits in the queue of another scheduler."""


@attrs.frozen
class Bound:
    """How far to look: no later start is of interest, and none that takes more work to find."""

    until_s: float = math.inf
    steps_max: int = STEPS_MAX


def forecast(
    part: Excerpt,
    engine: Engine,
    now_s: float,
    asked: Asked | None = None,
    bound: Bound | None = None,
) -> Forecast:
    """Plan, let the next job end, plan again, until the job starts. `asked`: the job of the excerpt, changed."""
    bound = bound or Bound()
    asked = asked or part.asked
    if asked is None:
        return Forecast(None, why_not=part.why_not)
    if not is_foreseeable(asked):
        text = f"{asked.before_count} jobs stand before it, and no more than {QUEUE_MAX} are planned ahead"
        return Forecast(None, why_not=text)
    future = Future(part, asked, now_s)
    steps_left = bound.steps_max
    for _ in range(PASSES_MAX):
        plan = engine.plan(future)
        steps_left -= 1 + plan.depth + len(future.waiting) // SHARE_OF_WAITING
        numbers = future.carry_out(plan)
        if numbers:
            return _begun(future.now_s, asked, tuple(part.nodes[number].name for number in numbers))
        if steps_left < 0:
            break
        next_s = future.next_time_s()
        if next_s == math.inf:
            return Forecast(None, why_not=future.never())
        if next_s > bound.until_s:
            return Forecast(None, why_not="it would not be sooner")
        future.move_to(next_s)
    return Forecast(None, why_not="too many jobs end and start before it to be planned ahead")


def _begun(time_s: float, asked: Asked, nodes: tuple[NodeName, ...]) -> Forecast:
    """HAL starts it then, and hands it over if the nodes are another scheduler's."""
    if asked.ready_s == math.inf:
        return Forecast(None, why_not="the scheduler that has the nodes says of none when it would have room")
    if asked.ready_s <= time_s:
        return Forecast(time_s, nodes)
    return Forecast(asked.ready_s, nodes, queue_s=asked.ready_s - time_s)


class Future:
    """Implements models.plan.Snapshot over an excerpt that goes on by itself."""

    def __init__(self, part: Excerpt, asked: Asked | None, now_s: float) -> None:
        self._part = part
        self._asked_id = None if asked is None else asked.row.job_id
        self._room = part.room.copy()
        self._running: list[Placed] = [self._placed(row) for row in part.running]
        heapq.heapify(self._running)
        rows_of = Counter((row.job_id, row.index) for row in part.running)
        self._rows_left = {key: count for key, count in rows_of.items() if count > 1}
        at = len(part.queue) if asked is None else bisect_left(part.ranks, asked.rank)
        self.waiting: dict[JobId, PendingJob] = {row.job_id: row for row in part.queue[:at]}
        self._begins_s = dict(part.begins_s)
        self._arrays: dict[JobId, ArrayLeft] = dict(part.arrays)
        self._claims = dict(part.claims)
        if asked is not None:
            self._admit(asked, now_s)
        self.waiting.update((row.job_id, row) for row in part.queue[at:])
        self._standings = None if part.standings is None else Standings(part.standings)
        self.quota: Quota | None = None
        self._ended: list[RunningJob] = []
        self._wake_s = math.inf
        self._index = -1
        self._goes_on = True
        """The last plan was carried out as it was, and nobody comes into the queue by time alone."""
        self.now_s = now_s
        self.sequence = 0
        self.promises: Mapping[JobId, Reserve] = part.promises
        self.has_released = part.has_released
        self.changes: Changes | None = None
        self.memo: object = None
        self.has_preemption = False
        self._meter()

    # -- what the engine sees ----------------------------------------------------------------------------------------

    @property
    def columns(self) -> NodeColumns:
        return RoomColumns(self._part.nodes, self._room)

    @property
    def partitions(self) -> Mapping[PartitionName, Partition]:
        return self._part.partitions

    def partition_nodes(self, name: PartitionName) -> Sequence[int]:
        return self._part.partition_numbers.get(name, ())

    def pending(self) -> Iterator[PendingJob]:
        for job_id, row in self.waiting.items():
            if row.element_count and self._begins_s.get(job_id, 0.0) <= self.now_s:
                allowed = within(self.quota, row)
                if allowed is not None:
                    yield allowed

    def running(self) -> Iterable[RunningJob]:
        self._running.sort()  # a sorted list is a heap
        return [row for *_, row in self._running]

    def room(self) -> Room:
        return self._room.copy()

    @property
    def holds(self) -> Holds:
        return self._part.holds

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        return self._part.tiers.get(inputs, ())

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        return ()

    def ending(self) -> Sequence[RunningJob]:
        return ()

    # -- what becomes of it ------------------------------------------------------------------------------------------

    def carry_out(self, plan: Plan) -> tuple[int, ...]:
        """Start what can be; the nodes of the job that is asked about, if it is among it."""
        self._goes_on = not (self._arrays or self._begins_s)
        for start in plan.starts:
            did_start = self._start(start)
            self._goes_on &= did_start
            if did_start and start.job_id == self._asked_id:
                return start.node_numbers
        self.has_released = False
        self.promises = {reserve.job_id: reserve for reserve in plan.reserves}
        self.memo, self._ended = plan.memo, []
        self._wake_s = plan.wake_s
        return ()

    def next_time_s(self) -> float:
        """When something happens next; infinity: nothing does."""
        times = [self._running[0][0]] if self._running else []
        times += [self.holds.next_edge_s(self.now_s)]
        times += [time_s for time_s in (self._wake_s, *self._begins_s.values()) if time_s > self.now_s]
        return min(times)

    def move_to(self, time_s: float) -> None:
        """Let end what is expected to have ended by then."""
        self.now_s = max(self.now_s, time_s)
        while self._running and self._running[0][0] <= self.now_s:
            *_, row = heapq.heappop(self._running)
            self._room.give(row.node_numbers, self._room.packing.ask(row.shape))
            self._ended.append(row)
            self.has_released = True
            if self._is_last_of_its(row):
                self._count_end(row.job_id)
        self.changes = Changes((), tuple(self._ended)) if self._goes_on else None
        self._meter()

    def _is_last_of_its(self, row: RunningJob) -> bool:
        """Whether its element has no other row that still runs."""
        key = row.job_id, row.index
        if key not in self._rows_left:
            return True
        self._rows_left[key] -= 1
        return not self._rows_left[key]

    def _count_end(self, job_id: JobId) -> None:
        """An element of the job ended."""
        if self._standings is not None:
            self._standings.end(self._claims.get(job_id, NO_CLAIM))
        left = self._arrays.get(job_id)
        if left is not None:
            self._have_left(job_id, attrs.evolve(left, active=left.active - 1))

    def never(self) -> str:
        endless = {job_id for end_s, job_id, *_ in self._running if end_s == math.inf}
        if endless - self._part.aside:
            return "it waits for jobs that have no time limit"
        if endless:
            who = named("job", [str(job_id) for job_id in sorted(endless)])
            return f"it waits for the memory of {who}, suspended for nobody knows how long"
        return "no set of the nodes that are up has what it asks for"

    def _admit(self, asked: Asked, now_s: float) -> None:
        """To the end of the queue as it is so far."""
        job_id = asked.row.job_id
        self.waiting[job_id] = asked.row
        if asked.begin_s > now_s:
            self._begins_s[job_id] = asked.begin_s
        if asked.array is not None:
            self._arrays[job_id] = asked.array
        self._claims[job_id] = asked.claim

    def _placed(self, row: RunningJob) -> Placed:
        """With when it ends, before anything else."""
        return row.expected_end_s, row.job_id, row.index, row.node_numbers, row

    def _begins(self, row: PendingJob, count: int) -> None:
        """So many elements of the job start now."""

    def _meter(self) -> None:
        if self._standings is not None:
            self.quota = ForeseenQuota(self._claims, self._standings)

    def _start(self, start: Start) -> bool:
        row, numbers, count = self.waiting.get(start.job_id), start.node_numbers, start.element_count
        if row is None or not self._can_start(row, numbers, count):
            return False
        self._room.take(numbers, self._room.packing.ask(row.shape), count)
        self._begins(row, count)
        for _ in range(count):
            self._index -= 1  # below all that run already
            end_s = self.now_s + row.walltime_s
            soon_s = min(end_s, self.now_s + start.stage_s + row.expected_s)
            begun = RunningJob(row.job_id, self._index, row.shape, numbers, end_s, soon_s)
            heapq.heappush(self._running, self._placed(begun))
        if self._standings is not None:
            self._standings.start(self._claims.get(row.job_id, NO_CLAIM), count)
        left = self._arrays.get(row.job_id)
        if left is None:
            del self.waiting[row.job_id]
        else:
            self._have_left(row.job_id, attrs.evolve(left, ready=left.ready - count, active=left.active + count))
        return True

    def _can_start(self, row: PendingJob, numbers: Sequence[int], count: int) -> bool:
        """As commit sees it."""
        if len(numbers) != row.shape.total_nodes or not 0 < count <= row.element_count:
            return False
        if self._standings is not None and ForeseenQuota(self._claims, self._standings).left(row.job_id) < count:
            return False
        ask = self._room.packing.ask(row.shape)
        permitted = self.holds.nodes(row.reservation, row.walltime_s, self.now_s, row.job_id)
        return all(permitted >> number & 1 for number in numbers) and self._room.fits_on(numbers, ask, count)

    def _have_left(self, job_id: JobId, left: ArrayLeft) -> None:
        self._arrays[job_id] = left
        row = self.waiting.get(job_id)
        if row is not None:
            self.waiting[job_id] = attrs.evolve(row, element_count=left.startable_count)
