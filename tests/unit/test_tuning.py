"""The verdict on policies that were tried: what is worth a change, and what forbids it."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from hal_core.models.job import JobId
from hal_core.models.tuning import Bounds
from hal_core.rules.trial import Waited
from hal_core.rules.tuning import Trials, judge

HOUR_S = 3600.0
BOUNDS = Bounds(gain_min=0.05, worse_max=0.2, grace_s=600.0)


def trials(*means_s: float, p99_s: float = HOUR_S, **of_user_s: float) -> Trials:
    return Trials(means_s, p99_s, of_user_s or {"ada": HOUR_S})


def test_a_policy_that_saves_enough_in_every_sample_is_adopted_and_its_gain_is_told() -> None:
    tried = {"easy": trials(100.0, 120.0, 110.0), "hal": trials(80.0, 96.0, 88.0)}
    verdict = judge(tried, "easy", "easy", BOUNDS)
    assert verdict.policy == "hal"
    assert round(verdict.gain, 6) == 0.2
    assert verdict.reason == "hal is expected to do better than easy: 20% less waiting"


def test_a_gain_that_may_be_chance_changes_nothing() -> None:
    tried = {"easy": trials(100.0, 100.0, 100.0), "hal": trials(10.0, 120.0, 110.0)}
    assert judge(tried, "easy", "easy", BOUNDS).policy == "easy"


def test_a_gain_too_small_changes_nothing() -> None:
    tried = {"easy": trials(100.0, 100.0), "hal": trials(96.0, 96.0)}
    assert judge(tried, "easy", "easy", BOUNDS).policy == "easy"


def test_no_gain_makes_good_for_a_user_who_waits_far_longer() -> None:
    easy = trials(100.0, 100.0, ada=HOUR_S, bob=HOUR_S)
    tried = {"easy": easy, "hal": trials(10.0, 10.0, ada=60.0, bob=2 * HOUR_S)}
    assert judge(tried, "easy", "easy", BOUNDS).policy == "easy"
    verdict = judge(tried, "easy", "hal", BOUNDS)
    assert verdict.policy == "easy"
    assert verdict.reason == "hal does worse than easy: jobs of bob wait 2.0 h instead of 1.0 h"


def test_no_gain_makes_good_for_those_who_wait_longest() -> None:
    tried = {"easy": trials(100.0, 100.0), "hal": trials(10.0, 10.0, p99_s=2 * HOUR_S)}
    assert judge(tried, "easy", "easy", BOUNDS).policy == "easy"
    assert judge(tried, "easy", "hal", BOUNDS).policy == "easy"


def test_what_has_become_worse_than_the_configured_policy_goes() -> None:
    tried = {"easy": trials(100.0, 100.0), "hal": trials(110.0, 110.0), "other": trials(50.0, 50.0)}
    verdict = judge(tried, "easy", "hal", BOUNDS)
    assert (verdict.policy, verdict.reason) == ("easy", "hal does worse than easy: 10% more waiting")


def test_harm_is_measured_against_the_configured_policy_not_the_one_in_force() -> None:
    """Or else step by step everything would be allowed."""
    tried = {
        "easy": trials(100.0, 100.0, ada=HOUR_S),
        "hal": trials(80.0, 80.0, ada=HOUR_S + 1000.0),
        "other": trials(40.0, 40.0, ada=HOUR_S + 2000.0),
    }
    assert judge(tried, "easy", "hal", BOUNDS).policy == "hal"


waiting = st.lists(st.builds(Waited, st.integers(0, 9).map(JobId), st.floats(0, 1e6), st.integers(1, 5)), min_size=1)


@given(st.lists(waiting, min_size=1, max_size=4))
@settings(deadline=None)
def test_policies_that_do_the_same_are_never_exchanged(samples: list[list[Waited]]) -> None:
    found = Trials.of(samples, lambda job_id: f"user{job_id % 2}")
    tried = {"easy": found, "hal": found}
    assert judge(tried, "easy", "easy", Bounds()).policy == "easy"
    assert judge(tried, "easy", "hal", Bounds()).policy == "hal"


def test_elements_of_arrays_count_one_by_one() -> None:
    found = Trials.of([[Waited(JobId(1), 10.0, 99), Waited(JobId(2), 1000.0, 1)]], lambda job_id: str(job_id))
    assert found == Trials([(990.0 + 1000.0) / 100], 10.0, {"1": 10.0, "2": 1000.0})
