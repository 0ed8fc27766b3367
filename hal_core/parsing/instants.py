"""Points in time for `--begin`: `now+1hour`, ISO dates, and times of day. Now and the time zone are passed in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from hal_core.errors import InvalidInput
from hal_core.parsing.durations import DURATION_S_MAX, parse_interval
from hal_core.parsing.text import is_digits, shown, wrong

_UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_WORDS = {"midnight": (0, 0), "noon": (12, 0)}
_AFTER = re.compile(r"([0-9]{1,10})([a-z]*?)s?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?")
_DAYTIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_HINT = "write now+1hour, now+90m, 16:30, tomorrow, 2030-01-31, 2030-01-31T16:30:00 or 2030-01-31T16:30:00Z"


def parse_instant(text: str, now_s: float, zone: tzinfo = UTC) -> float:
    """Seconds since the epoch. A time of day is the next one; a date without offset is in `zone`."""
    if text == "now":
        return now_s
    if text.startswith("now+"):
        return now_s + _after_s(text)
    try:
        instant_s = _instant(text, datetime.fromtimestamp(now_s, zone)).timestamp()
    except (ValueError, OverflowError):
        raise wrong(f"{shown(text)} is not a time; {_HINT}") from None
    if instant_s > now_s + DURATION_S_MAX:
        raise wrong(f"{shown(text)} is more than 3650 days ahead")
    return max(instant_s, 0.0)


def parse_date(text: str) -> float:
    """Seconds since the epoch of a date that means the same whenever it is read; without an offset it is in UTC."""
    if not _DATE.fullmatch(text):
        raise wrong(f"{shown(text)} is not a date; write 2030-01-31T16:30Z or 2030-01-31T16:30+01:00")
    try:
        return max(_instant(text, datetime.fromtimestamp(0, UTC)).timestamp(), 0.0)
    except (ValueError, OverflowError):
        raise wrong(f"{shown(text)}: there is no such day or time") from None


def _after_s(text: str) -> float:
    """What follows `now+`: seconds, a number with a word (`2hours`), or unit notation (`1d12h`)."""
    after = text.removeprefix("now+")
    match = _AFTER.fullmatch(after)
    if match is not None and (match[2] in _UNIT_S or is_digits(after)):
        after_s = float(int(match[1]) * _UNIT_S.get(match[2], 1))
    else:
        try:
            after_s = parse_interval(after)
        except InvalidInput:
            raise wrong(f"{shown(text)} is not a time; {_HINT}") from None
    if after_s > DURATION_S_MAX:
        raise wrong(f"{shown(text)} is more than 3650 days ahead")
    return after_s


def _instant(text: str, now: datetime) -> datetime:
    if text in ("today", "tomorrow"):
        return _at(now, 0, 0) + timedelta(days=text == "tomorrow")
    if text in _WORDS:
        return _next(now, *_WORDS[text])
    daytime = _DAYTIME.fullmatch(text)
    if daytime is not None:
        return _next(now, int(daytime[1]), int(daytime[2]), int(daytime[3] or 0))
    if not _DATE.fullmatch(text):
        raise ValueError(text)
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=now.tzinfo)


def _at(now: datetime, hour: int, minute: int, second: int = 0) -> datetime:
    return now.replace(hour=hour, minute=minute, second=second, microsecond=0)


def _next(now: datetime, hour: int, minute: int, second: int = 0) -> datetime:
    instant = _at(now, hour, minute, second)
    return instant if instant > now else instant + timedelta(days=1)
