"""The fence around predictors: who predicts well is passed on, who does not is soon found out and costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.job import ArraySpec, End, EndKind, JobId, JobSpec, Owner
from hal_core.models.node import PartitionName
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.rules.trust import ENDS_MIN, YARDSTICK, Fenced, fenced
from hal_core.sim.expectations import CORRECTIONS, Expectations, Predicted
from hal_core.sim.figures import figures_of
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.trace import TraceJob
from hal_core.simulate.measuring import CALL_S_MAX, PATIENCE_S, Measured
from hal_core.testing import FakePredictor, check_predictor
from hal_engine_backfill.expansion import Expansion

LIMIT_S = 3600.0
END = End(EndKind.EXITED, exit_code=0)


def arrival(number: int, user: str = "ada", **fields: object) -> Arrival:
    spec = JobSpec("job", PartitionName("all"), command=("true",), walltime_s=LIMIT_S, **fields)  # type: ignore[arg-type]
    return Arrival(JobId(number), Owner(user, 1000, 1000), spec, 0.0)


class Saying(FakePredictor):
    """Answers what `say` returns, whatever the question."""

    def __init__(self, say: Callable[[], Prediction | None]) -> None:
        super().__init__()
        self.say = say

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        return [self.say() for _ in jobs]


def always(time_s: float) -> Callable[[], Prediction]:
    return lambda: Prediction(time_s, time_s, time_s)


def live(fence: Fenced, runs_s: Sequence[float], first: int = 0) -> list[Prediction | None]:
    """One job after the other; what was said of each."""
    answers: list[Prediction | None] = []
    for number, run_s in enumerate(runs_s, first):
        job = arrival(number)
        answers += fence.predict([job])
        fence.learn([Outcome(job, run_s, run_s, END)])
    return answers


def habits(count: int, seed: int = 1) -> list[float]:
    """A user whose jobs take some minutes."""
    dice = Random(seed)
    return [300.0 * math.exp(dice.gauss(0.0, 0.5)) for _ in range(count)]


def test_who_predicts_well_is_passed_on():
    answers = live(Fenced(Saying(always(300.0))), habits(500))
    assert answers == [Prediction(300.0, 300.0, 300.0)] * 500


def test_who_predicts_badly_is_passed_on_no_more_and_again_when_it_is_better():
    predictor = Saying(always(5.0))
    fence = Fenced(predictor)
    answers = live(fence, habits(200))
    assert all(answers[:ENDS_MIN])
    assert not any(answers[ENDS_MIN:])
    predictor.say = always(300.0)
    assert all(live(fence, habits(2000), 1000)[-100:])


def test_it_is_worse_than_exact_limits_too():
    """Whose jobs run to their limits needs no prediction, and gets none that is worse."""
    assert not any(live(Fenced(Saying(always(900.0))), [LIMIT_S] * 100)[ENDS_MIN:])


def test_silence_is_no_error():
    fence = Fenced(Saying(lambda: None))
    assert live(fence, habits(100)) == [None] * 100
    assert fence.trust.is_kept


def test_of_an_array_every_element_counts():
    fence, job = Fenced(Saying(always(1.0))), arrival(1, array=ArraySpec(((0, 100),)))
    fence.predict([job])
    fence.learn([Outcome(job, 3000.0, 3000.0, END)] * ENDS_MIN)
    assert not fence.trust.is_kept


def test_the_yardstick_is_not_measured_with_itself():
    predictor = FakePredictor()
    assert fenced(YARDSTICK, predictor) is predictor
    assert isinstance(fenced("other", predictor), Fenced)


def test_a_fenced_predictor_keeps_the_contract():
    check_predictor(lambda: Fenced(FakePredictor()), example_count=8)


# -- in the replay -----------------------------------------------------------------------------------------------------


def crash() -> Prediction:
    raise ZeroDivisionError("a bug of the model")


def adversaries() -> dict[str, Callable[[], Prediction | None]]:
    dice = Random(4)
    return {
        "random": lambda: always(dice.uniform(1.0, 40_000.0))(),
        "a second": always(1.0),
        "an hour": always(3600.0),
        "infinite": always(math.inf),
        "not a number": always(math.nan),
        "negative": always(-5.0),
        "crashing": crash,
        "a mean that is nonsense": lambda: Prediction(300.0, 300.0, 300.0, mean_s=math.nan),
        "no prediction": lambda: "soon",  # type: ignore[dict-item,return-value]
    }


def busy_trace() -> list[TraceJob]:
    """Users with habits, who ask for more than they need, on a machine that is nearly full."""
    dice = Random(2)
    habit_s = {f"user{number}": 60.0 * 2.5**number for number in range(6)}
    jobs, submit_s = [], 0.0
    for number in range(1200):
        user = dice.choice(list(habit_s))
        run_s = round(habit_s[user] * math.exp(dice.gauss(0.0, 0.4)) + 1.0)
        limit_s = max(run_s, habit_s[user] * dice.choice((2, 5)))
        submit_s += round(dice.expovariate(1 / 480.0))
        jobs.append(TraceJob(number + 1, submit_s, run_s, limit_s, dice.choice((1, 1, 2, 4, 8)), user))
    return jobs


def slowdown(expectations: Expectations, jobs: Sequence[TraceJob]) -> float:
    machine = Machine.pool(16)
    replay = Replay(Expansion(60.0, 432_000.0), machine, jobs, Foresight(expectations, CORRECTIONS["request"]))
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    assert all(start_s == start_s for start_s in replay.start_s), "a job never started"
    return figures_of(jobs, replay.start_s, 16).avg_bounded_slowdown


@pytest.fixture(scope="module")
def jobs() -> list[TraceJob]:
    return busy_trace()


@pytest.fixture(scope="module")
def without(jobs: list[TraceJob]) -> float:
    return slowdown(Expectations(), jobs)


@pytest.mark.parametrize("name", list(adversaries()))
def test_an_adversary_costs_at_most_a_twentieth(name: str, jobs: list[TraceJob], without: float) -> None:
    adversary = Measured(Saying(adversaries()[name]))
    found = slowdown(Predicted.by(name, adversary), jobs)
    assert found <= 1.05 * without, f"{found:.2f} instead of {without:.2f}"
    assert bool(adversary.failure) == (name == "crashing")


def test_without_the_fence_they_would_cost_more(jobs: list[TraceJob], without: float) -> None:
    """Else the test above could not fail."""
    assert (
        max(slowdown(Predicted(Saying(adversaries()[name])), jobs) for name in ("random", "a second")) > 1.05 * without
    )


def test_a_predictor_that_dawdles_is_asked_no_more() -> None:
    clock = [0.0]

    def dawdle() -> Prediction:
        clock[0] += 4 * CALL_S_MAX
        return Prediction(1.0, 1.0, 1.0)

    measured = Measured(Saying(dawdle), wall_now=lambda: clock[0])
    answers = [measured.predict([arrival(number)])[0] for number in range(1000)]
    assert answers[0] is not None
    assert answers[-1] is None
    assert "calls took" in measured.failure
    assert clock[0] < 2 * PATIENCE_S


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=20), st.floats(1.0, 1e5))
@settings(max_examples=50, deadline=None)
def test_whatever_is_said_a_job_runs_until_it_ends(said: list[float], run_s: float) -> None:
    """No job is ever killed, started twice or forgotten because of a prediction."""
    answers = iter(said * 10)
    jobs = [TraceJob(number, number * 7.0, run_s, run_s * 2, 1 + number % 4, "ada") for number in range(1, 30)]
    slowdown(Predicted(Saying(lambda: always(next(answers, 1.0))())), jobs)
