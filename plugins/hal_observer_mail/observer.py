"""Mails events to recipients, and to owners of jobs (owners.py). Each has a task, a place in the log, and time.

What gathers while a mail is on its way, or within the pause after it, is in the next one: an array of a thousand
elements is some mails, not a thousand. A mail is sent until the relay takes it; its Message-ID follows from the newest
event in it, so that one sent twice, because HAL was cut off right before it heard the answer, can be told. What a relay
refuses for good (5xx) is passed over, and the daemon's log says so.
"""

from __future__ import annotations

import logging
import smtplib
import ssl
import time
from collections.abc import Callable, Collection, Sequence
from email.message import EmailMessage
from functools import partial
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
    structure_options,
)
from hal_observer_mail.letters import Line, letter
from hal_observer_mail.options import MailOptions, Recipient
from hal_observer_mail.owners import Owners

logger = logging.getLogger("hal.mail")

BATCH: Final = 500
KEEP_EVERY: Final = 1_000
"""Events that nobody wanted: their place need not be kept at each."""
PAUSE_S_MIN: Final = 1.0
PAUSE_S_MAX: Final = 300.0


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
            deliver = partial(self._deliver, turn=trio.CapacityLimiter(1))
            nursery.start_soon(Owners(self._options, deliver, self._now_s).run, log, self._active)
            for name, recipient in self._options.recipients.items():
                nursery.start_soon(self._serve, f"mail.{name}", recipient, log)

    async def _serve(self, reader: str, recipient: Recipient, log: EventLog) -> None:
        after = kept = await log.place(reader)
        turn = trio.CapacityLimiter(1)  # Of its own: a relay that hangs takes no thread from anybody else.
        while True:
            rows = await log.read(after, BATCH)
            after = rows[-1][0]
            news = [line for line in [await _line(recipient, *row, log) for row in rows] if line is not None]
            if news:
                await self._deliver(letter(self._options.sender, recipient.address, news), turn)
            if news or after - kept >= KEEP_EVERY:
                await log.keep(reader, after)
                kept = after
            if news:
                await trio.sleep(self._options.pause_s)

    async def _deliver(self, mail: EmailMessage, turn: trio.CapacityLimiter) -> None:
        """Send until it is taken, or refused for good."""
        pause_s, was_told = self._first_pause_s, False
        while True:
            try:
                await trio.to_thread.run_sync(self._send, mail, abandon_on_cancel=True, limiter=turn)
                return
            except (OSError, smtplib.SMTPException) as error:
                if _is_for_good(error):
                    logger.warning("the relay %s refuses a mail to %s: %s", self._options.relay, mail["To"], error)
                    return
                if not was_told:
                    logger.warning("the relay %s: %s; mail to %s waits for it", self._options.relay, error, mail["To"])
                    was_told = True
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def _send(self, mail: EmailMessage) -> None:
        host, _, port = self._options.relay.partition(":")
        with smtplib.SMTP(host, int(port or 25), timeout=self._options.timeout_s) as relay:
            if self._options.has_starttls:
                relay.starttls(context=ssl.create_default_context())
            relay.send_message(mail)


async def _line(recipient: Recipient, sequence: int, event: Event, log: EventLog) -> Line | None:
    """None if the recipient does not want it."""
    if type(event).__name__ not in recipient.events:
        return None
    if recipient.only_failures and isinstance(event, JobEnded) and event.end.state is JobState.COMPLETED:
        return None
    job_id = job_of(event)
    arrival = None if job_id is None else await log.arrival(job_id)
    if recipient.users and (arrival is None or arrival.owner.user not in recipient.users):
        return None
    arrays = {arrival.job_id} if arrival is not None and arrival.spec.array else set()
    text = event_text(type(event).__name__, event_view(event), arrays)
    return Line(sequence, f"{text} ({arrival.spec.name})" if arrival is not None else text)


def _is_for_good(error: Exception) -> bool:
    codes = []
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
    elif isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError):
        codes = [error.smtp_code]
    return bool(codes) and all(500 <= code < 600 for code in codes)
