"""Mails events to recipients, and to owners of jobs (owners.py). Each has a task, a place in the log, and time.

What gathers while a mail is on its way, or within the pause after it, is in the next one: an array of a thousand
elements is some mails, not a thousand. A mail is sent until the relay takes it; its Message-ID follows from the newest
event in it, so that one sent twice, because HAL was cut off right before it heard the answer, can be told. What a relay
refuses for good (5xx) is passed over, and the daemon's log says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import trio

from hal_core import (
    Event,
    EventLog,
    JobEnded,
    JobId,
    JobState,
    Options,
    Standing,
    event_text,
    event_view,
    job_of,
    session_user_of,
    structure_options,
)
from hal_observer_mail.letters import Line, letter
from hal_observer_mail.options import MailOptions, Recipient
from hal_observer_mail.owners import Owners
from hal_observer_mail.post import PAUSE_S_MIN, Post

BATCH: Final = 500
KEEP_EVERY: Final = 1_000
"""Events that nobody wanted: their place need not be kept at each."""


class MailObserver:
    """Observer that reads the log for each of its recipients."""

    def __init__(
        self, options: MailOptions, first_pause_s: float = PAUSE_S_MIN, now_s: Callable[[], float] = time.time
    ) -> None:
        """`first_pause_s`: after the first attempt that failed; it doubles up to five minutes."""
        self._options = options
        self._first_pause_s = first_pause_s
        self._now_s = now_s
        self._active: Collection[JobId] = ()

    @classmethod
    def from_options(cls, options: Options) -> MailObserver:
        return cls(structure_options(MailOptions, options, "mail"))

    @property
    def mail_domain(self) -> str:
        """Where users have their addresses; owners of jobs are mailed what their jobs ask for."""
        return self._options.domain

    def begin(self, standing: Standing) -> None:
        self._active = {job_id for job_id, _, _ in standing.active}

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        """Nothing: it reads the log itself."""

    async def read_log(self, log: EventLog) -> None:
        async with trio.open_nursery() as nursery:
            owners = Owners(self._options, Post(self._options, self._first_pause_s), log, self._now_s)
            nursery.start_soon(owners.run, self._active)
            for name, recipient in self._options.recipients.items():
                nursery.start_soon(self._serve, f"mail.{name}", recipient, log)

    async def _serve(self, reader: str, recipient: Recipient, log: EventLog) -> None:
        after = kept = await log.place(reader)
        post = Post(self._options, self._first_pause_s)
        while True:
            rows = await log.read(after, BATCH)
            after = rows[-1][0]
            news = [line for line in [await _line(recipient, *row, log) for row in rows] if line is not None]
            if news:
                await post.deliver(letter(self._options.sender, recipient.address, news))
            if news or after - kept >= KEEP_EVERY:
                await log.keep(reader, after)
                kept = after
            if news:
                await trio.sleep(self._options.pause_s)


async def _line(recipient: Recipient, sequence: int, event: Event, log: EventLog) -> Line | None:
    """None if the recipient does not want it."""
    if type(event).__name__ not in recipient.events:
        return None
    if recipient.only_failures and isinstance(event, JobEnded) and event.end.state is JobState.COMPLETED:
        return None
    job_id = job_of(event)
    arrival = None if job_id is None else await log.arrival(job_id)
    user = arrival.owner.user if arrival else session_user_of(event)
    if recipient.users and user not in recipient.users:
        return None
    arrays = {arrival.job_id} if arrival is not None and arrival.spec.array else set()
    text = event_text(type(event).__name__, event_view(event), arrays)
    return Line(sequence, f"{text} ({arrival.spec.name})" if arrival is not None else text)
