"""Waiting for a job and telling how it ended, for every command that does so. Survives a restart of the daemon."""

from __future__ import annotations

import time

from hal_core.cli.console import Console
from hal_core.cli.formats import local_times
from hal_core.client.transport import NoAnswer, Rejected
from hal_core.models.event_words import end_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"})
FIRST_POLL_S = 1
"""After it whoever waits is told why."""
LONG_POLL_S = 30
PATIENCE_S = 300.0
"""Running jobs outlive a restart of the daemon, so waiting for one does too, for as long as this."""


def wait_for_end(console: Console, job_id: int, between: Callable[[float], float] | None = None) -> dict[str, Any]:
    """The job's view when it has ended.

    `between(pause_s)` is called whenever there was no answer for that long, and gives the next pause in seconds.
    """
    poll_s = FIRST_POLL_S
    lost_s: float | None = None
    pause_s = 0.005 if between else 1.0
    while True:
        try:
            console.connection.begin("GET", f"/v1/jobs/{job_id}?wait=ended&timeout_s={poll_s}")
            deadline_s = time.monotonic() + LONG_POLL_S + console.connection.timeout_s
            while (answer := console.connection.poll(pause_s)) is None:
                if between:
                    pause_s = between(pause_s)
                if time.monotonic() > deadline_s:
                    console.close()
                    raise NoAnswer(f"the daemon at {console.connection.path} does not answer")
            view: dict[str, Any] = answer.json()
            lost_s = None
            if view["state"] in FINAL:
                console.progress("")
                return view
            console.progress(f"job {job_id}: {condition(view)}")
            poll_s = LONG_POLL_S
        except (NoAnswer, Rejected) as error:
            if isinstance(error, Rejected) and error.status != 503:
                raise
            if lost_s is None:
                lost_s = time.monotonic()
                console.note(f"{error}; the job is not affected, trying again")
            if time.monotonic() - lost_s > PATIENCE_S:
                raise
            time.sleep(0.5)
            if between:
                between(0.5)


def condition(view: dict[str, Any]) -> str:
    """State and reason, and how many elements of an array are where."""
    if view.get("array"):
        return ", ".join(f"{number} {state}" for state, number in view["counts"].items())
    return f"{view['state']} ({reason_text(view)})" if view.get("reason") else str(view["state"])


def reason_text(view: dict[str, Any]) -> str:
    """Why it waits."""
    return local_times(view["reason"]["text"])


def ended_count(view: dict[str, Any]) -> int:
    """How many of its elements have ended."""
    return sum(number for state, number in view["counts"].items() if state in FINAL)


def end_of(view: dict[str, Any]) -> dict[str, Any]:
    """How it ended; empty for an array or what has not ended."""
    element = view.get("element") or {}
    return view.get("end") or element.get("end") or {}


def exit_code(view: dict[str, Any]) -> int:
    """The job's own exit code, 128 + signal, else 0 for COMPLETED and 1 for anything else."""
    end = end_of(view)
    if end.get("exit_code") is not None:
        code = int(end["exit_code"])
        return code if code or view["state"] == "COMPLETED" else 1
    if end.get("signal"):
        return 128 + int(end["signal"])
    return 0 if view["state"] == "COMPLETED" else 1


def tell_end(console: Console, view: dict[str, Any]) -> None:
    """One line on stderr if it did not end well by itself."""
    if view["state"] != "COMPLETED":
        console.note(f"job {view['job_id']} {view['state'].lower()}: {end_text(end_of(view)) or condition(view)}")
