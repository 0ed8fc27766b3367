"""Predicted run times in the core: believed between a second and the limit, planned with, never a reason to kill."""

from __future__ import annotations

import math

import attrs
import msgspec
import pytest
from hypothesis import given, strategies as st

from hal_core.models.event import JobCancelRequested, JobEnded, RunTimesPredicted, decode_event
from hal_core.models.job import JobId
from hal_core.models.message import PredictionsMade, Tick
from hal_core.models.prediction import Prediction
from hal_core.rules.excerpt import excerpt
from hal_core.rules.forecast import forecast
from hal_core.rules.predictions import believable, expected_end_s
from hal_core.rules.state import State
from hal_engine_backfill.easy import Easy
from tests.support.core_world import World, make_cluster

any_time_s = st.one_of(st.floats(), st.integers(-10, 10**9))
walltimes_s = st.one_of(st.none(), st.floats(0.5, 1e7))


def predicted(job_id: int, *times_s: float) -> PredictionsMade:
    return PredictionsMade("test", ((JobId(job_id), Prediction(*times_s)),))


maybe_s = st.one_of(st.none(), any_time_s)


@given(st.builds(Prediction, any_time_s, any_time_s, any_time_s, maybe_s, maybe_s), walltimes_s)
def test_what_is_believed_lies_between_a_second_and_the_limit_in_order(
    prediction: Prediction, walltime_s: float | None
) -> None:
    found = believable(prediction, walltime_s)
    times_s = [prediction.p10_s, prediction.p50_s, prediction.p90_s, prediction.expected_s, prediction.average_s]
    if any(math.isnan(time_s) or time_s < 0 for time_s in times_s):
        assert found is None
        return
    assert found is not None
    most_s = math.inf if walltime_s is None else walltime_s
    assert min(1.0, most_s) <= found.p10_s <= found.p50_s <= found.p90_s <= most_s
    assert min(1.0, most_s) <= found.expected_s <= most_s
    assert min(1.0, most_s) <= found.average_s <= most_s


@pytest.mark.parametrize("wrong", ["soon", None, [1.0], 1j])
def test_what_is_no_time_is_not_believed(wrong: object) -> None:
    assert believable(Prediction(1.0, wrong, 3.0), 60.0) is None  # type: ignore[arg-type]


@given(st.floats(0, 1e9), st.floats(0, 1e6), walltimes_s, st.floats(0, 2e9))
def test_an_expected_end_is_never_past_nor_beyond_the_limit(
    start_s: float, expected_s: float, walltime_s: float | None, now_s: float
) -> None:
    end_s = expected_end_s(start_s, expected_s, walltime_s, now_s)
    assert end_s >= now_s
    if walltime_s is not None:
        assert end_s <= max(start_s + walltime_s, now_s)


def test_only_jobs_that_are_not_finished_are_kept_and_nothing_is_no_event() -> None:
    world = World(make_cluster(1)).join()
    first = world.submit(walltime_s=600.0)
    world.tell(predicted(first, 5.0, 60.0, 900.0))
    world.tell(predicted(4711, 5.0, 60.0, 90.0))
    world.tell(predicted(first, 5.0, math.nan, 90.0))
    (event,) = world.of(RunTimesPredicted)
    assert event.predictions == ((first, Prediction(5.0, 60.0, 600.0)),)


def test_a_probability_that_is_none_is_left_out_and_the_run_time_believed() -> None:
    for said in (math.nan, -0.1, 1.5, math.inf):
        found = believable(Prediction(5.0, 60.0, 90.0, time_out_probability=said, failure_probability=0.25), 600.0)
        assert found == Prediction(5.0, 60.0, 90.0, failure_probability=0.25)


def test_an_expected_end_lets_a_short_job_through_and_kills_nobody() -> None:
    """One CPU is free. The wide job behind waits for the long one, of which the predictor says 60 s instead of 600."""
    world = World(make_cluster(1), Easy()).join()
    long_one = world.submit(cpus_per_task=3, walltime_s=600.0)
    wide = world.submit(cpus_per_task=4, walltime_s=600.0)
    world.plan()
    (promise,) = world.state.promises.values()
    assert promise.start_time_s == pytest.approx(world.now_s + 600.0)
    world.tell(predicted(long_one, 60.0, 60.0, 60.0))
    world.plan()
    (promise,) = world.state.promises.values()
    assert promise.start_time_s == pytest.approx(world.now_s + 60.0)
    assert forecast(excerpt(world.state, wide, world.now_s), Easy(), world.now_s).start_time_s == pytest.approx(
        world.now_s + 60.0
    )
    start_s = world.now_s
    world.now_s += 61.0
    world.tell(Tick())
    assert not world.of(JobEnded)
    assert not world.of(JobCancelRequested)
    world.plan()
    (promise,) = world.state.promises.values()
    assert promise.start_time_s == pytest.approx(start_s + 600.0), "what outlived its prediction is taken to its limit"


def test_predictions_survive_a_dump() -> None:
    world = World(make_cluster(1)).join()
    job_id = world.submit(walltime_s=600.0)
    world.tell(predicted(job_id, 5.0, 60.0, 90.0))
    loaded = State.load(world.state.dump())
    assert loaded.jobs[job_id].prediction == Prediction(5.0, 60.0, 90.0)
    assert loaded.jobs[job_id].pending_row().expected_s == 60.0
    assert attrs.evolve(Prediction(5.0, 60.0, 90.0), planned_s=7.0).expected_s == 7.0


def test_a_prediction_of_an_older_journal_is_read_without_what_was_not_said_then() -> None:
    old = {"time_s": 5.0, "predictor": "ml", "predictions": [[7, {"p10_s": 5.0, "p50_s": 60.0, "p90_s": 90.0}]]}
    found = decode_event("RunTimesPredicted", 1, msgspec.msgpack.encode(old))
    assert found == RunTimesPredicted(5.0, "ml", ((JobId(7), Prediction(5.0, 60.0, 90.0)),))
