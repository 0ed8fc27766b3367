"""An event as plain values, as it is told to people and other programs. Scripts are in none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hal_core.models.event import Event, JobSubmitted, SessionChanged
from hal_core.models.job import JobId
from hal_core.models.ranges import format_ranges

PRIVATE: Final = (
    *("command", "arguments", "working_directory", "environment"),
    *("input_path", "output_pattern", "error_pattern", "inputs", "outputs", "mail_user"),
)
"""Fields of a job's spec that are for its owner."""


def event_view(event: Event, shows_private: bool = False) -> dict[str, Any]:
    """JSON's kinds of values, by field. Sets of elements are ranges text; what is private is None unless asked for."""
    values: dict[str, Any] = msgspec.to_builtins(event)
    if "elements" in values:
        values["elements"] = _ranges_text(values["elements"])
    if isinstance(event, JobSubmitted):
        spec = values["spec"]
        del spec["script"], values["client_id"]
        if spec["array"] is not None:
            spec["array"]["indices"] = _ranges_text(spec["array"]["indices"])
        if not shows_private:
            spec.update(dict.fromkeys(PRIVATE))
    return values


def job_of(event: Event) -> JobId | None:
    """The job that the event is about, if it is about one."""
    key = getattr(event, "key", None)
    found: JobId | None = key.job_id if key is not None else getattr(event, "job_id", None)
    return found


def session_user_of(event: Event) -> str | None:
    """Whose session the event is about, if it is about one."""
    return event.user if isinstance(event, SessionChanged) else None


def _ranges_text(pairs: Sequence[Sequence[int]]) -> str:
    return format_ranges(tuple((start, stop) for start, stop in pairs))
