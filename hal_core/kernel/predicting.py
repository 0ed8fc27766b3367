"""Asks a predictor about every job that comes in and shows it every one that ends, beside the kernel and never in it.

It reads the log like an observer, works in a thread, and says what it found as a message: jobs are planned with their
limit until then, and for ever if the predictor fails. One that raises or takes too long is asked no more, and that is
an event. At the start it is shown the latest ends in the journal, so that a restart does not make it forget everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs
import trio

from hal_core.models.event import Event, JobEnded, JobSubmitted
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import ObserverFailed, PredictionsMade
from hal_core.models.plan import Prediction
from hal_core.planes import Predictor, Report
from hal_core.rules.predictions import TELLING

logger = logging.getLogger("hal.predicting")

DEADLINE_S: Final = 5.0
"""For one batch. Whoever needs longer would fall behind for ever."""
QUEUE_MAX: Final = 1_000
WARM_EVENT_COUNT: Final = 100_000
"""So many of the latest events are shown at the start."""

Known = Callable[[JobId], tuple[Owner, JobSpec] | None]
"""Who a job belongs to, and what it is; None if that is not in memory any more."""


@attrs.frozen
class _Ended:
    owner: Owner
    spec: JobSpec
    runtime_s: float


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
        jobs: dict[JobId, tuple[Owner, JobSpec]] = {}
        for event in self._past():
            if isinstance(event, JobSubmitted):
                jobs[event.job_id] = (event.owner, event.spec)
            elif isinstance(event, JobEnded) and (ended := _ended(event, jobs.get(event.job_id))) is not None:
                self._predictor.learn(ended.owner, ended.spec, ended.runtime_s)

    def _follow(self, events: Sequence[Event]) -> tuple[tuple[JobId, Prediction], ...]:
        """Learn from what ended, in the order of the log, and predict what came in."""
        asked: list[JobSubmitted] = []
        for event in events:
            if isinstance(event, JobSubmitted):
                asked.append(event)
            elif isinstance(event, JobEnded) and (ended := _ended(event, self._known(event.job_id))) is not None:
                self._predictor.learn(ended.owner, ended.spec, ended.runtime_s)
        answers = self._predictor.predict([(event.owner, event.spec) for event in asked]) if asked else ()
        pairs = zip(asked, answers, strict=True)
        return tuple((event.job_id, answer) for event, answer in pairs if isinstance(answer, Prediction))


def _ended(event: JobEnded, known: tuple[Owner, JobSpec] | None) -> _Ended | None:
    """None if the end says nothing of how long the job takes."""
    if known is None or event.start_time_s is None or event.end.kind not in TELLING:
        return None
    return _Ended(*known, max(0.0, event.end_time_s - event.start_time_s))
