"""Predictors beside the kernel: asked about what comes in, shown what ends, and asked no more when they misbehave."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
import trio.testing

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.predicting import DEADLINE_S, Predicting
from hal_core.models.event import Event, JobEnded, JobSubmitted
from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner
from hal_core.models.message import Message, ObserverFailed, PredictionsMade
from hal_core.models.node import PartitionName
from hal_core.models.prediction import Arrival, Foretold, LearnedFrom, Outcome, Prediction
from hal_core.testing import FakePredictor

ADA = Owner("ada", 1000, 1000)
SPEC = JobSpec("job", PartitionName("all"), command=("true",), walltime_s=600.0)
OK = End(EndKind.EXITED, exit_code=0)


def submitted(number: int) -> JobSubmitted:
    return JobSubmitted(0.0, JobId(number), "", ADA, SPEC)


def ended(number: int, run_s: float, end: End = OK) -> JobEnded:
    return JobEnded(0.0, JobId(number), ((0, 1),), 1, end, 100.0, 100.0 + run_s)


def known(job_id: JobId) -> Arrival | None:
    return Arrival(job_id, ADA, SPEC, 0.0) if job_id < 100 else None


class Rig:
    """A service under test; `told` is what it reported."""

    def __init__(self, predictor: FakePredictor, past: Sequence[Event] = ()) -> None:
        self.told: list[Message] = []
        self._heard = trio.Event()
        self.conducts = Conducts(lambda: 0.0)
        self.service = Predicting("test", predictor, known, lambda: past, self.conducts)

    async def report(self, message: Message) -> None:
        self.told.append(message)
        self._heard.set()
        self._heard = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._heard.wait()


async def test_jobs_are_predicted_from_what_ended_before(nursery: trio.Nursery) -> None:
    rig = Rig(FakePredictor())
    nursery.start_soon(rig.service.run, rig.report)
    await rig.service.record(1, [submitted(1), ended(1, 30.0), submitted(2), submitted(3)])
    await rig.until(lambda: bool(rig.told))
    of_30_s = Prediction(30.0, 30.0, 30.0)
    assert rig.told == [PredictionsMade("test", tuple((JobId(number), of_30_s) for number in (1, 2, 3)))]


async def test_what_would_be_answered_differently_is_asked_again(nursery: trio.Nursery) -> None:
    rig = Rig(FakePredictor(does_revise=True))
    nursery.start_soon(rig.service.run, rig.report)
    await rig.service.record(1, [submitted(1), submitted(2)])
    await rig.service.record(3, [ended(1, 30.0), submitted(3)])
    await rig.until(lambda: bool(rig.told))
    (said,) = rig.told
    assert isinstance(said, PredictionsMade)
    assert sorted(job_id for job_id, _ in said.predictions) == [1, 2, 3]


async def test_only_ends_that_tell_something_are_learned_from(nursery: trio.Nursery) -> None:
    predictor = FakePredictor()
    rig = Rig(predictor)
    nursery.start_soon(rig.service.run, rig.report)
    never_ran = JobEnded(0.0, JobId(5), ((0, 9),), 1, End(EndKind.CANCELLED), None, 5.0)
    unknown = ended(100, 1.0)
    events = [never_ran, unknown, ended(1, 7.0), ended(2, 8.0, End(EndKind.NODE_LOST)), ended(3, 9.0)]
    await rig.service.record(1, [*events, submitted(4)])
    await rig.until(lambda: bool(rig.told))
    assert predictor.seen_s == [7.0, 9.0]


async def test_the_past_is_learned_at_the_start(nursery: trio.Nursery) -> None:
    past = [submitted(1), ended(1, 20.0), ended(2, 9.0)]  # What job 2 was is not told any more.
    rig = Rig(FakePredictor(), past)
    nursery.start_soon(rig.service.run, rig.report)
    await rig.service.record(4, [submitted(3)])
    await rig.until(lambda: bool(rig.told))
    assert rig.told == [PredictionsMade("test", ((JobId(3), Prediction(20.0, 20.0, 20.0)),))]


def coming(user: str = "ada", name: str = "job7") -> Arrival:
    return Arrival(JobId(0), Owner(user, 1000, 1000), attrs.evolve(SPEC, name=name), 0.0)


async def test_a_job_that_nobody_submitted_is_foretold_with_what_that_was_learned_from(nursery: trio.Nursery) -> None:
    rig = Rig(FakePredictor(), [submitted(1), ended(1, 20.0)])
    nursery.start_soon(rig.service.run, rig.report)
    assert await rig.service.foretell(coming()) == Foretold(
        "test", Prediction(20.0, 20.0, 20.0), LearnedFrom(job_count=1, of_user_count=1, of_name_count=1, latest_count=1)
    )
    assert (await rig.service.foretell(coming("bob"))).learned_from == LearnedFrom(1, 0, 0)
    assert (await rig.service.foretell(coming(name="other"))).learned_from == LearnedFrom(1, 1, 0)
    assert not rig.told, "nothing is said of a job that does not exist"


async def test_how_often_such_jobs_end_badly_is_said_too(nursery: trio.Nursery) -> None:
    kinds = [End(EndKind.EXITED, exit_code=3), End(EndKind.TIME_LIMIT), OK, End(EndKind.OUT_OF_MEMORY)]
    past = [event for at, end in enumerate(kinds, 1) for event in (submitted(at), ended(at, 20.0, end))]
    rig = Rig(FakePredictor(), past)
    nursery.start_soon(rig.service.run, rig.report)
    learned = (await rig.service.foretell(coming())).learned_from
    assert learned is not None
    assert (learned.latest_count, learned.failed_count, learned.time_limit_count) == (4, 2, 1)


class Mute(FakePredictor):
    def foretell(self, job: Arrival) -> Prediction | None:
        return None


async def test_who_knows_nothing_says_why(nursery: trio.Nursery) -> None:
    rig = Rig(Mute())
    nursery.start_soon(rig.service.run, rig.report)
    said = await rig.service.foretell(coming())
    assert said.run_time is None
    assert "seen too little" in said.why_not


async def test_one_that_hangs_keeps_nobody_who_asks_waiting(autojump_clock: trio.testing.MockClock) -> None:
    hanging = Hanging()
    rig = Rig(hanging)
    autojump_clock.autojump_threshold = 0.05
    try:
        async with trio.open_nursery() as nursery:
            await rig.service.record(1, [submitted(1)])
            nursery.start_soon(rig.service.run, rig.report)
            said = await rig.service.foretell(coming())
    finally:
        hanging.is_over.set()
    assert said.run_time is None
    assert said.why_not
    assert (await rig.service.foretell(coming())).why_not == "it has failed and is asked no more"


class Broken(FakePredictor):
    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        raise ZeroDivisionError("a bug of the model")


class Exiting(FakePredictor):
    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        sys.exit("a model that ends the process")


class OneAnswer(FakePredictor):
    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        return [None]


@pytest.mark.parametrize(
    ("bad", "word"), [(Broken(), "a bug of the model"), (OneAnswer(), "zip"), (Exiting(), "SystemExit")]
)
async def test_one_that_fails_is_asked_no_more_and_that_is_said(bad: FakePredictor, word: str) -> None:
    rig = Rig(bad)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.service.run, rig.report)
        await rig.service.record(1, [submitted(1), submitted(2), ended(1, 1.0)])
    (said,) = rig.told
    assert isinstance(said, ObserverFailed)
    assert said.observer == "predictor test"
    assert word in said.detail
    assert said.detail.endswith("jobs are planned with their limits")
    assert word in rig.conducts.of("predictor", "test").last_problem
    with pytest.raises(trio.BrokenResourceError):  # So the kernel's observers switch it off as well.
        await rig.service.record(2, [submitted(3)])


class Hanging(FakePredictor):
    def __init__(self) -> None:
        super().__init__()
        self.is_over = threading.Event()

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        self.is_over.wait()
        return [None] * len(jobs)


async def test_one_that_hangs_is_left_alone(autojump_clock: trio.testing.MockClock) -> None:
    hanging = Hanging()
    rig = Rig(hanging)
    autojump_clock.autojump_threshold = 0.05
    try:
        await rig.service.record(1, [submitted(1)])
        await rig.service.run(rig.report)
    finally:
        hanging.is_over.set()
    assert trio.current_time() >= DEADLINE_S
    (said,) = rig.told
    assert isinstance(said, ObserverFailed)
    assert "took longer than 5 s" in said.detail
