"""Sets of numbers as bits: there and back, whatever way is taken for few, many, close and far ones."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hal_core.models.masks import lowest, mask_of, members_of, numbers_of

few = st.lists(st.integers(0, 12_000), max_size=30, unique=True)
close = st.builds(
    lambda first, steps: [first + step for step in steps],
    st.integers(0, 9000),
    st.lists(st.integers(0, 300), max_size=300, unique=True),
)
sets = few | close | st.builds(lambda one, other: list({*one, *other}), close, close)


@given(sets)
def test_numbers_become_bits_and_come_back_in_order(numbers: list[int]) -> None:
    mask = mask_of(numbers)
    assert mask == sum(1 << number for number in numbers) == mask_of(tuple(numbers))
    assert numbers_of(mask) == list(members_of(mask)) == sorted(numbers)


@given(sets, st.data())
def test_the_lowest_are_those_with_the_least_numbers(numbers: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(numbers)))
    assert lowest(mask_of(numbers), count) == mask_of(sorted(numbers)[:count])
