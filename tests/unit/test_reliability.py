"""Probabilities are as good as what then happens: by hand, and over many jobs whose true probability is known."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, strategies as st

from hal_core.sim.reliability import Group, reliability_of


def test_of_nothing_said_nothing_can_be_said():
    assert reliability_of([]) is None


def test_an_example_by_hand():
    """Twenty jobs, so two in a group: half of them time out, and of all it is said that one in four does."""
    found = reliability_of([(0.25, at % 2 == 0) for at in range(20)])
    assert found is not None
    assert found.skill == pytest.approx(1.0 - (0.25**2 + 0.75**2) / 2 / 0.25)
    assert [each.count for each in found.groups] == [2] * 10
    assert found.groups[0] == Group(0.25, 0.0, 2), "sorted by what was said, then by what happened"


def test_who_knows_is_reliable_and_who_is_sure_of_the_wrong_is_not():
    dice = Random(5)
    truth = [dice.random() for _ in range(5000)]
    happened = [dice.random() < each for each in truth]
    known, sure, blind = (
        reliability_of(zip(said, happened, strict=True))
        for said in (truth, [float(each > 0.5) for each in truth], [0.5] * len(truth))
    )
    assert known is not None
    assert sure is not None
    assert blind is not None
    assert known.skill > max(sure.skill, blind.skill, 0.25)
    assert known.calibration_error < 0.05 < sure.calibration_error


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=60))
def test_whatever_was_said_the_groups_are_all_jobs_and_an_error_is_a_share(pairs: list[tuple[float, bool]]) -> None:
    found = reliability_of(pairs)
    assert found is not None
    assert sum(each.count for each in found.groups) == len(pairs)
    assert 1 <= len(found.groups) <= 10
    assert 0.0 <= found.calibration_error <= 1.0
    assert found.skill <= 1.0
    assert sum(each.count * each.happened for each in found.groups) == pytest.approx(sum(did for _, did in pairs))
