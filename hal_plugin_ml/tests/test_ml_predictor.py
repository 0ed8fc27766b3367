"""The predictor: its quantiles are times in order, cover what they should, and follow what a user does."""

from __future__ import annotations

import math
import zlib
from random import Random
from statistics import fmean

import attrs
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from hal_core import ArraySpec, Arrival, End, EndKind, InvalidInput, JobId, JobSpec, Outcome, Owner, PartitionName
from hal_core.rules.predictions import believable
from hal_plugin_ml.linear import Linear
from hal_plugin_ml.predictor import AGAIN_MAX, MlPredictor, time_of
from hal_plugin_ml.quantiles import slopes

OK = End(EndKind.EXITED, exit_code=0)
FAILED = End(EndKind.EXITED, exit_code=1)
TIMED_OUT = End(EndKind.TIME_LIMIT)


def arrival(number: int, user: str = "ada", limit_s: float | None = 3600.0, **fields: object) -> Arrival:
    spec = JobSpec("job", PartitionName("all"), command=("true",), walltime_s=limit_s, **fields)  # type: ignore[arg-type]
    return Arrival(JobId(number), Owner(user, 1000, 1000), spec, 60.0 * number)


def outcome(job: Arrival, runtime_s: float, end: End = OK) -> Outcome:
    return Outcome(job, runtime_s, job.submit_time_s + 30.0 + runtime_s, end)


def run(predictor: MlPredictor, job: Arrival, runtime_s: float) -> None:
    predictor.predict([job])
    predictor.learn([outcome(job, runtime_s)])


def test_before_anything_ended_nothing_is_known():
    assert MlPredictor().predict([arrival(1), arrival(2)]) == [None, None]


times_s = st.floats(0.0, 1e9)
limits_s = st.one_of(st.none(), st.floats(0.0, 1e8))


@given(st.lists(st.tuples(st.sampled_from("ab"), limits_s, times_s), min_size=1, max_size=40), limits_s)
@settings(max_examples=50, deadline=None)
def test_whatever_happened_a_prediction_is_times_in_order_within_the_limit(
    past: list[tuple[str, float | None, float]], limit_s: float | None
) -> None:
    predictor = MlPredictor()
    for number, (user, its_limit_s, runtime_s) in enumerate(past):
        run(predictor, arrival(number, user, its_limit_s), runtime_s)
    (found,) = predictor.predict([arrival(1000, "a", limit_s)])
    assert found is not None
    assert 0.0 <= found.p10_s <= found.p50_s <= found.p90_s < math.inf
    assert found.mean_s is not None
    assert found.p10_s <= found.mean_s * (1 + 1e-9)
    assert found.mean_s <= found.p90_s
    if limit_s is not None:
        assert found.p90_s <= max(limit_s, 1.0) * (1 + 1e-9)
    assert believable(found, limit_s) is not None
    assert found.time_out_probability is not None
    assert found.failure_probability is not None
    assert 0.0 <= found.time_out_probability <= 1.0
    assert 0.0 <= found.failure_probability <= 1.0


def test_the_same_past_gives_the_same_answers():
    def story() -> list[object]:
        predictor, dice = MlPredictor(), Random(7)
        answers = []
        for number in range(200):
            job = arrival(number, dice.choice("abc"), dice.choice([600.0, 3600.0, None]))
            answers += predictor.predict([job])
            predictor.learn([outcome(job, dice.uniform(1, 600))])
        return answers

    assert story() == story()


def test_quantiles_cover_what_they_should_where_nothing_changes():
    """Users with habits of their own, each run a factor of two or so around it."""
    predictor, dice = MlPredictor(), Random(11)
    habit_s = {f"user{number}": 20.0 * 3**number for number in range(5)}
    below = {"p10_s": 0, "p50_s": 0, "p90_s": 0}
    counted = 0
    for number in range(6000):
        user = dice.choice(list(habit_s))
        job = arrival(number, user, 86_400.0)
        runtime_s = habit_s[user] * math.exp(dice.gauss(0.0, 0.5))
        (found,) = predictor.predict([job])
        if number >= 2000 and found is not None:
            counted += 1
            for name in below:
                below[name] += runtime_s <= getattr(found, name)
        predictor.learn([outcome(job, runtime_s)])
    shares = {name: count / counted for name, count in below.items()}
    assert shares["p10_s"] == pytest.approx(0.1, abs=0.05)
    assert shares["p50_s"] == pytest.approx(0.5, abs=0.07)
    assert shares["p90_s"] == pytest.approx(0.9, abs=0.05)


