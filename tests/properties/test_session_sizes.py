"""A session that is made larger and smaller, again and again, with workers that have come and such that have not."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hal_core.errors import InvalidInput
from hal_core.models.ranges import RangeSet
from hal_core.sessions.sizes import Part, Size, main_of, resized, size_of, wanted_size

SIZES = st.builds(Size, st.integers(0, 12), st.integers(0, 12)).filter(lambda size: size.own_count + size.elastic_count)


@given(SIZES, st.lists(st.tuples(SIZES, st.randoms(use_true_random=False)), max_size=12))
def test_what_is_left_of_the_jobs_is_what_was_wanted(first, changes):
    parts, gone, names = resized((), first, "s").parts, set[tuple[str, int]](), set[str]()
    names |= {part.client_id for part in parts}
    for number, (wanted, random) in enumerate(changes):
        places = {part.client_id: {at for at in part.left if random.random() < 0.5} for part in parts}
        present = {name: RangeSet((at, at + 1) for at in sorted(places)) for name, places in places.items()}
        change = resized(parts, wanted, f"s-more-{number}", present)
        assert size_of(change.parts) == wanted
        assert not names & {part.client_id for part in change.new}, "no name of a job is used twice"
        names |= {part.client_id for part in change.new}
        assert len(change.new) <= 2
        for before, after in zip(parts, change.parts, strict=False):
            assert (after.client_id, after.is_elastic, after.count) == (
                before.client_id,
                before.is_elastic,
                before.count,
            )
            assert not {(after.client_id, at) for at in after.left} & gone, "what was let go never comes back"
            gone |= {(before.client_id, at) for at in before.left if at not in after.left}
        for is_elastic in (False, True):
            went = [
                at in places[part.client_id]
                for part, after in zip(parts, change.parts, strict=False)
                if part.is_elastic is is_elastic
                for at in part.left
                if at not in after.left
            ]
            stays = [
                at in places[part.client_id]
                for part in change.parts[: len(parts)]
                if part.is_elastic is is_elastic
                for at in part.left
            ]
            assert all(stays) or not any(went), "who is here goes only when all others have gone"
        parts = tuple(part for part in change.parts if part.left)
        assert main_of(parts).is_elastic is not bool(wanted.own_count)


def test_a_size_that_stays_changes_nothing():
    parts = (Part("a", False, 4, ((1, 2),)), Part("b", True, 2))
    assert resized(parts, Size(3, 2), "c").parts == parts


@given(SIZES, st.none() | st.integers(-2, 30), st.none() | st.integers(-2, 30))
def test_what_is_not_said_of_a_size_follows_from_what_is(now, least, most):
    try:
        size = wanted_size(now, least, most)
    except InvalidInput:
        assert (least is not None and (least < 0 or (most is not None and least > most))) or (most or 0) < 1
        return
    assert least in (None, size.own_count)
    assert most in (None, size.own_count + size.elastic_count)
    if least is None and most is None:
        assert size == now


def test_to_say_the_least_only_or_the_most_only_is_enough():
    assert wanted_size(Size(2, 0), 4, None) == Size(4, 0)
    assert wanted_size(Size(2, 6), 4, None) == Size(4, 4)
    assert wanted_size(Size(4, 0), None, 2) == Size(2, 0)
    assert wanted_size(Size(2, 0), None, 8) == Size(2, 6)
    for least, most in ((5, 4), (-1, 4), (0, 0)):
        with pytest.raises(InvalidInput, match=f"{least}.*{most}"):
            wanted_size(Size(2, 2), least, most)
