"""Asks a predictor about every job that comes in and shows it every one that ends, beside the kernel and never in it.

It reads the log like an observer, works in a thread, and says what it found as a message: jobs are planned with their
limit until then, and for ever if the predictor fails. One that raises or takes too long is asked no more, and that is
an event. At the start it is shown the latest ends in the journal, so that a restart does not make it forget everything.
What people ask about jobs that nobody submitted waits in the same queue: it is never asked two things at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import attrs
import trio

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.walls import passes
from hal_core.models.event import Event, JobEnded, JobSubmitted
from hal_core.models.job import JobId
from hal_core.models.message import ObserverFailed, PredictionsMade
from hal_core.models.prediction import Arrival, Foretold, Outcome, Prediction
from hal_core.planes import Foreteller, Predictor, Report
from hal_core.rules.experience import Experience
from hal_core.rules.predictions import TELLING, believable

logger = logging.getLogger("hal.predicting")

_Given = TypeVar("_Given")
_Told = TypeVar("_Told")

DEADLINE_S: Final = 5.0
"""For one batch. Whoever needs longer would fall behind for ever."""
QUEUE_MAX: Final = 1_000
WARM_EVENT_COUNT: Final = 100_000
"""So many of the latest events are shown at the start."""
AGAIN_MAX: Final = 1_000
"""So many waiting jobs are asked about again after a batch."""

FAILED: Final = "it has failed and is asked no more"
NOTHING_TO_SAY: Final = "it has seen too little, was too far off lately, or cannot be asked beforehand"

Known = Callable[[JobId], Arrival | None]
"""The job as it came in; None if that is not in memory any more."""


class _Question:
    """About a job that nobody submitted, and where the answer goes."""

    def __init__(self, job: Arrival) -> None:
        self.job = job
        self.answer: Foretold | None = None
        self.is_answered = trio.Event()

    def resolve(self, answer: Foretold) -> None:
        self.answer = answer
        self.is_answered.set()


class Predicting:
    """Implements planes.Observer; `run` does the work. `past` yields the latest events of the journal, in order."""

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        known: Known,
        past: Callable[[], Iterable[Event]],
        conducts: Conducts | None = None,
    ) -> None:
        self._conducts = conducts or Conducts(time.time)
        self.name = f"predictor {name}"
        self._predictor_name = name
        self._predictor = predictor
        self._known = known
        self._past = past
        self._experience = Experience()
        self._has_failed = False
        self._send, self._receive = trio.open_memory_channel[Sequence[Event] | _Question](QUEUE_MAX)

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        """Only hands them over. Raises trio.WouldBlock, so that it is switched off, if `run` has stopped taking."""
        if any(isinstance(event, JobSubmitted | JobEnded) for event in events):
            self._send.send_nowait(events)

    async def foretell(self, job: Arrival) -> Foretold:
        """What it would say of a job that nobody submitted. Answers within seconds, if only that it cannot."""
        question = _Question(job)
        try:
            self._send.send_nowait(question)
        except trio.WouldBlock:
            return self._silent("it is far behind with what has happened")
        except trio.BrokenResourceError:
            return self._silent(FAILED)
        with trio.move_on_after(DEADLINE_S):
            await question.is_answered.wait()
        why = FAILED if self._has_failed else "it is busy learning from what has ended; ask again"
        return question.answer or self._silent(why)

    def _silent(self, why: str) -> Foretold:
        return Foretold(self._predictor_name, None, why_not=why)

    async def run(self, report: Report) -> None:
        """Until cancelled, or until the predictor failed."""
        try:
            await trio.to_thread.run_sync(self._warm_up, abandon_on_cancel=True)
            async for item in self._receive:
                with trio.fail_after(DEADLINE_S):
                    if isinstance(item, _Question):
                        item.resolve(await self._asked(self._foretold, item.job))
                        continue
                    found = await self._asked(self._follow, item)
                if found:
                    await report(PredictionsMade(self._predictor_name, found))
        except trio.TooSlowError:
            detail = f"took longer than {DEADLINE_S:g} s"
        except BaseException as error:  # the wall around a plugin
            if passes(error):
                raise
            logger.exception("%s failed and is asked no more", self.name)
            detail = repr(error)
        self._has_failed = True
        self._conducts.wrong("predictor", self._predictor_name, detail)
        self._receive.close()
        await report(ObserverFailed(self.name, f"{detail}; jobs are planned with their limits"))

    async def _asked(self, ask: Callable[[_Given], _Told], given: _Given) -> _Told:
        """In a thread."""

        def timed() -> tuple[_Told, float]:
            begin_s = time.thread_time()
            return ask(given), time.thread_time() - begin_s

        told, busy_s = await trio.to_thread.run_sync(timed, abandon_on_cancel=True)
        self._conducts.spent("predictor", self._predictor_name, busy_s)
        return told

    def _warm_up(self) -> None:
        jobs: dict[JobId, Arrival] = {}
        for event in self._past():
            if isinstance(event, JobSubmitted):
                jobs[event.job_id] = arrival = _arrival(event)
                self._predictor.predict([arrival])
            elif isinstance(event, JobEnded) and (outcome := outcome_of(event, jobs.get(event.job_id))) is not None:
                self._learn([outcome])

    def _learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        for outcome in outcomes:
            self._experience.ended(outcome.arrival, outcome.end)
        return self._predictor.learn(outcomes)

    def _foretold(self, job: Arrival) -> Foretold:
        predictor = self._predictor
        said = predictor.foretell(job) if isinstance(predictor, Foreteller) else None
        believed = believable(said, job.spec.walltime_s) if isinstance(said, Prediction) else None
        learned_from = self._experience.of(job)
        return Foretold(self._predictor_name, believed, learned_from, "" if believed else NOTHING_TO_SAY)

    def _follow(self, events: Sequence[Event]) -> tuple[tuple[JobId, Prediction], ...]:
        """Learn from what ended, then predict what came in and what would now be answered differently."""
        ends = (event for event in events if isinstance(event, JobEnded))
        outcomes = [outcome for end in ends if (outcome := outcome_of(end, self._known(end.job_id))) is not None]
        asked = {event.job_id: _arrival(event) for event in events if isinstance(event, JobSubmitted)}
        for job_id in islice(self._learn(outcomes), AGAIN_MAX) if outcomes else ():
            if job_id not in asked and (arrival := self._known(job_id)) is not None:
                asked[job_id] = _as_first(arrival)
        answers = self._predictor.predict(list(asked.values())) if asked else ()
        pairs = zip(asked, answers, strict=True)
        return tuple((job_id, answer) for job_id, answer in pairs if isinstance(answer, Prediction))


def _arrival(event: JobSubmitted) -> Arrival:
    return Arrival(event.job_id, event.owner, event.spec, event.time_s)


def outcome_of(event: JobEnded, arrival: Arrival | None) -> Outcome | None:
    """None if the end says nothing of how long the job takes."""
    if arrival is None or event.ran_s is None or event.end.kind not in TELLING:
        return None
    return Outcome(_as_first(arrival), event.ran_s / arrival.spec.run_ratio, event.end_time_s, event.end)


def _as_first(arrival: Arrival) -> Arrival:
    """Predictions are of the first of a job's variants, whichever it runs in."""
    spec = arrival.spec
    return attrs.evolve(arrival, spec=spec.in_variant(0)) if spec.variants else arrival
