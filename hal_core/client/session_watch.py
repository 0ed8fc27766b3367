"""Says so when a session's broker is there and does not answer: a stopped process keeps its sockets, and all wait.

It asks over a connection of its own, as `hal session show` does, and only when something is awaited and nothing was
heard for a while: a broker whose tasks take long says nothing either, but it answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

QUIET_S: Final = 10.0
"""Without a word from the broker before it is asked."""

log = logging.getLogger("hal.sessions")


class Watch(threading.Thread):
    """`heard_count` grows with what is heard; `is_silent` asks, and takes its time. Ends with `stop`."""

    def __init__(self, name: str, heard_count: Callable[[], int | None], is_silent: Callable[[], bool]) -> None:
        super().__init__(name="hal-session-watch", daemon=True)
        self._name = name
        self._heard_count = heard_count
        self._is_silent = is_silent
        self._end = threading.Event()
        self._told_at: int | None = None

    def run(self) -> None:
        before = None
        while not self._end.wait(QUIET_S):
            before = self.look(before)

    def look(self, before: int | None) -> int | None:
        """Once. `before` is what the last look returned: the count then, or None if nothing was awaited."""
        now = self._heard_count()
        if now is None or now != before:
            if self._told_at is not None and now != self._told_at:
                self._told_at = None
                log.warning("the broker of session %s answers again", self._name)
        elif self._told_at is None and self._is_silent():
            self._told_at = now
            log.warning("the broker of session %s does not answer; it may be stopped, and all wait for it", self._name)
        return now

    def stop(self) -> None:
        self._end.set()
