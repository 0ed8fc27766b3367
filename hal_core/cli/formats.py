"""How values look to people: times, durations, sizes, tables. Pure functions; machines get `--json` instead."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from hal_core.models.sizes import size as size

MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def escaped(text: str) -> str:
    """Control characters and lone surrogates written out, so that a job's name cannot play with the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def duration(seconds: float | None) -> str:
    """`1-02:03:04`, `02:03:04` or `3:04`, cut to whole seconds; `-` for none."""
    if seconds is None:
        return "-"
    minutes, second = divmod(max(int(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}-{hour:02}:{minute:02}:{second:02}"
    return f"{hour:02}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def money(amount: float | None) -> str:
    """With four digits below one; `-` for none."""
    return "-" if amount is None else f"{amount:.4f}" if 0.0 < abs(amount) < 1.0 else f"{amount:.2f}"


def instant(time_s: float | None) -> str:
    """Local date and time; `-` for none (or the epoch, which stands for none in begin times)."""
    if not time_s:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))
    except (OverflowError, ValueError, OSError):
        return str(time_s)


def local_times(text: str) -> str:
    """A text of the daemon, in which moments are in UTC (models/moment.py), with these where the reader is."""
    return MOMENT.sub(_local_time, text)


def _local_time(found: re.Match[str]) -> str:
    from calendar import timegm

    try:
        return instant(timegm(time.strptime(found[0], "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:  # somebody's own words, which only look like it
        return found[0]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], is_right: Sequence[bool] = ()) -> list[str]:
    """Aligned columns, two spaces apart, without trailing blanks. `is_right` marks columns of numbers.

    The table is as wide as its longest values: it can be cut by `less -S`, but a value is never lost.
    """
    cells = [list(heads), *([escaped(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    sides = [*is_right, *([False] * len(heads))]
    return [
        "  ".join(
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(row, widths, sides, strict=False)
        ).rstrip()
        for row in cells
    ]


def pairs(values: Sequence[tuple[str, str]]) -> list[str]:
    """`name  value` lines with the values aligned."""
    width = max((len(name) for name, _ in values), default=0)
    return [f"{name.ljust(width)}  {escaped(value)}".rstrip() for name, value in values]
