"""Says when waiting jobs are likely to start, and learns from those that did how far off such plans are.

It reads the log like an observer. Every so often it plans for one job that has just come and still waits; when that
starts, it is known how good the plan was. Plans are made in a thread on an excerpt of the state, and are cut off in
depth (rules/start_times.py), so that one costs a bounded part of a second, and all of them together a few percent of a
processor at most. What was learned lasts as long as the daemon runs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

import trio

from hal_core.models.event import Event, JobEnded, JobPlaced, JobSubmitted
from hal_core.models.explanation import LikelyStart
from hal_core.models.job import JobId
from hal_core.rules.excerpt import Excerpt, excerpt, is_foreseeable
from hal_core.rules.forecast import Future
from hal_core.rules.start_times import StartTimes, Watched, planned_starts
from hal_core.rules.state import State

logger = logging.getLogger("hal.forecasts")

EVERY_S: Final = 20.0
"""Between two jobs that are asked about to learn from them: some thousand in a day."""
CAME_MAX: Final = 100
"""So many of the latest arrivals are looked through for one that waits."""


class StartForecasts:
    """Implements planes.Observer; `run` does the learning."""

    def __init__(
        self, state: Callable[[], State], rested: Callable[[], Awaitable[None]], now_s: Callable[[], float]
    ) -> None:
        """`rested` waits until no pass of the engine is under way: an excerpt puts the queue in order, as one does."""
        self.name = "start forecasts"
        self._state = state
        self._rested = rested
        self._now_s = now_s
        self._watched = Watched()
        self._came: deque[JobId] = deque(maxlen=CAME_MAX)
        self._random = Random(0)  # noqa: S311  repeatable, nothing secret
        self._turn = trio.CapacityLimiter(1)

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, JobSubmitted):
                self._came.append(event.job_id)
            elif isinstance(event, JobPlaced):
                self._watched.started(event.job_id, event.time_s)
            elif isinstance(event, JobEnded):
                self._watched.forget(event.job_id)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            try:
                await self.learn()
            except Exception:
                logger.exception("when a waiting job is likely to start could not be planned; the next is asked later")

    async def learn(self) -> None:
        """Ask about the latest job that waits, to see later whether that was true."""
        job_id = self._waiting()
        if job_id is None:
            return
        await self._rested()
        now_s = self._now_s()
        planned = await self._planned(excerpt(self._state(), job_id, now_s), now_s)
        record = self._state().jobs.get(job_id)
        if planned is not None and record is not None and record.is_queued:  # It may have started meanwhile.
            self._watched.asked(job_id, now_s, planned)

    async def likely(self, part: Excerpt, now_s: float) -> LikelyStart | None:
        """When the job that the excerpt asks about is likely to start; None if that cannot be said."""
        planned = await self._planned(part, now_s)
        if planned is None:
            return None
        said = self._watched.corrected(planned) if self._watched.checked_count else planned
        return LikelyStart(now_s + said.p50_s, now_s + said.p90_s, self._watched.checked_count)

    def _waiting(self) -> JobId | None:
        jobs = self._state().jobs
        while self._came:
            job_id = self._came.pop()
            record = jobs.get(job_id)
            if record is not None and record.is_queued and not record.active and job_id not in self._watched:
                return job_id
        return None

    async def _planned(self, part: Excerpt, now_s: float) -> StartTimes | None:
        return await trio.to_thread.run_sync(planned_from, part, now_s, self._random, limiter=self._turn)


def planned_from(part: Excerpt, now_s: float, random: Random) -> StartTimes | None:
    """As planned_starts, of the job that the excerpt asks about; None also if others before it were left out."""
    asked = part.asked
    if asked is None or not is_foreseeable(asked):
        return None
    future = Future(part, asked, now_s)
    row = next((row for row in future.pending() if row.job_id == asked.row.job_id), None)
    return None if row is None else planned_starts(future, row, random)
