"""What other schedulers, to which HAL hands jobs, have given of their nodes: as they said last. Pure.

It never keeps HAL from handing a job over: who waits until there is room is overtaken by those who stand in the queue.
It says when a job would begin there, for planning, for choosing among sites and for people.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hal_core.models.booking import BookedRoom, BookingsChanged, NodeBookings, QueuedStart, Request
from hal_core.models.event import Event, NodeDrained, NodeResumed
from hal_core.models.job import JobId, Shape
from hal_core.models.node import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hal_core.models.message import BookingsReported
    from hal_core.rules.job_record import Activity, JobRecord
    from hal_core.rules.state import State

DRAINS_AS: Final = "executor "
"""Before its name, when an executor drains a node: no user is called so, whose own drains it must leave alone."""
UNSEEN_MAX: Final = 100
"""So many of the jobs that were handed over since the other scheduler spoke last are counted in."""


class BookingBook:
    """By node; and by executor, when what HAL has in its queue is expected to start, and when it said so."""

    def __init__(self) -> None:
        self.by_node: dict[NodeName, NodeBookings] = {}
        self.starts: dict[str, tuple[QueuedStart, ...]] = {}
        self.seen_time_s: dict[str, float] = {}
        self._outlook: Outlook | None = None

    def apply(self, event: BookingsChanged, allocations: dict[tuple[JobId, int], Activity]) -> None:
        for each in event.nodes:
            self.by_node[each.node] = each
        self.seen_time_s[event.executor] = event.time_s
        if event.starts is not None:
            before = _by_element(self.starts.get(event.executor, ()))
            gone = frozenset(before if event.gone is None else event.gone)
            left = {element: start for element, start in before.items() if element not in gone}
            for element in gone:
                _expect(allocations, element, None)
            for element, start in _by_element(event.starts).items():
                _expect(allocations, element, start.start_time_s)
                left[element] = start
            self.starts[event.executor] = tuple(left[element] for element in sorted(left))

    def ready_s(self, state: State, record: JobRecord, now_s: float) -> float:
        """When one more such element would begin if it were handed over now; now, where HAL places jobs itself."""
        return self._outlook_at(state, now_s).ready_s(record) if self.by_node else now_s

    def nodes(self, state: State, record: JobRecord, now_s: float) -> tuple[NodeBookings, ...] | None:
        """Those that may serve it, with all that was handed over; None, where HAL places jobs itself."""
        return self._outlook_at(state, now_s).nodes(record) if self.by_node else None

    def _outlook_at(self, state: State, now_s: float) -> Outlook:
        if self._outlook is None or self._outlook.key != (state.sequence, now_s):
            self._outlook = Outlook(state, now_s)
        return self._outlook


class Outlook:
    """The nodes of other schedulers at one moment, with all that was handed over since they spoke."""

    def __init__(self, state: State, now_s: float) -> None:
        self.key = (state.sequence, now_s)
        self._state, self._now_s = state, now_s
        self._found: dict[tuple[Shape, float, str], float] = {}
        self._room = BookedRoom(state.bookings.by_node.values())
        for activity in self._unseen():
            request = _request(activity.record)
            start_s, names = self._room.earliest(request, now_s, self._names(activity.record.shape))
            if names:
                self._room.take(request, start_s, names)

    def ready_s(self, record: JobRecord) -> float:
        key = record.shape, record.expected_s, record.spec.reservation
        found = self._found.get(key)
        if found is None:
            names = self._names(record.shape)
            found = self._now_s
            if names:
                found, _ = self._room.earliest(_request(record), self._now_s, names)
            self._found[key] = found
        return found

    def nodes(self, record: JobRecord) -> tuple[NodeBookings, ...] | None:
        return tuple(map(self._room.node, self._names(record.shape))) or None

    def _names(self, shape: Shape) -> list[NodeName]:
        """The nodes that may serve it, if other schedulers have all of them: else HAL finds it a place itself."""
        state = self._state
        nodes = [state.table.nodes[number] for number in state.partition_numbers.get(shape.partition, ())]
        takes, book = [node for node in nodes if shape.takes(node)], state.bookings
        is_booked = all(node.executor in book.seen_time_s and node.name in book.by_node for node in takes)
        return [node.name for node in takes] if is_booked else []

    def _unseen(self) -> list[Activity]:
        state = self._state
        found: list[Activity] = []
        for activity in reversed(state.allocations.values()):
            if len(found) == UNSEEN_MAX:
                break
            node = state.table.nodes[activity.node_numbers[0]]
            seen_s = state.bookings.seen_time_s.get(node.executor, math.inf)
            if activity.start_time_s is None and activity.place_time_s > seen_s:
                found.append(activity)
        return found[::-1]


def _request(record: JobRecord) -> Request:
    return Request.of_shape(record.shape, record.expected_s, record.spec.reservation)


def _by_element(starts: Iterable[QueuedStart]) -> dict[tuple[JobId, int], QueuedStart]:
    return {(start.job_id, start.index): start for start in starts}


def _is_unknown(state: State, element: tuple[JobId, int], start: QueuedStart) -> bool:
    """The same was said of an earlier attempt of it, and nothing of the one that waits now."""
    activity = state.allocations.get(element)
    return activity is not None and activity.queued_start_s != start.start_time_s


def _expect(allocations: dict[tuple[JobId, int], Activity], element: tuple[JobId, int], time_s: float | None) -> None:
    activity = allocations.get(element)
    if activity is not None:
        activity.queued_start_s, activity.row = time_s, None


def bookings_reported(state: State, message: BookingsReported, now_s: float) -> list[Event]:
    """Only what is new, of nodes that HAL has from it: another scheduler may have some of the same names. What it gives
    no work is drained, and back."""
    book, table = state.bookings, state.table
    known = [
        each
        for each in message.nodes
        if (number := table.number_of.get(each.node)) is not None and table.nodes[number].executor == message.executor
    ]
    changed = tuple(each for each in known if book.by_node.get(each.node) != each)
    waited, now = _by_element(book.starts.get(message.executor, ())), _by_element(message.starts)
    starts = tuple(
        start for element, start in now.items() if waited.get(element) != start or _is_unknown(state, element, start)
    )
    gone = tuple(element for element in waited if element not in now)
    events: list[Event] = []
    if starts or gone:
        events.append(BookingsChanged(now_s, message.executor, changed, starts, gone))
    elif changed:
        events.append(BookingsChanged(now_s, message.executor, changed))
    by = DRAINS_AS + message.executor
    for each in known:
        drain, before = table.drain[table.number_of[each.node]], book.by_node.get(each.node)
        old = before is not None and drain == (before.closed, message.executor)  # as journals before DRAINS_AS have it
        if each.closed and drain is None:
            events.append(NodeDrained(now_s, each.node, each.closed, by))
        elif not each.closed and drain is not None and (drain[1] == by or old):
            events.append(NodeResumed(now_s, each.node, by))
    return events
