"""When an array would have ended: against slots that are filled one by one, and against bookings counted by hand."""

from __future__ import annotations

import heapq
import math

import pytest
from hypothesis import given, strategies as st

from hal_core.models.booking import Booking, NodeBookings, Request
from hal_core.models.node import NodeName
from hal_core.rules.array_ends import PRECISION_S, Left, slots_of_bookings


def filled_one_by_one(free_s: list[float], count: int, length_s: float) -> float:
    """Whatever is free first takes the next."""
    heapq.heapify(free_s)
    ends_s = []
    for _ in range(count):
        ends_s.append(free_s[0] + length_s)
        heapq.heapreplace(free_s, ends_s[-1])
    return max(ends_s)


@given(
    slots=st.dictionaries(st.integers(0, 50).map(float), st.integers(1, 5), min_size=1, max_size=6),
    count=st.integers(1, 60),
    length_s=st.sampled_from((0.5, 7.0, 30.0)),
    start_s=st.sampled_from((0.0, 10.0)),
    most=st.integers(1, 40),
)
def test_the_last_end_is_that_of_slots_filled_one_by_one(slots, count, length_s, start_s, most):
    free_s = [max(time_s, start_s) for time_s in sorted(slots) for _ in range(slots[time_s])][:most]
    found_s = Left(slots, count, float(most)).last_end_s(length_s, start_s)
    assert found_s == pytest.approx(filled_one_by_one(free_s, count, length_s), abs=2 * PRECISION_S)


def test_what_nobody_knows_has_no_end():
    assert Left({0.0: 3}, 5).last_end_s(math.inf, 1.0) == math.inf
    assert Left({0.0: 3}, 5).last_end_s(2.0, math.inf) == math.inf
    assert Left({}, 5).last_end_s(2.0, 1.0) == 3.0, "there is no room that could be counted: as of one element"


def test_booked_nodes_have_room_for_what_stays_free():
    bookings = (Booking(0.0, 50.0, 3), Booking(80.0, 90.0, 2), Booking(0.0, None, 1))
    nodes = [
        NodeBookings(NodeName("s0"), 8, 800, 0, bookings),
        NodeBookings(NodeName("s1"), 8, 400, 0),
        NodeBookings(NodeName("s2"), 8, 800, 0, closed="down"),
    ]
    one = Request(1, 1, 100, 0, 10.0)
    assert slots_of_bookings(nodes, one, 10.0) == {10.0: 2 + 4, 50.0: 3, 90.0: 2}
    whole = Request(1, 1, 100, 0, 10.0, is_exclusive=True)
    assert slots_of_bookings(nodes, whole, 10.0) == {10.0: 1, 50.0: 0, 90.0: 0}
    assert slots_of_bookings(nodes, Request(1, 1, 100, 1, 10.0), 10.0)[10.0] == 0, "no GPUs"
