"""A moment in a text that people read: in UTC, as RFC 3339 writes it, for nobody here knows where the reader is.

Who shows the text to a person puts it into that person's time zone (`cli.formats.local_times`, `localTimes` in the
page).
"""

from __future__ import annotations

from datetime import UTC, datetime


def moment(time_s: float) -> str:
    """`2026-11-26T18:40:00Z`, cut to the second."""
    return datetime.fromtimestamp(int(time_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
