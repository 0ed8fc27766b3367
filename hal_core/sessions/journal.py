"""The journal of a recoverable session: the messages that changed it, in order, each with a checksum.

What was told to anybody is on disk before: a task that was accepted, a result. Everything that comes while a sync is
under way goes to disk with the next one. A result is found again by an index of where it lies, in three numbers for
each message, so the journal of ten million tasks costs the broker little. Only the end of the file can be torn, by a
crash within a write; what stands there was told to nobody, and is cut off.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import trio

from hal_core.errors import Refused, WireError
from hal_core.models.ranges import RangeSet
from hal_core.wire.frame_buffer import LENGTH_BYTES
from hal_core.wire.sessions import FRAME_BYTES_MAX, Results, Said, decode, encode

CHECKSUM_BYTES: Final = 4
UNSYNCED_BYTES_MAX: Final = 32 << 20
"""Beyond it nothing is handed out until the disk has caught up."""


class SessionJournal:
    """`read` it once, then `append` while `run` runs. One process at a time has it."""

    def __init__(self, path: Path) -> None:
        """Raises Refused if another broker has it."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise Refused(f"{path} is in use by another broker") from None
        self._end = self._synced = 0
        self._waiting: list[bytes] = []
        self._to_tell: list[Callable[[], None]] = []
        self._has_waiting = trio.Event()
        self._syncing = trio.Lock()
        self.unsynced_bytes = 0
        self._firsts, self._counts, self._places = array("Q"), array("Q"), array("Q")

    def read(self) -> Iterator[Said]:
        """All that is in it, from the beginning; then a torn end is cut off. Again and again, but before any append."""
        self._end = 0
        for column in (self._firsts, self._counts, self._places):
            del column[:]
        while (message := self._read_at(self._end)) is not None:
            if isinstance(message, Results):
                self._note(message, self._end)
            yield message
            self._end += CHECKSUM_BYTES + LENGTH_BYTES + self._length_at(self._end)
        os.ftruncate(self._file, self._end)
        os.lseek(self._file, self._end, os.SEEK_SET)
        self._synced = self._end

    def append(self, message: Said, tell: Callable[[], None]) -> None:
        """Have it written; `tell` is called when it is on disk."""
        frame = encode(message)
        if isinstance(message, Results):
            self._note(message, self._end)
        self._waiting.append(zlib.crc32(frame).to_bytes(CHECKSUM_BYTES, "big") + frame)
        self._to_tell.append(tell)
        self._end += CHECKSUM_BYTES + len(frame)
        self.unsynced_bytes += CHECKSUM_BYTES + len(frame)
        self._has_waiting.set()

    async def run(self) -> None:
        """Write and sync what was appended, for ever. A disk that refuses raises OSError: the session ends."""
        while True:
            await self._has_waiting.wait()
            await self.sync()

    async def sync(self) -> None:
        """What was appended until now is on disk, and told, when this returns."""
        async with self._syncing:
            if self._has_waiting.is_set():  # Else `run` waits for this one.
                self._has_waiting = trio.Event()
            records, self._waiting = self._waiting, []
            to_tell, self._to_tell = self._to_tell, []
            data = b"".join(records)
            if data:
                await trio.to_thread.run_sync(self._write, data)
            self._synced += len(data)
            self.unsynced_bytes -= len(data)
            for tell in to_tell:
                tell()

    def results(self, wanted: RangeSet) -> Iterator[Results]:
        """The results of these tasks, as far as they are here, cut to what is wanted."""
        for first, count, place in zip(self._firsts, self._counts, self._places, strict=True):
            for start, stop in wanted.intersection([(first, first + count)]):
                message = self._read_at(place) if place < self._synced else None
                if not isinstance(message, Results):
                    continue  # Not on disk yet: it is told when it is.
                failed = tuple(first + each - start for each in message.failed if start <= first + each < stop)
                yield Results(start, failed, message.values.part(start - first, stop - first))

    def close(self) -> None:
        os.close(self._file)

    def _note(self, results: Results, place: int) -> None:
        self._firsts.append(results.first)
        self._counts.append(len(results.values))
        self._places.append(place)

    def _length_at(self, place: int) -> int:
        return int.from_bytes(os.pread(self._file, LENGTH_BYTES, place + CHECKSUM_BYTES), "big")

    def _read_at(self, place: int) -> Said | None:
        """The message there; None if there is none that is whole."""
        head = os.pread(self._file, CHECKSUM_BYTES + LENGTH_BYTES, place)
        length = int.from_bytes(head[CHECKSUM_BYTES:], "big")
        if len(head) < CHECKSUM_BYTES + LENGTH_BYTES or not 0 < length <= FRAME_BYTES_MAX:
            return None
        body = os.pread(self._file, length, place + len(head))
        if zlib.crc32(head[CHECKSUM_BYTES:] + body) != int.from_bytes(head[:CHECKSUM_BYTES], "big"):
            return None
        try:
            return decode(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise WireError(f"the session's journal was written by another version of HAL: {error}") from None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)
