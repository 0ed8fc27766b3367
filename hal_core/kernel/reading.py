"""The log for observers that read it at their own pace, and the wall around them.

What is pushed to an observer is gone with the daemon; who reads keeps its place on disk and goes on there. Such a
reader holds nobody up, however slow it is: it has a task of its own, and the journal is its queue.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from hal_core.errors import HalError
from hal_core.kernel.journal_files import FileSystem, make_private
from hal_core.kernel.walls import passes
from hal_core.models.event import Event, JobSubmitted
from hal_core.models.event_values import job_of
from hal_core.models.job import JobId
from hal_core.models.message import ObserverFailed
from hal_core.models.prediction import Arrival
from hal_core.planes import EventLog, ReadingObserver, Report

logger = logging.getLogger("hal.observers")

READERS_NAME: Final = "readers"
"""In the state directory: one file for each reader, with the number of the last event that it has dealt with."""


FORGOTTEN_MAX: Final = 1_000


class Journal(Protocol):
    """What is needed of the journal, in threads."""

    def read(self, after_sequence: int, limit: int) -> Sequence[tuple[int, Event]]: ...

    def events_of(self, job_id: JobId, is_over: bool = False, last: int | None = None) -> Sequence[Event]: ...


class Kernel(Protocol):
    """What is needed of the kernel."""

    durable_sequence: int

    async def wait_beyond(self, sequence: int) -> None: ...


Sources = tuple[Journal, Kernel]


class JournalLog:
    """Implements planes.EventLog."""

    def __init__(
        self,
        directory: Path,
        files: FileSystem,
        sources: Sources,
        known: Callable[[JobId], Arrival | None],
    ) -> None:
        self._directory = directory
        self._files = files
        self._journal, self._kernel = sources
        self._known = known
        self._forgotten: OrderedDict[JobId, Arrival] = OrderedDict()
        """By the state; found in the journal, and kept here because its events come in a row."""

    async def place(self, reader: str) -> int:
        newest = self._kernel.durable_sequence
        content = await trio.to_thread.run_sync(self._files.read, self._path(reader))
        if content is None:
            await self.keep(reader, newest)
            return newest
        text = content.strip()
        if not text.isdigit() or int(text) > newest:
            raise HalError(
                f"{self._path(reader)} says {text[:40].decode('ascii', 'replace')!r}, the newest event is {newest}: is "
                "it of another journal? Remove it, and the reader goes on with what comes"
            )
        return int(text)

    async def keep(self, reader: str, sequence: int) -> None:
        await trio.to_thread.run_sync(self._write, self._path(reader), b"%d\n" % sequence)

    async def read(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        await self._kernel.wait_beyond(after)
        return await trio.to_thread.run_sync(self._journal.read, after, limit)

    async def history(self, job_id: JobId, last: int) -> Sequence[Event]:
        events = await trio.to_thread.run_sync(self._journal.events_of, job_id, False, last)
        return [event for event in events if job_of(event) == job_id]

    async def arrival(self, job_id: JobId) -> Arrival | None:
        known = self._known(job_id) or self._forgotten.get(job_id)
        if known is None:
            known = await trio.to_thread.run_sync(self._arrival, job_id)
            if known is not None:
                self._forgotten[job_id] = known
                if len(self._forgotten) > FORGOTTEN_MAX:
                    self._forgotten.popitem(last=False)
        return known

    def _arrival(self, job_id: JobId) -> Arrival | None:
        for event in self._journal.events_of(job_id):
            if isinstance(event, JobSubmitted):
                return Arrival(job_id, event.owner, event.spec, event.time_s)
        return None

    def _path(self, reader: str) -> Path:
        assert reader[:1] not in ("", "."), reader
        assert "/" not in reader, reader
        return self._directory / reader

    def _write(self, path: Path, content: bytes) -> None:
        make_private(self._directory)
        self._files.replace(path, content)


async def read_walled(name: str, observer: ReadingObserver, log: EventLog, report: Report) -> None:
    """Let an observer read until it is cancelled. One that raises, or returns, is off, and that is an event."""
    detail = "it reads no more"
    try:
        await observer.read_log(log)
    except BaseException as error:  # the wall around a plugin
        if passes(error):
            raise
        logger.exception("observer %s failed and is switched off", name)
        detail = str(error) if isinstance(error, HalError) else repr(error)
    await report(ObserverFailed(name, detail))
