"""The journal's files beside SQLite: how they are written durably, the high-water mark, and the lock of the directory.

Must not open `journal.sqlite`: closing any descriptor of it would drop the locks that SQLite holds in this process.
Disk access goes through `FileSystem`, so that tests can make it fail.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import Final, Protocol

import attrs

from hal_core import errors
from hal_core.failpoints import reach

MARK_NAME: Final = "mark"
LOCK_NAME: Final = "lock"
GENESIS_HASH: Final = bytes(32)

_SLOT_BYTES: Final = 4096
"""Each slot has a block of its own: a torn write of one cannot touch the other."""
_MAGIC: Final = b"HAL mark"
_SLOT: Final = struct.Struct(">8sIQQ32s")
_CRC: Final = struct.Struct(">I")


class FileSystem(Protocol):
    """Durable files. Every method raises OSError when the disk refuses."""

    def read(self, path: Path) -> bytes | None:
        """The whole content, or None if there is no such file."""
        ...

    def write_at(self, path: Path, offset: int, content: bytes) -> None:
        """Overwrite a part of an existing file; on disk before this returns."""
        ...

    def replace(self, path: Path, content: bytes) -> None:
        """Create or replace the file whole, readable by the owner only; on disk, with its name, before this returns."""
        ...

    def names(self, directory: Path) -> list[str]:
        """Names of the entries, sorted."""
        ...

    def remove(self, path: Path) -> None:
        """Remove the file if it exists. Need not be durable."""
        ...


class Disk:
    """The real file system."""

    def read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def write_at(self, path: Path, offset: int, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            written = os.pwrite(descriptor, content, offset)
            if written != len(content):
                raise OSError(f"only {written} of {len(content)} bytes were written to {path}")
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f"{path.name}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            reach("file.written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        reach("file.synced")
        os.replace(temporary, path)
        reach("file.renamed")
        _sync_directory(path.parent)

    def names(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory))

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


@attrs.frozen(order=True)
class Mark:
    """What was acknowledged: every event up to `sequence`, whose chain hash is `hash`, under `epoch`."""

    epoch: int
    sequence: int
    hash: bytes
    format_version: int


class MarkFile:
    """The high-water mark: two slots written in turn, so that the older one survives a torn write of the newer."""

    def __init__(self, directory: Path, file_system: FileSystem) -> None:
        self._path = directory / MARK_NAME
        self._file_system = file_system
        self._next_slot = 0

    def read(self) -> Mark | None:
        """The newest valid mark. None if there is no file, or none of its slots can be believed (`exists` tells)."""
        content = self._file_system.read(self._path)
        marks = [self._parse(content, slot) for slot in (0, 1)] if content is not None else []
        newest = max((mark for mark in marks if mark is not None), default=None)
        self._next_slot = 1 - marks.index(newest) if newest is not None else 0
        return newest

    def exists(self) -> bool:
        return self._file_system.read(self._path) is not None

    def create(self, mark: Mark) -> None:
        """A file with both slots set, so that later writes need no new space."""
        slot = self._format(mark).ljust(_SLOT_BYTES, b"\0")
        self._file_system.replace(self._path, slot + slot)

    def write(self, mark: Mark) -> None:
        """On disk before this returns."""
        self._file_system.write_at(self._path, self._next_slot * _SLOT_BYTES, self._format(mark))
        self._next_slot = 1 - self._next_slot

    def _format(self, mark: Mark) -> bytes:
        slot = _SLOT.pack(_MAGIC, mark.format_version, mark.epoch, mark.sequence, mark.hash)
        return slot + _CRC.pack(zlib.crc32(slot))

    def _parse(self, content: bytes, slot: int) -> Mark | None:
        start = slot * _SLOT_BYTES
        body, crc = content[start : start + _SLOT.size], content[start + _SLOT.size : start + _SLOT.size + _CRC.size]
        if len(body) < _SLOT.size or crc != _CRC.pack(zlib.crc32(body)):
            return None
        magic, format_version, epoch, sequence, chain_hash = _SLOT.unpack(body)
        return Mark(epoch, sequence, chain_hash, format_version) if magic == _MAGIC else None


class FileLock:
    """An advisory lock: held by one process until `release` or its death. The file tells its pid."""

    def __init__(self, path: Path, refusal: str) -> None:
        """`refusal` is the text for the second one who comes; `{pid}` in it is the first one's."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._descriptor: int | None = descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise errors.Unavailable(refusal.format(pid=holder)) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_directory(directory: Path) -> FileLock:
    """At most one process writes to a state directory. Raises Unavailable naming the other one."""
    return FileLock(
        directory / LOCK_NAME,
        f"the state directory {str(directory).replace('{', '{{').replace('}', '}}')} is in use by another HAL daemon "
        "(pid {pid}); stop that one, or give this one a directory of its own",
    )


def make_private(directory: Path) -> None:
    """Create the directory for its owner alone, or check that an existing one is."""
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_directory(directory.parent)
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise errors.Refused(f"the state directory {directory} belongs to uid {status.st_uid}, not {os.geteuid()}")
    if status.st_mode & 0o077:
        if any(directory.iterdir()):
            mode = f"{status.st_mode & 0o777:04o}"
            raise errors.Refused(f"others can enter the state directory {directory} ({mode}): chmod 0700 {directory}")
        directory.chmod(0o700)


def _sync_directory(directory: Path) -> None:
    """Make names durable, not only contents."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
