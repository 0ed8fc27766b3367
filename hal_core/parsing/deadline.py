"""By when a job is to have ended: the time that was given for it, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from hal_core.parsing.instants import parse_instant
from hal_core.parsing.text import shown, wrong


def parse_deadline(text: str, now_s: float, zone: tzinfo) -> float:
    """Seconds since the epoch, as `--begin` is written."""
    time_s = parse_instant(text, now_s, zone)
    if time_s <= now_s:
        raise wrong(f"{shown(text)} is over; give a time that is to come")
    return time_s


def doubts_of(deadline_s: float, walltime_s: float | None, now_s: float) -> Iterator[str]:
    """What stands in the way of keeping it."""
    if walltime_s is None:
        yield "no nodes are rented for it without a time limit; give --time"
    elif now_s + walltime_s > deadline_s:
        yield "is earlier than the time limit lets the job run"
