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

    def read(self) -> list[SessionChange]:
        """What is there, the latest last. A crash may have torn the last line: it is left out, and written over."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        changes = []
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):
                changes.append(msgspec.json.decode(line, type=SessionChange))
        if len(changes) < len(lines):
            self._rewrite(changes)
        self._line_count = len(changes)
        return changes[-KEPT_MAX:]

    def append(self, changes: Sequence[SessionChange], kept: Sequence[SessionChange]) -> None:
        """`kept` is all that need stay, with these. Raises OSError."""
        self._line_count += len(changes)
        if self._line_count > 2 * KEPT_MAX:
            self._rewrite(kept)
            return
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, _lines(changes))
        finally:
            os.close(file)

    def sync(self) -> None:
        """Raises OSError."""
        file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def _rewrite(self, changes: Sequence[SessionChange]) -> None:
        new = self._path.with_name(f".{self._path.name}")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, _lines(changes))
            os.fsync(file)
        finally:
            os.close(file)
        new.rename(self._path)
        self._line_count = len(changes)


def _lines(changes: Sequence[SessionChange]) -> bytes:
    return b"".join(msgspec.json.encode(change) + b"\n" for change in changes)
