"""Scores of predictions: the pinball loss is least for the true quantile, and coverage counts what was covered."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, strategies as st

from hal_core.models.prediction import Prediction
from hal_core.sim.scores import Scores, pinball, scores_of

times_s = st.floats(0.0, 1e6, allow_subnormal=False)  # of which a half may be nothing


def test_without_jobs_there_is_nothing_to_score():
    assert scores_of([]) == Scores(0.0, 0.0)


def test_an_example_by_hand():
    """10 s said, 40 s run: 30 s at tau 0.1, 0.5 and 0.9 are 3, 15 and 27."""
    one = Prediction(10.0, 10.0, 10.0)
    assert pinball(one, 40.0) == pytest.approx(15.0)
    assert scores_of([(one, 40.0), (one, 10.0)]) == Scores(pytest.approx(7.5), 0.5)


@given(times_s, times_s)
def test_only_the_truth_costs_nothing(said_s: float, run_s: float) -> None:
    loss = pinball(Prediction(said_s, said_s, said_s), run_s)
    assert (loss == 0.0) == (said_s == run_s)
    assert loss >= 0.0


def test_true_quantiles_beat_others_on_average():
    dice = Random(5)
    runs_s = [dice.uniform(0.0, 1000.0) for _ in range(4000)]

    def mean(prediction: Prediction) -> float:
        return scores_of((prediction, run_s) for run_s in runs_s).pinball

    true = mean(Prediction(100.0, 500.0, 900.0))
    for other in (Prediction(0.0, 500.0, 900.0), Prediction(100.0, 300.0, 900.0), Prediction(100.0, 500.0, 700.0)):
        assert mean(other) > true
