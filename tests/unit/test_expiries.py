"""The heap of expiries against a plain sum over all datasets, whatever is added, renewed, pinned and removed."""

from __future__ import annotations

import math

import attrs
from hypothesis import given, strategies as st

from hal_core.models.dataset import DataFile, Dataset, DatasetId
from hal_core.rules.expiries import STALE_MIN, Expiries

PLAIN = Dataset("a", "1", (DataFile("a", 1, "a" * 64),), ("/a",), "ada", 1000, 1000)
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "pin", "unpin", "remove", "look"]),
        st.sampled_from("abcd"),
        st.none() | st.integers(0, 5),
        st.integers(0, 9),
    ),
    max_size=40,
)


@given(steps)
def test_the_next_and_those_that_are_over_are_what_a_look_at_all_gives(some):
    by_id: dict[DatasetId, Dataset] = {}
    expiries = Expiries(by_id)
    for verb, name, retention_s, time_s in some:
        dataset = attrs.evolve(PLAIN, name=name, retention_s=retention_s, add_time_s=float(time_s))
        if verb == "put":
            by_id[dataset.id] = dataset
            expiries.note(dataset)
        elif verb == "remove":
            by_id.pop(dataset.id, None)
        elif verb != "look" and dataset.id in by_id:
            by_id[dataset.id] = attrs.evolve(by_id[dataset.id], is_pinned=verb == "pin")
            expiries.note(by_id[dataset.id])
        times = {each.id: each.expiry_time_s for each in by_id.values() if not each.is_pinned}
        for _ in range(2):  # a look changes nothing
            assert expiries.next_s == min(times.values(), default=math.inf)
            over = sorted((at, each) for each, at in times.items() if at <= time_s)
            assert [each.id for each in expiries.over(time_s)] == [each for _, each in over]


def test_what_is_renewed_for_ever_does_not_grow():
    by_id: dict[DatasetId, Dataset] = {}
    expiries = Expiries(by_id)
    for time_s in range(10 * STALE_MIN):
        by_id[PLAIN.id] = attrs.evolve(PLAIN, retention_s=1e6, add_time_s=float(time_s))
        expiries.note(by_id[PLAIN.id])
        assert len(expiries) <= STALE_MIN + 2 * len(by_id)
    assert expiries.next_s == 1e6 + 10 * STALE_MIN - 1
