"""Hands mails to the relay: until it takes them or refuses them, and what it refuses says for how long."""

from __future__ import annotations

import logging
import smtplib
import ssl
from email.message import EmailMessage
from enum import Enum, auto
from typing import Final

import trio

from hal_observer_mail.options import MailOptions

logger = logging.getLogger("hal.mail")

PAUSE_S_MIN: Final = 1.0
PAUSE_S_MAX: Final = 300.0


class Outcome(Enum):
    TAKEN = auto()
    REFUSED = auto()
    """For good (5xx)."""
    LATER = auto()
    """The relay takes nothing for this recipient now (4xx), and may well take what is for others."""


class Post:
    """Waits in one thread of its own: a relay that hangs takes no thread from anybody else."""

    def __init__(self, options: MailOptions, first_pause_s: float = PAUSE_S_MIN) -> None:
        """`first_pause_s`: after the first attempt that failed; it doubles up to five minutes."""
        self._options = options
        self.first_pause_s = first_pause_s
        self._turn = trio.CapacityLimiter(1)

    async def deliver(self, mail: EmailMessage) -> None:
        """Send until it is taken, or refused for good."""
        pause_s, was_told = self.first_pause_s, False
        while await self.send(mail) is Outcome.LATER:
            if not was_told:
                logger.warning("the relay %s takes no mail to %s now; it waits", self._options.relay, mail["To"])
                was_told = True
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def send(self, mail: EmailMessage) -> Outcome:
        """Send until the relay says what becomes of it. A relay that is away, or ails as a whole, is waited for."""
        pause_s, was_told = self.first_pause_s, False
        while True:
            try:
                await trio.to_thread.run_sync(self._send, mail, abandon_on_cancel=True, limiter=self._turn)
                return Outcome.TAKEN
            except (OSError, smtplib.SMTPException) as error:
                outcome = _outcome_of(error)
                if outcome is Outcome.REFUSED:
                    logger.warning("the relay %s refuses a mail to %s: %s", self._options.relay, mail["To"], error)
                if outcome is not None:
                    return outcome
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


def _outcome_of(error: Exception) -> Outcome | None:
    """None: it is not about this mail."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return Outcome.REFUSED if all(500 <= code < 600 for code in codes) else _later(codes)
    if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError) and 500 <= error.smtp_code < 600:
        return Outcome.REFUSED
    return None


def _later(codes: list[int]) -> Outcome | None:
    """421 is the relay's good-bye to everybody."""
    return None if 421 in codes else Outcome.LATER
