"""Room beside bookings: first fit over time, and what is told of many bookings is never less than they are."""

from __future__ import annotations

import math

from hypothesis import given, strategies as st

from hal_core.models.booking import KEPT_MAX, BookedRoom, Booking, NodeBookings, Request, merged_bookings
from hal_core.models.node import NodeName

N1, N2 = NodeName("n1"), NodeName("n2")


def node(name: NodeName, *bookings: Booking, closed: str = "") -> NodeBookings:
    return NodeBookings(name, 8, 1 << 30, 2, bookings, closed)


def ask(cpus: int, length_s: float = 100.0, nodes: int = 1, **fields: int) -> Request:
    return Request(nodes, cpus, fields.get("memory_bytes", 0), fields.get("gpu_count", 0), length_s)


def some_booking() -> st.SearchStrategy[Booking]:
    def made(start_s: int, length_s: int | None, cpus: int) -> Booking:
        return Booking(start_s, None if length_s is None else start_s + length_s, cpus)

    return st.builds(made, st.integers(0, 50), st.one_of(st.none(), st.integers(1, 50)), st.integers(1, 4))


def held(bookings: tuple[Booking, ...] | list[Booking], at_s: float) -> int:
    return sum(each.cpu_count for each in bookings if each.start_time_s <= at_s < each.stop_s)


def test_an_idle_node_has_room_now_and_a_full_one_when_enough_has_ended():
    room = BookedRoom([node(N1, Booking(0, 50, 4), Booking(0, 90, 4))])
    assert room.earliest(ask(4), 10, [N1]) == (50, (N1,))
    assert room.earliest(ask(5), 10, [N1]) == (90, (N1,))
    assert room.earliest(ask(9), 10, [N1]) == (math.inf, ())
    assert BookedRoom([node(N1)]).earliest(ask(8), 10, [N1]) == (10, (N1,))


def test_a_gap_is_used_by_what_ends_before_the_next_booking():
    room = BookedRoom([node(N1, Booking(60, 200, 8))])
    assert room.earliest(ask(1, length_s=50), 10, [N1]) == (10, (N1,))
    assert room.earliest(ask(1, length_s=51), 10, [N1]) == (200, (N1,))


def test_memory_and_gpus_count_and_what_is_booked_without_end_never_ends():
    room = BookedRoom([node(N1, Booking(0, None, 1, 1 << 29, 1))])
    assert room.earliest(ask(1, memory_bytes=1 << 29, gpu_count=1), 10, [N1]) == (10, (N1,))
    assert room.earliest(ask(1, memory_bytes=(1 << 29) + 1), 10, [N1]) == (math.inf, ())
    assert room.earliest(ask(1, gpu_count=2), 10, [N1]) == (math.inf, ())


def test_a_gang_waits_for_its_last_node_and_closed_nodes_serve_nobody():
    room = BookedRoom([node(N1), node(N2, Booking(0, 70, 8))])
    assert room.earliest(ask(1, nodes=2), 10, [N1, N2]) == (70, (N1, N2))
    assert BookedRoom([node(N1, closed="drained"), node(N2)]).earliest(ask(1), 10, [N1, N2]) == (10, (N2,))
    assert BookedRoom([node(N1, closed="drained")]).earliest(ask(1), 10, [N1]) == (math.inf, ())


def test_a_queue_is_planned_in_its_order():
    room = BookedRoom([node(N1)])
    starts = []
    for _ in range(3):
        start_s, names = room.earliest(ask(8), 10, [N1])
        room.take(ask(8), start_s, names)
        starts.append(start_s)
    assert starts == [10, 110, 210]


@given(st.lists(some_booking(), max_size=6), st.integers(1, 8), st.integers(1, 80))
def test_where_room_is_found_there_is_room_all_along_and_none_before(bookings, cpus, length_s):
    room = BookedRoom([node(N1, *bookings)])
    start_s, _ = room.earliest(ask(cpus, length_s), 10, [N1])

    def fits(at_s: float) -> bool:
        return all(held(bookings, at_s + step) + cpus <= 8 for step in range(length_s))

    assert start_s == next((at_s for at_s in range(10, 200) if fits(at_s)), math.inf)


@given(st.lists(some_booking(), max_size=40), st.sampled_from([1.0, 7.0]))
def test_what_is_told_is_short_and_never_less_than_what_is_booked(bookings, round_s):
    told = merged_bookings(bookings, round_s)
    assert len(told) <= KEPT_MAX
    assert all(held(told, at_s) >= held(bookings, at_s) for at_s in range(120))
    assert list(told) == sorted(told, key=lambda each: each.stop_s)
