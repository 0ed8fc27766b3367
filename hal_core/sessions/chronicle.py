"""Keeps the life of a session: what the broker notes is numbered, written into the session's directory, and told.

A disk that takes nothing costs the record, not the session: a broker that comes after this one may then give numbers
again that were told already, and what it tells under them is taken for known.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import trio

from hal_core.client.session_directory import LIFE
from hal_core.models.session import CHANGES_MAX, SessionChange, SessionChangeKind
from hal_core.sessions.life import Life
from hal_core.sessions.life_file import LifeFile
from hal_core.wire.sessions import Figures


class Chronicle:
    """`note` what happens while `run` runs; `end` is the last. Without a directory it is only told."""

    def __init__(self, directory: str, figures: Callable[[], Figures]) -> None:
        self._file = LifeFile(Path(directory) / LIFE) if directory else None
        self._figures = figures
        self._life = Life(self._file.read() if self._file is not None else ())
        self.is_old = bool(self._life.kept)
        """Another broker had the session before."""
        self._noted = trio.Event()
        self._heard_number = 0

    def note(self, kind: SessionChangeKind, detail: str = "", count: int = 1, worker_count: int | None = None) -> None:
        self._life.note(kind, trio.current_time(), detail, count, worker_count)
        self._noted.set()

    def end(self, kind: SessionChangeKind, detail: str) -> None:
        self.note(kind, detail)
        self._number(is_end=True)

    async def run(self) -> None:
        """Number what is due, until cancelled."""
        while True:
            with trio.move_on_at(self._life.due_s()):
                await self._noted.wait()
            self._noted = trio.Event()
            self._number()

    async def untold(self) -> list[SessionChange]:
        """What the daemon has not heard of, as far as it may be told: it is on disk."""
        changes = self._life.after(self._heard_number)[:CHANGES_MAX]
        if changes and self._file is not None:
            with contextlib.suppress(OSError):
                await trio.to_thread.run_sync(self._file.sync)
        return changes

    def was_heard(self, number: int) -> None:
        """All as far as this."""
        self._heard_number = max(self._heard_number, number)

    def _number(self, is_end: bool = False) -> None:
        changes = self._life.take(trio.current_time(), time.time(), self._figures(), is_end)
        if changes and self._file is not None:
            with contextlib.suppress(OSError):
                self._file.append(changes, list(self._life.kept))
