"""One reading of one replica of a file, onto the end of what has come of it, until all is there and right."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Final

import trio

from hal_core.agent.bound import UNBOUND, Bound
from hal_core.errors import Refused
from hal_core.models.dataset import DataFile, Dataset

Reader = Callable[[Dataset, str, int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""(dataset, address of one of its files, offset) -> the rest of the file in pieces; as planes.DataSource.reading. An
empty piece says that there will be more."""

STALL_S: Final = 60.0
"""A replica that gives nothing for so long is left."""
WRITE_BYTES: Final = 1 << 20
HASH_BYTES: Final = 1 << 20


class WrongBytes(Exception):
    """What came is not what it should be: asking the same replica again would not help."""


class DiskFull(Refused):
    """Not the replica's fault."""


class Pull:
    """One reading of one replica, onto the end of what there is of the file."""

    def __init__(
        self, path: Path, file: DataFile, note: Callable[[int], None] = lambda _: None, bound: Bound = UNBOUND
    ) -> None:
        self._path = path
        self._file = file
        self._note = note
        """Told of the bytes of each piece, as they come."""
        self._bound = bound
        self.bytes_moved = 0

    async def run(self, reader: Reader, dataset: Dataset, address: str) -> None:
        """Until all of the file is there and its digest is right. OSError if another try may help, else WrongBytes."""
        if dataset.file_version:
            await self._read_version(reader, dataset, address)
            return
        offset = self._offset()
        if offset < self._file.size_bytes:
            await self._append(reader, dataset, address, offset)
        if await trio.to_thread.run_sync(_digest_of, self._path) == self._file.sha256:
            return
        self._path.unlink()
        if offset:  # Whose bytes were wrong is not known: now all of them are to be this one's.
            await self.run(reader, dataset, address)
            return
        raise WrongBytes("it is corrupted: its digest is not that of the catalogue")

    async def _read_version(self, reader: Reader, dataset: Dataset, address: str) -> None:
        """A file without a digest. One reading has all of it, or nothing: the reader makes sure that the version was
        the right one from before to after it, and of what two readings gave together nobody could say that."""
        self._path.unlink(missing_ok=True)
        is_whole = False
        try:
            await self._append(reader, dataset, address, self._offset())
            is_whole = True
        finally:
            if not is_whole:
                self._path.unlink(missing_ok=True)

    def _offset(self) -> int:
        """Where to go on. There is a file after that."""
        self._path.touch(mode=0o600)
        offset = self._path.stat().st_size
        if offset > self._file.size_bytes:
            os.truncate(self._path, 0)
            offset = 0
        return offset

    async def _append(self, reader: Reader, dataset: Dataset, address: str, offset: int) -> None:
        size_bytes, waiting = self._file.size_bytes, bytearray()
        with _opened(self._path) as opened:

            async def write() -> None:
                try:
                    await trio.to_thread.run_sync(_write_all, opened, bytes(waiting))
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise DiskFull(f"the disk of the store is full: {self._path}") from None
                    raise
                waiting.clear()

            try:
                async with reader(dataset, address, offset) as pieces:
                    source = aiter(pieces)
                    while True:
                        with trio.fail_after(STALL_S):
                            piece = await anext(source, None)
                        if piece is None:
                            break
                        offset += len(piece)
                        self.bytes_moved += len(piece)
                        self._note(len(piece))
                        await self._bound.passed(len(piece))
                        if offset > size_bytes:
                            raise WrongBytes(f"it is longer than the {size_bytes} bytes of the catalogue")
                        waiting += piece
                        if len(waiting) >= WRITE_BYTES:
                            await write()
            finally:
                if waiting and offset <= size_bytes:
                    with trio.CancelScope(shield=True):
                        await write()  # what has come need not come again
            if offset < size_bytes:
                raise OSError(f"it ended after {offset} of {size_bytes} bytes")
            await trio.to_thread.run_sync(os.fsync, opened)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Its descriptor, to write to its end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _digest_of(path: Path) -> str:
    sha256 = hashlib.sha256()
    with open(path, "rb", buffering=0) as opened:
        while piece := opened.read(HASH_BYTES):
            sha256.update(piece)
    return sha256.hexdigest()
