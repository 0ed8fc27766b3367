"""The policy `hal` in the whole core: ranks before factors, factors by what is expected, and nobody starves."""

from __future__ import annotations

import attrs
import pytest

from hal_core.models.event import JobPlaced
from hal_core.models.job import JobId
from hal_core.models.message import PredictionsMade, SetPriority
from hal_core.models.policy import Qos
from hal_core.models.prediction import Prediction
from hal_engine_backfill.expansion import Expansion
from tests.support.core_world import World, make_cluster

HOUR_S = 3600.0


@pytest.fixture
def world() -> World:
    """One node of four CPUs, all taken; whatever comes must wait."""
    cluster = attrs.evolve(make_cluster(1), qos=(Qos("urgent", 5), Qos("usual", 0, True)))
    world = World(cluster, Expansion(60.0, 100 * HOUR_S)).join()
    world.blocker = world.start(cpus_per_task=4, walltime_s=HOUR_S)  # type: ignore[attr-defined]
    return world


def first_started(world: World, *jobs: JobId) -> JobId:
    """Which of the jobs is placed when the node comes free. Each needs all of it."""
    before = len(world.of(JobPlaced))
    world.end(world.blocker)  # type: ignore[attr-defined]
    world.plan()
    (placed,) = world.of(JobPlaced)[before:]
    assert placed.job_id in jobs
    return JobId(placed.job_id)


def whole(world: World, walltime_s: float, **fields: object) -> JobId:
    return world.submit(cpus_per_task=4, walltime_s=walltime_s, **fields)


def test_a_short_job_overtakes_a_long_one_that_waits_as_long(world: World) -> None:
    long_one, short_one = whole(world, 10 * HOUR_S), whole(world, 600.0)
    world.now_s += HOUR_S
    assert first_started(world, long_one, short_one) == short_one


def test_of_two_that_waited_as_long_for_what_they_take_the_shorter_comes_first(world: World) -> None:
    """Ten hours for ten, and a little less than one for one: what starts first holds the other one up."""
    long_one = whole(world, 10 * HOUR_S)
    world.now_s += 9.1 * HOUR_S
    short_one = whole(world, HOUR_S)
    world.now_s += 0.9 * HOUR_S
    assert first_started(world, long_one, short_one) == short_one


def test_a_prediction_makes_it_the_short_one(world: World) -> None:
    long_one, short_one = whole(world, 10 * HOUR_S), whole(world, 600.0)
    world.tell(PredictionsMade("test", ((long_one, Prediction(60.0, 60.0, 60.0)),)))
    world.now_s += HOUR_S
    assert first_started(world, long_one, short_one) == long_one


def test_the_quality_of_service_comes_before_the_factor(world: World) -> None:
    urgent, short_one = whole(world, 10 * HOUR_S, qos="urgent"), whole(world, 600.0, qos="usual")
    world.now_s += HOUR_S
    assert first_started(world, urgent, short_one) == urgent


def test_the_own_priority_comes_before_the_factor_also_if_it_changes_late(world: World) -> None:
    long_one, short_one = whole(world, 10 * HOUR_S), whole(world, 600.0)
    world.plan()
    world.now_s += HOUR_S
    world.tell(SetPriority(long_one, 7, "root"))
    assert first_started(world, long_one, short_one) == long_one


def test_who_has_waited_too_long_comes_before_everybody(world: World) -> None:
    starved = whole(world, 1000 * HOUR_S, qos="usual")
    world.now_s += 100 * HOUR_S
    urgent = whole(world, 600.0, qos="urgent")
    world.now_s += HOUR_S
    assert first_started(world, starved, urgent) == starved


def test_the_mean_orders_and_the_median_plans(world: World) -> None:
    """Most often it takes a minute, but now and then ten hours: on average it costs more than an hour."""
    risky, steady = whole(world, 10 * HOUR_S), whole(world, HOUR_S)
    world.tell(PredictionsMade("test", ((risky, Prediction(60.0, 60.0, 10 * HOUR_S, mean_s=4 * HOUR_S)),)))
    world.now_s += HOUR_S
    assert first_started(world, risky, steady) == steady


def world_with_a_hole(starvation_s: float = 100 * HOUR_S) -> tuple[World, JobId, JobId, JobId]:
    """One of four CPUs is free. A wide job waits for the blocker of an hour; a narrow one of 80 minutes would fit."""
    world = World(make_cluster(1), Expansion(60.0, starvation_s)).join()
    blocker = world.start(cpus_per_task=3, walltime_s=HOUR_S)
    wide = world.submit(cpus_per_task=4, walltime_s=HOUR_S)
    world.plan()
    return world, blocker, wide, world.submit(cpus_per_task=1, walltime_s=4800.0)


def test_limits_leave_no_margin() -> None:
    world, _, wide, _ = world_with_a_hole()
    start_s = world.now_s
    before = len(world.of(JobPlaced))
    world.plan()
    assert len(world.of(JobPlaced)) == before
    assert world.state.promises[wide].start_time_s == pytest.approx(start_s + HOUR_S)


def test_what_fills_a_hole_may_last_half_as_long_again_as_until_a_predicted_start() -> None:
    world, _, wide, narrow = world_with_a_hole()
    start_s = world.now_s
    world.tell(PredictionsMade("test", ((wide, Prediction(60.0, 60.0, 60.0)),)))
    world.plan()
    assert world.of(JobPlaced)[-1].job_id == narrow
    assert world.state.promises[wide].start_time_s == pytest.approx(start_s + 1.5 * HOUR_S)


def test_who_starves_is_given_the_margin_once() -> None:
    world, _, wide, narrow = world_with_a_hole(starvation_s=1800.0)
    start_s = world.now_s
    world.tell(PredictionsMade("test", ((narrow, Prediction(60.0, 60.0, 60.0)),)))
    world.now_s += 1800.0
    promised_s = []
    for _ in range(4):
        world.submit(cpus_per_task=4, walltime_s=HOUR_S)
        world.tell(PredictionsMade("test", ((JobId(world.state.next_job_id - 1), Prediction(60.0, 60.0, 60.0)),)))
        world.plan()
        promised_s.append(world.state.promises[wide].start_time_s)
        world.now_s += 300.0
    assert promised_s == sorted(promised_s, reverse=True), "a promise of the guard moved to a later time"
    assert promised_s[0] <= start_s + 1.5 * HOUR_S