def test_how_jobs_end_is_learned_of_each_kind_and_what_is_said_happens_as_often() -> None:
    """Folds fail three times in ten, trainings run into their limit six times in ten, whoever sends them."""
    predictor, dice = MlPredictor(), Random(5)
    said: dict[str, list[float]] = {"fold": [], "train": []}
    for number in range(3000):
        name = dice.choice(("fold", "train"))
        job = arrival(number, dice.choice("abc"))
        job = attrs.evolve(job, spec=attrs.evolve(job.spec, name=f"{name}{number}"))
        (found,) = predictor.predict([job])
        if number >= 1500 and found is not None:
            share = found.failure_probability if name == "fold" else found.time_out_probability
            assert share is not None
            said[name].append(share)
        is_bad = dice.random() < (0.3 if name == "fold" else 0.6)
        end = OK if not is_bad else FAILED if name == "fold" else TIMED_OUT
        predictor.learn([outcome(job, 3600.0 if end is TIMED_OUT else 600.0, end)])
    assert fmean(said["fold"]) == pytest.approx(0.3, abs=0.06)
    assert fmean(said["train"]) == pytest.approx(0.6, abs=0.08)
    job = arrival(9000, limit_s=None)
    (found,) = predictor.predict([job])
    assert found is not None
    assert found.time_out_probability == 0.0, "what has no limit runs into none"


def test_a_user_who_changes_is_followed():
    predictor = MlPredictor()
    for number in range(300):
        run(predictor, arrival(number, limit_s=7200.0), 30.0 if number < 150 else 3000.0)
    (found,) = predictor.predict([arrival(1000, limit_s=7200.0)])
    assert found is not None
    assert 1000.0 < found.p50_s < 6000.0


def test_it_is_noticed_that_everything_changed_and_not_that_nothing_did():
    predictor, dice = MlPredictor(), Random(3)
    predictor.drift.load()
    for number in range(3000):
        run(predictor, arrival(number, f"user{number % 7}", 86_400.0), 300.0 * math.exp(dice.gauss(0.0, 0.2)))
    steady_count = predictor.drift.count
    for number in range(3000, 5000):
        run(predictor, arrival(number, f"user{number % 7}", 86_400.0), 300.0 * math.exp(dice.gauss(0.0, 3.0)))
    assert steady_count == 0
    assert predictor.drift.count > 0


def test_waiting_jobs_of_a_user_are_named_when_one_ends_and_then_answered_anew():
    predictor = MlPredictor()
    for number in range(50):
        run(predictor, arrival(number), 1800.0)
    first, waiting, other = arrival(100), arrival(101), arrival(102, "bob")
    (_, before, _) = predictor.predict([first, waiting, other])
    assert before is not None
    assert set(predictor.learn([outcome(first, 2.0)])) == {101}
    (after,) = predictor.predict([waiting])
    assert after is not None
    assert after.p50_s < before.p50_s
    predictor.learn([outcome(waiting, 2.0)])
    assert set(predictor.learn([outcome(arrival(103), 2.0)])) == set(), "nobody waits any more"


def test_of_an_array_every_element_teaches():
    predictor = MlPredictor()
    array = arrival(1, array=ArraySpec(((0, 100),)))
    predictor.predict([array])
    for _ in range(100):
        assert set(predictor.learn([outcome(array, 5.0)])) == {1}
    (found,) = predictor.predict([arrival(2)])
    assert found is not None
    assert found.p50_s < 60.0


def taught(model: Linear, target: float, groups: tuple[str, ...] = (), tau: float = 0.5, count: int = 1) -> None:
    """One number, as a quantile, so many times."""
    vector = np.array([1.0, 0.0])
    for _ in range(count):
        found, scaled = model.look(vector, groups)
        model.step(scaled, np.array(slopes([tau], found.tolist(), target)), groups)


@given(st.floats(-5, 5), st.sampled_from([0.1, 0.5, 0.9]))
@settings(max_examples=10, deadline=None)
def test_a_constant_is_learned_for_every_quantile(target: float, tau: float) -> None:
    model = Linear(1, 2)
    taught(model, target, tau=tau, count=3000)
    assert model.say(np.array([1.0, 0.0]))[0] == pytest.approx(target, abs=0.35)


def test_a_group_that_differs_is_learned_apart_and_disturbs_no_other() -> None:
    model = Linear(1, 2)
    for _ in range(500):
        taught(model, 0.0, ("ada",))
        taught(model, 0.0, ("bob",))
        taught(model, -4.0, ("eve",))
    at = {name: float(model.say(np.array([1.0, 0.0]), (name,))[0]) for name in ("ada", "bob", "eve", "new")}
    assert at["eve"] == pytest.approx(-4.0, abs=0.5)
    assert at["ada"] == pytest.approx(0.0, abs=0.5)
    assert at["bob"] == pytest.approx(0.0, abs=0.5)
    assert -4.0 < at["new"] < 1.0


