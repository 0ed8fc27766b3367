"""The contract of a predictor, as a check that any predictor can be put through: random pasts, then its answers.

def test_my_predictor_keeps_the_contract():
    check_predictor(lambda: MyPredictor())
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from hypothesis import Phase, given, settings, strategies as st

from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.planes import Foreteller, Predictor
from hal_core.rules.predictions import believable
from hal_core.testing.strategies import workloads

PAST_TIME_MAX = timedelta(seconds=10)
"""Far above what a dozen jobs may take; an answer that does not come fails here."""
USERS = tuple(Owner(name, 1000 + number, 100) for number, name in enumerate(("ada", "bob", "eve")))
OK = End(EndKind.EXITED, exit_code=0)

Past = Sequence[tuple[float, JobSpec, float]]
"""(when it comes, what it is, how long it runs)."""


def check_predictor(make: Callable[[], Predictor], example_count: int = 50, does_shrink: bool = True) -> None:
    """Fails with a small example if the predictor made by `make` breaks the contract (with any, if not `does_shrink`).

    One answer for each question; what it says can be true (no NaN, nothing negative); asked twice it says the same; the
    same past gives the same answers, however often it was asked to foretell; and it names no job anew that it was not
    asked about.
    """

    phases = [phase for phase in Phase if does_shrink or phase not in (Phase.shrink, Phase.explain)]

    @settings(max_examples=example_count, deadline=PAST_TIME_MAX, phases=phases, derandomize=False)
    @given(workloads(), st.integers(0, 2), workloads())
    def contract(past: Past, offset: int, coming: Past) -> None:
        answers = _live(make(), past, offset, coming)
        assert answers == _live(_Pestered(make()), past, offset, coming), "one past, two answers"

    contract()


class _Pestered:
    """A predictor that is asked about each job before it comes."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        if isinstance(self._predictor, Foreteller):
            for job in jobs:
                assert self._predictor.foretell(job) == self._predictor.foretell(job), "foretold in two ways"
        return self._predictor.predict(jobs)

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        return self._predictor.learn(outcomes)


def _live(predictor: Predictor, past: Past, offset: int, coming: Past) -> list[Prediction | None]:
    """Jobs of the past come in batches of up to three, each of which ends; then what is to come is asked about."""
    asked: set[JobId] = set()
    answers: list[Prediction | None] = []
    for first in range(0, len(past), 3):
        batch = past[first : first + 3]
        jobs = [_arrival(first + at, offset, each) for at, each in enumerate(batch)]
        answers += _ask(predictor, jobs)
        asked |= {job.job_id for job in jobs}
        ends = [
            Outcome(job, runtime_s, time_s + runtime_s, OK)
            for job, (time_s, _, runtime_s) in zip(jobs, batch, strict=True)
        ]
        renamed = list(predictor.learn(ends))
        assert set(renamed) <= asked, "it would answer differently about jobs that it was never asked about"
    return answers + _ask(predictor, [_arrival(10_000 + at, offset, each) for at, each in enumerate(coming)])


def _arrival(number: int, offset: int, job: tuple[float, JobSpec, float]) -> Arrival:
    time_s, spec, _ = job
    return Arrival(JobId(number + 1), USERS[(number + offset) % len(USERS)], spec, time_s)


def _ask(predictor: Predictor, jobs: list[Arrival]) -> list[Prediction | None]:
    answers = list(predictor.predict(jobs))
    assert len(answers) == len(jobs), f"{len(jobs)} questions, {len(answers)} answers"
    assert list(predictor.predict(jobs)) == answers, "asked twice, answered in two ways"
    for job, answer in zip(jobs, answers, strict=True):
        assert answer is None or believable(answer, job.spec.walltime_s) is not None, f"{answer} cannot be true"
        assert answer is None or answer.p10_s <= answer.p50_s <= answer.p90_s, f"{answer} is out of order"
    return answers
