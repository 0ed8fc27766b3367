"""Transfers that share links, against a naive fluid in small steps of time and what max-min fairness means."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.sim.links import Links, Transfer, Way

RATES = [1.0, 2.0, 5.0]
plans = st.lists(
    st.tuples(st.integers(1, 50), st.sets(st.integers(0, len(RATES) - 1), min_size=1), st.integers(0, 20)),
    min_size=1,
    max_size=8,
)


def run(links: Links, begins: list[tuple[float, Transfer]]) -> None:
    """Until all are over; after each event the rates are fair."""
    begins = sorted(begins, key=lambda each: each[0])
    going: set[Transfer] = set()
    while begins or links.next_s() < math.inf:
        now_s = min(begins[0][0] if begins else math.inf, links.next_s())
        going.difference_update(links.over(now_s))
        while begins and begins[0][0] <= now_s:
            going.add(begins[0][1])
            links.begin(begins.pop(0)[1], now_s)
        check_fair({each for each in going if any(each in way.transfers for way in each.ways)})


def check_fair(going: set[Transfer]) -> None:
    """No way has more than it can, and each transfer has a full one on which nobody has more than it."""
    used = {way: sum(each.rate for each in way.transfers) for each in going for way in each.ways}
    assert all(rate <= way.bytes_per_s * (1 + 1e-9) for way, rate in used.items())
    for each in going:
        full = [way for way in each.ways if used[way] >= way.bytes_per_s * (1 - 1e-9)]
        assert any(all(other.rate <= each.rate * (1 + 1e-9) for other in way.transfers) for way in full)


@settings(deadline=None)
@given(plans)
def test_links_are_shared_fairly_and_every_byte_takes_its_time(plan):
    links, ways = Links(), [Way(rate) for rate in RATES]
    transfers = [
        (float(at), Transfer(float(size), tuple(ways[number] for number in sorted(which)))) for size, which, at in plan
    ]
    run(links, transfers)
    assert all(each.has_come for _, each in transfers)
    for (begin_s, each), (size, which, _) in zip(transfers, plan, strict=True):
        assert each.end_s - begin_s >= size / min(RATES[number] for number in which) - 1e-6
    for number, way in enumerate(ways):
        sizes = [size for size, which, _ in plan if number in which]
        if sizes:
            ends = [each.end_s for _, each in transfers if way in each.ways]
            assert (
                max(ends) - min(at for _, which, at in plan if number in which) >= sum(sizes) / way.bytes_per_s - 1e-6
            )


def test_two_on_one_link_take_twice_as_long_and_one_that_is_left_has_all_of_it():
    links, way = Links(), Way(10.0)
    one, two = Transfer(100.0, (way,)), Transfer(50.0, (way,))
    links.begin(one, 0.0)
    assert one.left_s(0.0) == 10.0
    links.begin(two, 0.0)
    assert links.next_s() == 10.0
    assert links.over(10.0) == [two]
    assert one.left_s(10.0) == pytest.approx(5.0)
    assert links.over(15.0) == [one]
    assert links.next_s() == math.inf


def test_nothing_is_over_before_it_has_come_to_where_it_is_read():
    links = Links()
    slow = Transfer(100.0, (Way(1.0),))
    quick = Transfer(100.0, (Way(100.0),), source=slow)
    links.begin(slow, 0.0)
    links.begin(quick, 10.0)
    assert quick.left_s(10.0) == 90.0
    assert links.over(11.0) == []
    assert links.over(100.0) == [slow, quick]
    assert quick.passed_s(5.0, 200.0) == 95.0
    assert quick.passed_s(150.0, 200.0) == 0.0
