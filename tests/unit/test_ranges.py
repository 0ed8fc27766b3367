"""RangeSet against Python's own set: whatever is done to it, it is the same set, in as few ranges as possible."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hal_core.models.ranges import RangeSet, count_of, format_ranges, members, parse_ranges

PLACES = st.integers(0, 40)
PAIRS = st.tuples(PLACES, PLACES)
SETS = st.sets(PLACES)


def range_set(values):
    return RangeSet((value, value + 1) for value in values)


class RangeSetMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.tested = RangeSet()
        self.model: set[int] = set()

    @rule(pair=PAIRS)
    def add(self, pair):
        self.tested.add(*pair)
        self.model |= set(range(*pair))

    @rule(value=PLACES)
    def add_one(self, value):
        self.tested.add(value)
        self.model.add(value)

    @rule(pair=PAIRS)
    def discard(self, pair):
        self.tested.discard(*pair)
        self.model -= set(range(*pair))

    @rule(value=PLACES)
    def discard_one(self, value):
        self.tested.discard(value)
        self.model.discard(value)

    @rule(pairs=st.lists(PAIRS, max_size=4))
    def update(self, pairs):
        self.tested.update(pairs)
        self.model |= {value for pair in pairs for value in range(*pair)}

    @rule(pairs=st.lists(PAIRS, max_size=4))
    def difference_update(self, pairs):
        self.tested.difference_update(pairs)
        self.model -= {value for pair in pairs for value in range(*pair)}

    @invariant()
    def is_the_same_set(self):
        assert list(self.tested) == sorted(self.model)
        assert len(self.tested) == len(self.model)
        assert bool(self.tested) == bool(self.model)
        assert {value for value in range(-1, 42) if value in self.tested} == self.model

    @invariant()
    def is_canonical(self):
        ranges = self.tested.ranges()
        assert all(start < stop for start, stop in ranges)
        assert all(left[1] < right[0] for left, right in pairwise(ranges)), "touching ranges"


TestRangeSet = RangeSetMachine.TestCase


@given(SETS, SETS)
def test_intersection(left, right):
    assert list(members(range_set(left).intersection(range_set(right).ranges()))) == sorted(left & right)


@given(SETS, st.integers(0, 50))
def test_first(values, count):
    tested = range_set(values)
    assert list(members(tested.first(count))) == sorted(values)[:count]
    assert set(tested) == values, "nothing is removed"


@given(SETS)
def test_a_copy_is_another_set(values):
    tested = range_set(values)
    twin = tested.copy()
    assert twin == tested
    twin.add(99)
    assert set(tested) == values
    assert (twin == tested) is False


@given(SETS)
def test_texts_are_inverse(values):
    ranges = range_set(values).ranges()
    assert parse_ranges(format_ranges(ranges)) == ranges
    assert count_of(ranges) == len(values)


@pytest.mark.parametrize(("text", "ranges"), [("", ()), ("0-3,8", ((0, 4), (8, 9))), ("1,2,3", ((1, 4),))])
def test_texts(text, ranges):
    assert parse_ranges(text) == ranges


def test_equal_sets_are_equal_however_they_were_made():
    assert RangeSet([(0, 3), (3, 5)]) == RangeSet([(2, 5), (0, 2)])
    assert RangeSet() != ()
    assert repr(RangeSet([(0, 3)])) == "RangeSet('0-2')"


def test_a_million_elements_are_one_range():
    tested = RangeSet([(0, 1_000_000)])
    tested.discard(500_000)
    assert tested.ranges() == ((0, 500_000), (500_001, 1_000_000))
    assert len(tested) == 999_999
