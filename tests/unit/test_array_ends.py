"""When an array would have ended: against slots that are filled one by one, and against bookings counted by hand."""

from __future__ import annotations

import heapq
import math
from collections import Counter
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
    found_s = Left(lambda: slots, count, float(most)).last_end_s(length_s, start_s)
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
    found_s = Left(lambda: slots, count, most).last_end_s(length_s, 0.0)
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
    assert Left(lambda: {50.0: 3}, 0).last_end_s(7.0, 10.0) == 10.0


def test_what_nobody_knows_has_no_end():
    assert Left(lambda: {0.0: 3}, 5).last_end_s(math.inf, 1.0) == math.inf
    assert Left(lambda: {0.0: 3}, 5).last_end_s(2.0, math.inf) == math.inf
    assert Left(dict, 5).last_end_s(2.0, 1.0) == 3.0, "there is no room that could be counted: as of one element"


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


AMOUNTS = st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 1))
BOOKINGS = st.builds(
    lambda end_s, amounts: Booking(0.0, end_s, *amounts),
    st.none() | st.integers(0, 12).map(float),
    AMOUNTS,
)


@given(
    size=st.tuples(st.integers(1, 16), st.integers(1, 64), st.integers(0, 4)),
    bookings=st.lists(BOOKINGS, max_size=8).map(tuple),
    closed=st.sampled_from(("", "", "down")),
    wanted=AMOUNTS,
    is_exclusive=st.booleans(),
)
def test_at_each_end_there_is_room_beside_what_is_still_booked(size, bookings, closed, wanted, is_exclusive):
    node = NodeBookings(NodeName("s0"), *size, bookings, closed)
    found = slots_of_bookings([node], Request(1, *wanted, 5.0, is_exclusive=is_exclusive), 4.0)
    ends_s = {each.stop_s for each in bookings if 4.0 < each.stop_s < math.inf}
    assert list(found) == sorted({4.0, *ends_s})
    wanted = (size[0], *wanted[1:]) if is_exclusive else wanted
    for time_s in found:
        held = [each for each in bookings if each.stop_s > time_s]
        booked = [(each.cpu_count, each.memory_bytes, each.gpu_count) for each in held]
        free = [amount - sum(some) for amount, *some in zip(size, *booked, strict=True)]
        fitting = [amount // each for amount, each in zip(free, wanted, strict=True) if each]
        is_barred = closed or (is_exclusive and held)
        expected = 0 if is_barred else max(0, min(fitting, default=0))
        assert sum(count for edge_s, count in found.items() if edge_s <= time_s) == expected


def test_each_booking_is_looked_at_a_few_times_however_many_there_are():
    looks = Counter[float]()

    class Watched(Booking):
        @property
        def stop_s(self) -> float:
            looks[self.end_time_s] += 1
            return super().stop_s

    bookings = tuple(Watched(0.0, 100.0 + number, 1) for number in range(50))
    slots_of_bookings([NodeBookings(NodeName("s0"), 64, 64, 0, bookings)], Request(1, 1, 1, 0, 5.0), 10.0)
    assert set(looks.values()) <= {1, 2, 3}
