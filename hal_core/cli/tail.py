"""Copying a growing file to the terminal, for `hal run` and `hal logs`. When to look again is the caller's matter."""

from __future__ import annotations

import os
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, TextIO

PIECE_BYTES = 1024 * 1024


class Tail:
    """Copies what was appended to a file since the last time. A file that a new attempt has cut starts again."""

    def __init__(self, path: str, stream: TextIO) -> None:
        self._path = path
        self._start: Callable[[IO[bytes]], int] | None = None
        self._stream = stream
        self._file: IO[bytes] | None = None

    def start_at(self, find: Callable[[IO[bytes]], int]) -> None:
        """Begin where `find` says, once the file is there."""
        self._start = find

    def copy(self) -> bool:
        """Whether there was anything new."""
        if self._file is None:
            try:
                self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115  closed by close()
            except FileNotFoundError:
                return False
            if self._start is not None:
                self._file.seek(self._start(self._file))
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
        was_moved = False
        while piece := self._file.read(PIECE_BYTES):
            was_moved = True
            if self._stream is not None:
                self._stream.buffer.write(piece)
                self._stream.buffer.flush()
        return was_moved

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
