"""Packed vectors against lists of bytes."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hal_core.errors import WireError
from hal_core.wire.packed import Packed, pack

ITEMS = st.lists(st.binary(max_size=20), min_size=1, max_size=40)


@given(items=ITEMS, data=st.data())
def test_a_slice_of_a_slice_is_what_it_is_of_a_list(items, data):
    vector = pack(items)
    for _ in range(3):
        start = data.draw(st.integers(0, len(items) - 1))
        stop = data.draw(st.integers(start + 1, len(items)))
        vector, items = vector.part(start, stop), items[start:stop]
        vector.check()
        assert len(vector) == len(items)
        assert list(vector.items()) == items


@given(items=ITEMS, start=st.integers(0, 39), bytes_max=st.integers(0, 300))
def test_count_within_takes_as_many_as_fit_and_at_least_one(items, start, bytes_max):
    start %= len(items)
    count = pack(items).count_within(start, bytes_max)
    assert 1 <= count <= len(items) - start
    assert count == 1 or sum(map(len, items[start : start + count])) <= bytes_max
    if start + count < len(items):
        assert sum(map(len, items[start : start + count + 1])) > bytes_max


@given(bounds=st.binary(max_size=24), data=st.binary(max_size=8))
def test_what_passes_the_check_can_be_opened(bounds, data):
    vector = Packed(bounds, data)
    try:
        vector.check()
    except WireError:
        return
    assert b"".join(vector.items()) == data
