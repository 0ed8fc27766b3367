"""Several models as one: the right one is heard, a change is followed, and what is covered is what should be."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from hal_plugin_ml.mixing import Matrix, Mixing
from hal_plugin_ml.recent import LATEST, Recent

TAUS = (0.1, 0.5, 0.9)


def rows(*values: float) -> Matrix:
    """Models that say one number each."""
    return np.array([[value] * len(TAUS) for value in values])


def test_the_first_model_is_believed_until_another_has_earned_it() -> None:
    mixing = Mixing(TAUS, 2)
    before = mixing.mixed(rows(-1.0, -3.0), "ada")
    assert (before > -1.5).all()
    for _ in range(300):
        mixing.learn(rows(-1.0, -3.0), -3.0, "ada")
    assert mixing.mixed(rows(-1.0, -3.0), "ada")[1] == pytest.approx(-3.0, abs=0.3)


def test_who_is_right_of_one_user_need_not_be_of_another() -> None:
    mixing = Mixing(TAUS, 2)
    for _ in range(400):
        mixing.learn(rows(-0.5, -3.0), -0.5, "ada")
        mixing.learn(rows(-0.5, -3.0), -3.0, "bob")
    of_ada, of_bob = (mixing.mixed(rows(-0.5, -3.0), user)[1] for user in ("ada", "bob"))
    assert of_ada > of_bob + 1.0


def test_a_model_that_becomes_better_is_heard_again() -> None:
    mixing = Mixing(TAUS, 2)
    for _ in range(2000):
        mixing.learn(rows(-1.0, -3.0), -1.0, "ada")
    for _ in range(2000):
        mixing.learn(rows(-1.0, -3.0), -3.0, "ada")
    assert mixing.mixed(rows(-1.0, -3.0), "ada")[1] == pytest.approx(-3.0, abs=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_covered_is_what_should_be_though_all_models_are_wrong(seed: int) -> None:
    mixing, dice = Mixing(TAUS, 2), Random(seed)
    covered, count = [0, 0, 0], 4000
    for at in range(2 * count):
        said, come = rows(-3.0, -2.5), dice.gauss(-2.0, 0.5)
        if at >= count:
            covered = [before + (come <= each) for before, each in zip(covered, mixing.mixed(said, "ada"), strict=True)]
        mixing.learn(said, come, "ada")
    assert [each / count for each in covered] == pytest.approx(TAUS, abs=0.05)


logs = st.floats(-50.0, 50.0)


@given(st.lists(st.tuples(logs, logs, logs, st.sampled_from("ab")), max_size=40), logs, logs)
@settings(max_examples=50, deadline=None)
def test_whatever_came_what_is_said_is_finite_and_what_is_stored_goes_on(
    past: list[tuple[float, float, float, str]], one: float, other: float
) -> None:
    mixing, again = Mixing(TAUS, 2), Mixing(TAUS, 2)
    for first, second, come, user in past:
        mixing.learn(rows(first, second), come, user)
    said = rows(one, other)
    found = mixing.mixed(said, "a")
    assert np.isfinite(found).all()
    low, high = min(one, other), max(one, other)
    moved = 0.01 * len(past)
    assert ((low - moved - 1e-9 <= found) & (found <= high + moved + 1e-9)).all()
    again.restore(mixing.stored())
    assert (again.mixed(said, "a") == found).all()


def test_a_mixture_of_other_models_is_refused() -> None:
    with pytest.raises(ValueError, match="another shape"):
        Mixing(TAUS, 3).restore(Mixing(TAUS, 2).stored())


def test_quantiles_of_recent_times_by_hand() -> None:
    recent = Recent(TAUS)
    assert recent.quantiles("ada") is None
    recent.learn("ada", 3.0)
    assert recent.quantiles("ada") == pytest.approx([3.0, 3.0, 3.0])
    for time in (1.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0):
        recent.learn("ada", time)
    assert recent.quantiles("ada") == pytest.approx([1.0, 5.0, 9.0])


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60))
def test_quantiles_are_in_order_between_the_least_and_the_most_of_the_latest(times: list[float]) -> None:
    recent = Recent(TAUS)
    for time in times:
        recent.learn("ada", time)
    found = recent.quantiles("ada")
    assert found is not None
    latest = times[-LATEST:]
    assert min(latest) <= found[0] <= found[1] <= found[2] <= max(latest)
    assert not math.isnan(found.sum())
