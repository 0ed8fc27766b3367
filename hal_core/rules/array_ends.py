"""When the last element of an array would end: as many run at a time as there is room, more as room comes free. Pure.

Elements are taken to be of equal length, and a slot is room for one node's part of one, from some moment on. They end
soonest if the slot that is free first takes the next one (Graham, SIAM Journal on Applied Mathematics 17(2), 1969: list
scheduling, which is optimal where all are equal). Nobody else is taken to want that room: it is for comparing where an
array might go, and promises nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.booking import NodeBookings, Request
from hal_core.models.job import Shape
from hal_core.models.masks import numbers_of
from hal_core.models.packing import Ask
from hal_core.models.plan import RunningJob
from hal_core.models.room import Room

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State

RUNNING_MAX: Final = 1000
"""So many running jobs are let end; what later ones free is not counted."""

Slots = Mapping[float, int]
"""How many slots there are from when on, in addition to those from before."""


class ArrayEnds:
    """Of the jobs of one state, at one moment."""

    def __init__(self, state: State, now_s: float) -> None:
        self._state, self._now_s = state, now_s
        self._found: dict[Shape, Callable[[], Slots]] = {}

    def left_of(self, record: JobRecord) -> Left | None:
        """None: it is no array."""
        array, per_element = record.spec.array, record.spec.node_count
        if array is None:
            return None
        most = math.inf if array.throttle is None else float(array.throttle * per_element)
        return Left(self._slots(record), record.pending_count * per_element, most)

    def _slots(self, record: JobRecord) -> Callable[[], Slots]:
        found = self._found.get(record.shape)
        if found is None:
            found = self._found[record.shape] = self._to_count(record)
        return found

    def _to_count(self, record: JobRecord) -> Callable[[], Slots]:
        nodes = self._state.bookings.nodes(self._state, record, self._now_s)
        if nodes is not None:
            request = Request.of_shape(record.shape, record.expected_s)
            return cache(partial(slots_of_bookings, nodes, request, self._now_s))
        snapshot = self._state.snapshot(self._now_s)
        room = snapshot.room()
        slots = slots_of_room(room, snapshot.running(), room.packing.ask(record.shape), self._now_s)
        return lambda: slots


@attrs.frozen(eq=False)
class Left:
    """What is left of an array, in parts, and the slots for them; at most so many parts run at a time."""

    count_slots: Callable[[], Slots]
    """Needs no live state: of a thousand booked nodes it is no work for the event loop."""
    part_count: int
    most: float = math.inf

    def last_end_s(self, length_s: float, start_s: float) -> float:
        """If the first part starts then. Infinity: nobody knows how long they run, or when they start."""
        free = _from(self.count_slots(), start_s, self.most)
        if not self.part_count:
            return start_s
        if not free or not 0.0 < length_s < math.inf or start_s == math.inf:
            return start_s + length_s
        slot_count = late = 0  # `late`: so many more would have ended, had all slots been free from the first on.
        used: list[tuple[float, int, int]] = []
        for time_s, count in free:
            rounds = (time_s - free[0][0]) / length_s
            if rounds >= self.part_count or slot_count * math.ceil(rounds) - late >= self.part_count:
                break  # All have ended before this one is free.
            missed = math.ceil(rounds)
            slot_count, late = slot_count + count, late + count * missed
            used.append((time_s, count, missed))
        full, rank = divmod(self.part_count + late - 1, slot_count)  # It is of that rank in the round after these.
        ends = sorted((time_s + (full + 1 - missed) * length_s, count) for time_s, count, missed in used)
        ended = accumulate(count for _, count in ends)
        return next(end_s for (end_s, _), count in zip(ends, ended, strict=True) if count > rank)


def slots_of_room(room: Room, running: Iterable[RunningJob], ask: Ask, now_s: float) -> Slots:
    """On HAL's own nodes. `room` is what is free now and is not changed; `running` is in the order of expected ends."""
    later, of_row = room.copy(), dict[int, int]()
    for number in numbers_of(ask.nodes):
        if (row := later.row_of(number)) not in of_row:
            of_row[row] = later.count(number, ask)
    found = {now_s: sum(of_row[later.row_of(number)] for number in numbers_of(ask.nodes))}
    for done_count, job in enumerate(running):
        if done_count == RUNNING_MAX or job.expected_end_s == math.inf:
            break
        numbers = [number for number in job.node_numbers if ask.nodes >> number & 1]
        before = sum(later.count(number, ask) for number in numbers)
        later.give(job.node_numbers, later.packing.ask(job.shape))
        time_s = max(job.expected_end_s, now_s)
        found[time_s] = found.get(time_s, 0) + sum(later.count(number, ask) for number in numbers) - before
    return found


def slots_of_bookings(nodes: Iterable[NodeBookings], request: Request, now_s: float) -> Slots:
    """On nodes that another scheduler has: what stays free from some moment on."""
    found: dict[float, int] = {}
    for node in nodes:
        before = 0
        for time_s, count in _counts(node, request, now_s):
            found[time_s] = found.get(time_s, 0) + count - before
            before = count
    return found


def _counts(node: NodeBookings, request: Request, now_s: float) -> Iterator[tuple[float, int]]:
    """How many parts fit beside what is booked: now, and from each later end on. A reservation to come before which a
    part would end is nothing yet."""
    until_s = now_s + request.length_s
    booked = (each for each in node.bookings if not each.reservation or each.start_time_s < until_s)
    ends = sorted(((each.stop_s, each) for each in booked if each.stop_s > now_s), key=itemgetter(0))
    cpus, memory_bytes, gpus = node.cpu_count, node.memory_bytes, node.gpu_count
    for _, each in ends:
        cpus, memory_bytes, gpus = cpus - each.cpu_count, memory_bytes - each.memory_bytes, gpus - each.gpu_count
    yield now_s, _count(node, request, (cpus, memory_bytes, gpus), is_empty=not ends)
    for number, (stop_s, each) in enumerate(ends, 1):
        if stop_s == math.inf:
            break
        cpus, memory_bytes, gpus = cpus + each.cpu_count, memory_bytes + each.memory_bytes, gpus + each.gpu_count
        if number == len(ends) or ends[number][0] > stop_s:
            yield stop_s, _count(node, request, (cpus, memory_bytes, gpus), is_empty=number == len(ends))


def _count(node: NodeBookings, request: Request, free: tuple[int, int, int], *, is_empty: bool) -> int:
    if node.closed or (request.is_exclusive and not is_empty):
        return 0
    cpus = node.cpu_count if request.is_exclusive else request.cpu_count
    wanted = cpus, request.memory_bytes, request.gpu_count
    return max(0, min((amount // each for amount, each in zip(free, wanted, strict=True) if each), default=0))


def _from(slots: Slots, start_s: float, most: float) -> list[tuple[float, int]]:
    """In the order of time, none before the start, and no more of them than may run."""
    found: dict[float, int] = {}
    left = most
    for time_s in sorted(slots):
        count = int(min(slots[time_s], left))
        if count > 0:
            found[max(time_s, start_s)] = found.get(max(time_s, start_s), 0) + count
            left -= count
    return list(found.items())
