"""When an array would have ended: against slots that are filled one by one, and against bookings counted by hand."""

from __future__ import annotations

import heapq
import math
from fractions import Fraction

from hypothesis import example, given, strategies as st

from hal_core.models.booking import Booking, NodeBookings, Request
from hal_core.models.node import NodeName
from hal_core.rules.array_ends import Left, slots_of_bookings


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
    assert found_s == filled_one_by_one(free_s, count, length_s)


@given(
    slots=st.dictionaries(st.floats(0.0, 1e10), st.integers(1, 10**6), min_size=1, max_size=6),
    count=st.integers(1, 10**12),
    length_s=st.floats(1e-3, 1e12),
    most=st.one_of(st.just(math.inf), st.integers(1, 10**6).map(float)),
)
@example(slots={1.8e9: 1000}, count=10**7, length_s=105 * 86400.0, most=1.0)
@example(slots={0.0: 1, 1e10: 1}, count=10**12, length_s=5e-324, most=math.inf)
def test_the_last_end_of_very_many_is_where_their_count_is_reached(slots, count, length_s, most):
    """Counted in whole numbers: the sums are longer than a double has digits for, far beyond the end of the world."""
    found_s = Left(slots, count, most).last_end_s(length_s, 0.0)
    near_s = Fraction(found_s) / 10**12
    left, free = most, list[tuple[Fraction, int]]()
    for time_s in sorted(slots):
        free.append((Fraction(time_s), int(min(slots[time_s], left))))
        left -= free[-1][1]
    ended_before, ended = (
        sum(number * max(0, (end_s - time_s) // Fraction(length_s)) for time_s, number in free)
        for end_s in (found_s - near_s, found_s + near_s)
    )
    assert ended_before < count <= ended


def test_of_no_more_elements_the_last_has_ended():
    assert Left({50.0: 3}, 0).last_end_s(7.0, 10.0) == 10.0


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