def some_past(predictor: MlPredictor, seed: int, first: int = 0) -> list[object]:
    dice, answers = Random(seed), list[object]()
    for number in range(first, first + 150):
        job = arrival(number, dice.choice("abc"), dice.choice([600.0, 3600.0, None]))
        answers += predictor.predict([job])
        predictor.learn([outcome(job, dice.uniform(1, 600))])
    return answers


def test_what_was_stored_goes_on_as_if_nothing_had_happened() -> None:
    first, second = MlPredictor(), MlPredictor()
    some_past(first, 1)
    second.load(first.dump())
    assert some_past(second, 2, 1000) == some_past(first, 2, 1000)
    assert second.dump() == first.dump()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "cannot be read"),
        (b"\x80\x04K\x01.", "cannot be read"),
        (zlib.compress(b"[1, 2]"), "something else"),
        (zlib.compress(b'{"format": "hal-ml", "version": 7}'), "version 7"),
        (zlib.compress(b'{"format": "hal-ml", "version": 3}'), "history"),
    ],
)
def test_what_is_not_ours_is_refused_and_changes_nothing(content: bytes, word: str) -> None:
    predictor = MlPredictor()
    some_past(predictor, 1)
    before = predictor.dump()
    with pytest.raises(InvalidInput, match=word):
        predictor.load(content)
    assert predictor.dump() == before


def test_a_model_of_another_shape_is_refused() -> None:
    stored = Linear(1, 2).stored()
    with pytest.raises(ValueError, match="another shape"):
        Linear(1, 3).restore(stored)


def said_of(predictor: MlPredictor, number: int, user: str = "ada", **fields: object) -> float:
    (found,) = predictor.predict([arrival(number, user, 86_400.0, **fields)])
    assert found is not None
    return found.p50_s


def test_scripts_are_told_apart_by_their_names_whatever_their_numbers() -> None:
    predictor, dice = MlPredictor(), Random(2)
    for number in range(400):
        name, seconds = dice.choice((("fold", 60.0), ("train", 6000.0)))
        job = arrival(number, limit_s=86_400.0)
        job = attrs.evolve(job, spec=attrs.evolve(job.spec, name=f"{name}-{number}"))
        run(predictor, job, seconds * math.exp(dice.gauss(0.0, 0.1)))
    said_s = {}
    for at, name in enumerate(("fold-9999", "train-7")):
        job = arrival(1000 + at, limit_s=86_400.0)
        (found,) = predictor.predict([attrs.evolve(job, spec=attrs.evolve(job.spec, name=name))])
        assert found is not None
        said_s[name] = found.p50_s
    assert said_s["fold-9999"] < 600.0 < said_s["train-7"]


def test_who_is_new_is_known_by_the_account() -> None:
    predictor, dice = MlPredictor(), Random(4)
    for number in range(600):
        account, seconds = dice.choice((("tests", 30.0), ("climate", 20_000.0)))
        job = arrival(number, f"{account}{dice.randint(1, 20)}", 86_400.0, account=account)
        run(predictor, job, seconds * math.exp(dice.gauss(0.0, 0.3)))
    assert 5 * said_of(predictor, 1000, "new", account="tests") < said_of(predictor, 1001, "newer", account="climate")


def test_who_has_a_thousand_jobs_is_not_looked_at_a_thousand_times() -> None:
    predictor = MlPredictor()
    jobs = [arrival(number) for number in range(1000)]
    predictor.predict(jobs)
    assert predictor.learn([outcome(jobs[0], 60.0)]) == [job.job_id for job in jobs[1 : AGAIN_MAX + 1]]


@given(st.floats(1.0, 1e7), st.floats(-30.0, 30.0))
def test_what_reaches_the_limit_is_the_limit_to_the_last_second(limit_s: float, relative: float) -> None:
    """A limit that lost a millionth in its logarithm does not cover the job that was killed at it."""
    assert time_of(abs(relative), limit_s, is_limited=True) == limit_s
    assert time_of(-abs(relative), limit_s, is_limited=True) <= limit_s
    assert time_of(-1e-17, 156368.58989111183, is_limited=True) <= 156368.58989111183, "rounding made it longer"
    assert time_of(1.0, limit_s, is_limited=False) > limit_s
