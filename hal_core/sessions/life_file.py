"""The life of a session in its directory: a line of JSON for each change, for the broker that comes after this one and
for `hal session show`. It is written anew when it has grown to twice what is kept, so it stays small.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hal_core.models.session import SessionChange
from hal_core.sessions.life import KEPT_MAX


class LifeFile:
    """`append` survives a kill of the broker; what `sync` has seen survives one of the machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line_count = 0
        self._is_whole = True
        """All lines are there, and none is torn; if not, the next `append` writes all anew."""

    def read(self) -> list[SessionChange]:
        """What is there, the latest last. A crash or a full disk may have torn a line: it is left out, and written over
        as soon as there is room."""
        lines, changes = list[bytes](), list[SessionChange]()
        with contextlib.suppress(OSError):
            lines = self._path.read_bytes().splitlines()
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError, ValueError):  # ValueError: it is no UTF-8.
                changes.append(msgspec.json.decode(line, type=SessionChange))
        self._line_count = len(changes)
        if len(changes) < len(lines):
            with contextlib.suppress(OSError):
                self._rewrite(changes)
        return changes[-KEPT_MAX:]

    def append(self, changes: Sequence[SessionChange], kept: Sequence[SessionChange]) -> None:
        """`kept` is all that need stay, with these. Raises OSError."""
        self._line_count += len(changes)
        if not self._is_whole or self._line_count > 2 * KEPT_MAX:
            self._rewrite(kept)
            return
        self._is_whole = False  # Until it is seen to be.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write(file, changes)
        finally:
            os.close(file)
        self._is_whole = True

    def sync(self) -> None:
        """Raises OSError."""
        file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def _rewrite(self, changes: Sequence[SessionChange]) -> None:
        self._is_whole = False
        new = self._path.with_name(f".{self._path.name}")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, changes)
            os.fsync(file)
        finally:
            os.close(file)
        new.rename(self._path)
        self._line_count, self._is_whole = len(changes), True


def _write(file: int, changes: Sequence[SessionChange]) -> None:
    """All of it, however little a disk that is nearly full takes at once. Raises OSError."""
    content = b"".join(msgspec.json.encode(change) + b"\n" for change in changes)
    while content:
        content = content[os.write(file, content) :]
