"""Mails as text: a subject that says it all if one thing happened, and a line for each."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from typing import Final, NamedTuple

LINES_MAX: Final = 100
"""Of one mail; what is more is counted."""
SUBJECT_CHARACTERS_MAX: Final = 150


class Line(NamedTuple):
    """What is mailed of one event."""

    sequence: int
    text: str
    is_event: bool = True
    """False: it follows from the time, and the sequence is of the latest event before it."""
    user: str = ""
    """Whose job it is, where its owner is told."""


def letter(sender: str, address: str, lines: Sequence[Line]) -> EmailMessage:
    """Its Message-ID follows from the newest event in it."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, address
    subject = lines[0].text if len(lines) == 1 else f"{len(lines)} events, the first: {lines[0].text}"
    mail["Subject"] = _plain(f"HAL: {subject}")[:SUBJECT_CHARACTERS_MAX]
    mail["Message-ID"] = f"<hal.{lines[-1].sequence}.{address.partition('@')[0]}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    told = [f"{line.sequence} {_plain(line.text)}" for line in lines[:LINES_MAX]]
    if len(lines) > LINES_MAX:
        told.append(f"... and {len(lines) - LINES_MAX} more, as far as event {lines[-1].sequence}")
    mail.set_content("\n".join([*told, "", "hal show JOB and hal receipt JOB say more."]) + "\n")
    return mail


def _plain(text: str) -> str:
    """One line, whatever a job is called."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
