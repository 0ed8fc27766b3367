"""Bookings: what another scheduler has given of its nodes, or is expected to give, and when there is room beside that.

HAL hands jobs to such a scheduler and does not place them there: bookings say how long a job would wait in that queue,
never whether HAL may hand it over. `BookedRoom` is first fit over time, node by node (as backfill plans in Mu'alem and
Feitelson, IEEE TPDS 12(6), 2001). A gang is told the time from which each of its nodes alone has room for it: where
such gaps do not meet, it starts later than told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from heapq import nsmallest

import attrs

from hal_core.models.job import JobId, Shape
from hal_core.models.node import NodeName

KEPT_MAX = 16
"""Bookings of one node; more are told as fewer and larger ones (`merged_bookings`)."""


@attrs.frozen
class Booking:
    """So much of a node is given from then until then; `end_time_s` None: nobody knows until when."""

    start_time_s: float
    end_time_s: float | None
    cpu_count: int
    memory_bytes: int = 0
    gpu_count: int = 0
    reservation: str = ""
    """What keeps it so; those who run in that reservation may have it. Empty: it is given to somebody."""

    @property
    def stop_s(self) -> float:
        return math.inf if self.end_time_s is None else self.end_time_s


@attrs.frozen
class NodeBookings:
    """A node as the other scheduler has it: its size there, all its bookings in the order of their ends, and why it
    takes no work (`closed`; empty: it does)."""

    node: NodeName
    cpu_count: int
    memory_bytes: int
    gpu_count: int = 0
    bookings: tuple[Booking, ...] = ()
    closed: str = ""


@attrs.frozen
class QueuedStart:
    """When an element that waits in the other scheduler's queue is expected to start there."""

    job_id: JobId
    index: int
    start_time_s: float


@attrs.frozen
class BookingsChanged:
    """An event: these nodes of another scheduler are booked otherwise than before. `starts` are those of HAL's elements
    that wait there and are new, or expected at another time than before; None: all as before."""

    time_s: float
    executor: str
    nodes: tuple[NodeBookings, ...]
    starts: tuple[QueuedStart, ...] | None = None
    gone: tuple[tuple[JobId, int], ...] | None = None
    """Elements that wait there no more; None, as in old journals: `starts` are all that wait."""


@attrs.frozen
class Request:
    """What a job needs of each of so many nodes, and for how long (infinity: without a limit)."""

    node_count: int
    cpu_count: int
    memory_bytes: int
    gpu_count: int
    length_s: float
    is_exclusive: bool = False
    reservation: str = ""
    """The other scheduler's, if it runs in one."""

    @classmethod
    def of_shape(cls, shape: Shape, length_s: float, reservation: str = "") -> Request:
        amounts = shape.node_count, shape.cpus, shape.memory_bytes, shape.gpus
        return cls(*amounts, length_s, is_exclusive=shape.is_exclusive, reservation=reservation)


class BookedRoom:
    """Nodes with their bookings. `take` books more, so that a queue can be planned on it in its order."""

    def __init__(self, nodes: Iterable[NodeBookings]) -> None:
        self._nodes = {each.node: each for each in nodes if not each.closed}
        self._bookings = {name: list(each.bookings) for name, each in self._nodes.items()}

    def earliest(self, request: Request, now_s: float, among: Iterable[NodeName]) -> tuple[float, tuple[NodeName, ...]]:
        """From when so many of the nodes have room for it, and which; infinity and none: never, as far as is known."""
        firsts = ((self._first_s(name, request, now_s), name) for name in among if name in self._nodes)
        found = nsmallest(request.node_count, (each for each in firsts if each[0] < math.inf))
        if len(found) < request.node_count:
            return math.inf, ()
        return found[-1][0], tuple(name for _, name in found)

    def take(self, request: Request, start_s: float, names: Iterable[NodeName]) -> None:
        end_s = start_s + request.length_s
        stop_s = end_s if end_s < math.inf else None
        for name in names:
            cpus = self._nodes[name].cpu_count if request.is_exclusive else request.cpu_count
            booking = Booking(start_s, stop_s, cpus, request.memory_bytes, request.gpu_count)
            self._bookings[name].append(booking)

    def of(self, name: NodeName) -> Sequence[Booking]:
        return self._bookings.get(name, ())

    def node(self, name: NodeName) -> NodeBookings:
        """With all that was taken. One that is closed has no room."""
        known = self._nodes.get(name)
        return NodeBookings(name, 0, 0) if known is None else attrs.evolve(known, bookings=tuple(self._bookings[name]))

    def _first_s(self, name: NodeName, request: Request, now_s: float) -> float:
        """When the node has room for the whole length; it can only begin now, or where a booking ends."""
        node = self._nodes[name]
        booked = (each for each in self._bookings[name] if each.stop_s > now_s)
        bookings = [each for each in booked if not each.reservation or each.reservation != request.reservation]
        cpus = node.cpu_count if request.is_exclusive else request.cpu_count
        spare = (node.cpu_count - cpus, node.memory_bytes - request.memory_bytes, node.gpu_count - request.gpu_count)
        if min(spare) < 0:
            return math.inf
        for start_s in sorted({now_s, *(each.stop_s for each in bookings)}):
            end_s = start_s + request.length_s
            here = [each for each in bookings if each.stop_s > start_s and each.start_time_s < end_s]
            edges = {start_s, *(each.start_time_s for each in here if each.start_time_s > start_s)}
            if start_s < math.inf and all(_fits(here, edge_s, spare) for edge_s in edges):
                return start_s
        return math.inf


def _fits(bookings: Iterable[Booking], at_s: float, spare: tuple[int, int, int]) -> bool:
    """Whether all that is booked at that moment leaves what is needed."""
    cpus, memory_bytes, gpus = spare
    for each in bookings:
        if each.start_time_s <= at_s < each.stop_s:
            cpus, memory_bytes, gpus = cpus - each.cpu_count, memory_bytes - each.memory_bytes, gpus - each.gpu_count
    return min(cpus, memory_bytes, gpus) >= 0


def merged_bookings(bookings: Iterable[Booking], round_s: float) -> tuple[Booking, ...]:
    """As few as say the same: ends are rounded up to `round_s`, equal spans are one, and beyond KEPT_MAX the ones that
    end last are one that covers them all."""
    sums: dict[tuple[float, float, str], list[int]] = {}
    for each in bookings:
        stop_s = math.ceil(each.stop_s / round_s) * round_s if each.end_time_s is not None else math.inf
        start_s = math.floor(each.start_time_s / round_s) * round_s
        found = sums.setdefault((stop_s, start_s, each.reservation), [0, 0, 0])
        for at, amount in enumerate((each.cpu_count, each.memory_bytes, each.gpu_count)):
            found[at] += amount
    rows = sorted(sums.items())
    if len(rows) > KEPT_MAX:
        last = rows[KEPT_MAX - 1 :]
        total = [sum(some) for some in zip(*(amounts for _, amounts in last), strict=True)]
        span = max(stop_s for (stop_s, _, _), _ in last), min(start_s for (_, start_s, _), _ in last), ""
        rows = [*rows[: KEPT_MAX - 1], (span, total)]
    return tuple(
        Booking(start_s, None if stop_s == math.inf else stop_s, cpus, memory_bytes, gpus, name)
        for (stop_s, start_s, name), (cpus, memory_bytes, gpus) in rows
    )
