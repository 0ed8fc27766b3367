"""Files that nobody else may read or change: keys, tokens, lists of certificates. Written durably, checked before use.

A key that others can read is no key: whoever finds one refuses to start and names the path. Nothing here knows what is
in a file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from hal_core.errors import Refused


def make_private_directory(path: Path) -> None:
    """Create it if it is not there; refuse one that others can write to."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_directory(path)


def check_directory(path: Path) -> None:
    """Only root or we may own it, and nobody else may write to it."""
    _check(path, path.lstat(), 0o022, stat.S_ISDIR)


def check_private(path: Path) -> None:
    """Raises Refused unless it is a plain file of root or ours, closed to others, in a directory closed to writers."""
    try:
        check_directory(path.parent)
        _check(path, path.lstat(), 0o077, stat.S_ISREG)
    except FileNotFoundError:
        raise Refused(f"{path}: is not there") from None


def read_private(path: Path) -> bytes:
    """The content of a file that passes `check_private`."""
    check_private(path)
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        _check(path, os.fstat(file.fileno()), 0o077, stat.S_ISREG)
        return file.read()


def write_private(path: Path, content: bytes, *, may_replace: bool = True) -> None:
    """Durably, whole or not at all, readable by us only."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if may_replace:
        fresh.replace(path)
    else:
        os.link(fresh, path)
        fresh.unlink()
    sync_directory(path.parent)


def append_private(path: Path, line: str) -> None:
    """Add a line durably."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _check(path: Path, status: os.stat_result, forbidden: int, is_wanted: Callable[[int], bool]) -> None:
    if not is_wanted(status.st_mode):
        what = "directory" if is_wanted is stat.S_ISDIR else "file"
        raise Refused(f"{path}: is not a plain {what} (a symbolic link?)")
    if status.st_uid not in (0, os.geteuid()):
        raise Refused(f"{path}: belongs to uid {status.st_uid}; it must belong to root or to uid {os.geteuid()}")
    if status.st_mode & forbidden:
        mode = stat.S_IMODE(status.st_mode)
        what = "read or change" if forbidden & 0o044 else "change"
        raise Refused(f"{path}: others may {what} it (mode {mode:04o}); run: chmod {mode & ~forbidden:04o} {path}")
