"""Durations: Slurm's notation for time limits, and unit notation (`90s`, `1d12h`) for everything.

A bare number is minutes in a time limit, as in Slurm; in an interval it is refused, because nobody can know.
"""

from __future__ import annotations

import re
from typing import Final

from hal_core.parsing.text import shown, wrong

DURATION_S_MAX: Final = 3650 * 86_400
KILL_GRACE_S_MAX: Final = 3600.0
_UNIT_S: Final = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_UNITS = re.compile("".join(f"(?:([0-9]{{1,12}}){unit})?" for unit in _UNIT_S))
_CLOCK = re.compile(r"(?:([0-9]{1,12})-)?([0-9]{1,12})(?::([0-9]{1,12}))?(?::([0-9]{1,12}))?")
_NO_LIMIT = frozenset({"unlimited", "infinite", "none"})


def parse_time_limit(text: str) -> float | None:
    """Seconds; None means no limit (`0`, `UNLIMITED`, `none`). Slurm's forms and unit notation."""
    if text.lower() in _NO_LIMIT:
        return None
    seconds = _clock_s(text)
    if seconds is None:
        seconds = _units_s(text)
    if seconds is None:
        raise wrong(f"{shown(text)} is not a time limit; write 30 (minutes), 1:30:00, 2-12:00:00, 90m, 2h or UNLIMITED")
    return _bounded(text, seconds) or None


def format_time_limit(limit_s: float | None) -> str:
    """`HH:MM:SS` or `D-HH:MM:SS`, rounded up to whole seconds."""
    if limit_s is None:
        return "UNLIMITED"
    minutes, seconds = divmod(-int(-limit_s // 1), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"


def parse_interval(text: str, least_s: int = 0) -> float:
    """Seconds, from a text that names its units: `90s`, `15m`, `2h`, `1d12h`; or `0`, if nothing is the least."""
    seconds = 0 if text == "0" else _units_s(text)
    if seconds is None:
        raise wrong(f"{shown(text)} is not a duration with its unit; write 90s, 15m, 2h or 1d12h")
    if seconds < least_s:
        raise wrong(f"{shown(text)} is too short; it must be {least_s}s at least")
    return _bounded(text, seconds)


def parse_kill_grace(text: str) -> float:
    """How long a job may go on after SIGTERM. Bounded: whoever ignores the signal keeps the nodes for so long."""
    grace_s = parse_interval(text)
    if grace_s > KILL_GRACE_S_MAX:
        raise wrong(f"{shown(text)} is too long; a job has at most {format_interval(KILL_GRACE_S_MAX)} to end")
    return grace_s


def format_interval(interval_s: float) -> str:
    """`1d12h`, rounded up to whole seconds."""
    rest = -int(-interval_s // 1)
    text = ""
    for unit, unit_s in _UNIT_S.items():
        if unit != "w" and rest >= unit_s:
            text += f"{rest // unit_s}{unit}"
            rest %= unit_s
    return text or "0"


def _clock_s(text: str) -> int | None:
    """Slurm's forms: minutes, minutes:seconds, hours:minutes:seconds, and days-hours[:minutes[:seconds]]."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    days, first, second, third = (None if part is None else int(part) for part in match.groups())
    assert first is not None
    if days is not None:
        return days * 86_400 + first * 3600 + (second or 0) * 60 + (third or 0)
    if third is not None:
        return first * 3600 + (second or 0) * 60 + third
    return first * 60 + (second or 0)


def _units_s(text: str) -> int | None:
    match = _UNITS.fullmatch(text)
    if match is None or not text:
        return None
    return sum(int(part) * unit_s for part, unit_s in zip(match.groups("0"), _UNIT_S.values(), strict=True))


def _bounded(text: str, seconds: int) -> float:
    if seconds > DURATION_S_MAX:
        raise wrong(f"{shown(text)} is more than 3650 days; write UNLIMITED for no limit, or less")
    return float(seconds)
