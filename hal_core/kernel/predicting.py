"""Asks a predictor about every job that comes in and shows it every one that ends, beside the kernel and never in it.

It reads the log like an observer, works in a thread, and says what it found as a message: jobs are planned with their
limit until then, and for ever if the predictor fails. One that raises or takes too long is asked no more, and that is
an event. At the start it is shown the latest ends in the journal, so that a restart does not make it forget everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

import trio

from hal_core.models.event import Event, JobEnded, JobSubmitted
from hal_core.models.job import JobId
from hal_core.models.message import ObserverFailed, PredictionsMade
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.planes import Predictor, Report
from hal_core.rules.predictions import TELLING

logger = logging.getLogger("hal.predicting")

DEADLINE_S: Final = 5.0
"""For one batch. Whoever needs longer would fall behind for ever."""
QUEUE_MAX: Final = 1_000
WARM_EVENT_COUNT: Final = 100_000
"""So many of the latest events are shown at the start."""
AGAIN_MAX: Final = 1_000
"""So many waiting jobs are asked about again after a batch."""

Known = Callable[[JobId], Arrival | None]
"""The job as it came in; None if that is not in memory any more."""


class Predicting:
    """Implements planes.Observer; `run` does the work. `past` yields the latest events of the journal, in order."""

    def __init__(self, name: str, predictor: Predictor, known: Known, past: Callable[[], Iterable[Event]]) -> None:
        self.name = f"predictor {name}"
        self._predictor_name = name
        self._predictor = predictor
        self._known = known
        self._past = past
        self._send, self._receive = trio.open_memory_channel[Sequence[Event]](QUEUE_MAX)

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        """Only hands them over. Raises trio.WouldBlock, so that it is switched off, if `run` has stopped taking."""
        if any(isinstance(event, JobSubmitted | JobEnded) for event in events):
            self._send.send_nowait(events)

    async def run(self, report: Report) -> None:
        """Until cancelled, or until the predictor failed."""
        try:
            await trio.to_thread.run_sync(self._warm_up, abandon_on_cancel=True)
            async for events in self._receive:
                with trio.fail_after(DEADLINE_S):
                    found = await trio.to_thread.run_sync(self._follow, events, abandon_on_cancel=True)
                if found:
                    await report(PredictionsMade(self._predictor_name, found))
        except trio.TooSlowError:
            detail = f"took longer than {DEADLINE_S:g} s"
        except Exception as error:  # the wall around a plugin
            logger.exception("%s failed and is asked no more", self.name)
            detail = repr(error)
        self._receive.close()
        await report(ObserverFailed(self.name, f"{detail}; jobs are planned with their limits"))

    def _warm_up(self) -> None:
        jobs: dict[JobId, Arrival] = {}
        for event in self._past():
            if isinstance(event, JobSubmitted):
                jobs[event.job_id] = arrival = _arrival(event)
                self._predictor.predict([arrival])
            elif isinstance(event, JobEnded) and (outcome := outcome_of(event, jobs.get(event.job_id))) is not None:
                self._predictor.learn([outcome])

    def _follow(self, events: Sequence[Event]) -> tuple[tuple[JobId, Prediction], ...]:
        """Learn from what ended, then predict what came in and what would now be answered differently."""
        ends = (event for event in events if isinstance(event, JobEnded))
        outcomes = [outcome for end in ends if (outcome := outcome_of(end, self._known(end.job_id))) is not None]
        asked = {event.job_id: _arrival(event) for event in events if isinstance(event, JobSubmitted)}
        for job_id in islice(self._predictor.learn(outcomes), AGAIN_MAX) if outcomes else ():
            if job_id not in asked and (arrival := self._known(job_id)) is not None:
                asked[job_id] = arrival
        answers = self._predictor.predict(list(asked.values())) if asked else ()
        pairs = zip(asked, answers, strict=True)
        return tuple((job_id, answer) for job_id, answer in pairs if isinstance(answer, Prediction))


def _arrival(event: JobSubmitted) -> Arrival:
    return Arrival(event.job_id, event.owner, event.spec, event.time_s)


def outcome_of(event: JobEnded, arrival: Arrival | None) -> Outcome | None:
    """None if the end says nothing of how long the job takes."""
    if arrival is None or event.start_time_s is None or event.end.kind not in TELLING:
        return None
    runtime_s = max(0.0, event.end_time_s - event.start_time_s)
    return Outcome(arrival, runtime_s, event.end_time_s, event.end)
