"""How Slurm writes times, durations, amounts and job ids in `sacct` exports. Pure; the time zone is passed in.

Local times are ambiguous for an hour each autumn: `instants` gives every moment that a text can mean, and whoever knows
how long the job ran can tell which one it was.
"""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

_UNKNOWN = frozenset({"", "unknown", "none", "n/a"})
_CLOCK = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,9})(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?(?:\.[0-9]+)?")
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_AMOUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([KMGTP]?)([nc]?)", re.IGNORECASE)
_JOB_ID = re.compile(r"([0-9]{1,12})(?:_([0-9]{1,9})|_\[[-0-9,%:]*\](?:%[0-9]+)?|\+([0-9]{1,5}))?(\.\S+)?")
_UNITS = " KMGTP"
KIB = 1024
DAY_S = 86_400


def instants(text: str, zone: tzinfo | None) -> tuple[float, ...]:
    """All moments that the text can mean, earliest first; none if it says that the time is not known.

    ISO with or without an offset, or seconds since the epoch. `zone` None: that of this machine. Raises ValueError.
    """
    if text.lower() in _UNKNOWN:
        return ()
    if _SECONDS.fullmatch(text):
        return (float(text),)
    try:
        local = datetime.fromisoformat(text)
        if local.tzinfo is not None:
            return (local.timestamp(),)
        if zone is not None:
            local = local.replace(tzinfo=zone)
        first_s, second_s = (local.replace(fold=fold).timestamp() for fold in (0, 1))
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not a time") from None
    # Where the clock is put forward, an hour has no moments: both readings are some, the later one comes first.
    return (first_s, second_s) if second_s > first_s else (first_s,)


def duration_s(text: str) -> float | None:
    """`1-00:00:00`, `10:00:00`, `10:00` (minutes and seconds), or seconds; None if not known. Raises ValueError."""
    if text.lower() in _UNKNOWN:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    days, *parts = (int(part) if part else None for part in match.groups())
    given = [part for part in parts if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = (*given, 0, 0)[:3]
    else:  # [[hours:]minutes:]seconds
        hours, minutes, seconds = (0, 0, *given)[-3:]
    return float((days or 0) * DAY_S + hours * 3600 + minutes * 60 + seconds)


def limit_s(text: str) -> float | None:
    """A time limit; None without one. Raises ValueError."""
    return None if text.lower() in ("unlimited", "partition_limit") else duration_s(text)


def amount(text: str) -> tuple[float, str] | None:
    """(bytes, what for) of `4000M`, `12K`, `4Gn` (each node) or `2Gc` (each CPU); None if not known. Bare: MiB."""
    if text.lower() in _UNKNOWN or text == "0":
        return None
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory")
    number, unit, each = match.groups()
    return float(number) * float(KIB ** _UNITS.index((unit or "M").upper())), each.lower()


def resource(text: str, name: str) -> int:
    """The count of `cpu`, `node` or `gres/gpu` in `cpu=4,mem=8G,node=1,gres/gpu:a100=2`; 0 if there is none."""
    by_type = 0
    for part in text.split(","):
        key, _, value = part.partition("=")
        if not value.isascii() or not value.isdecimal():
            continue
        if key == name:
            return int(value)
        if key.startswith(f"{name}:"):
            by_type += int(value)
    return by_type


def job_name(text: str) -> tuple[str, bool]:
    """(the job's own id, whether the line is a step of it) of `123`, `123_4`, `123_[5-9%2]`, `123+1` or `123.batch`.

    Raises ValueError.
    """
    match = _JOB_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a job id")
    step = match[4]
    return (text.removesuffix(step), True) if step else (text, False)
