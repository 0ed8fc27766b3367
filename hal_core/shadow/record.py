"""The record of a shadow on disk: facts as lines of JSON, only ever added to. One process writes it at a time.

What a look added is on disk, synced, before the next look. A line that a crash left half is cut off when it is opened
for writing, and passed over when it is read. What has no end and does not begin as a fact is somebody else's file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

import msgspec

from hal_core.errors import Conflict, InvalidInput, Problem
from hal_core.shadow.facts import Fact
from hal_core.shadow.history import History

_DECODER = msgspec.json.Decoder(Fact)
_HEADS = tuple(f'{{"fact":"{kind.__name__}"'.encode() for kind in get_args(Fact))
"""With one of them each line begins."""


class Record:
    """A context manager: open for adding facts. `history` is that of all that it holds."""

    def __init__(self, path: Path) -> None:
        """Raises Conflict if another process writes it, InvalidInput if it is something else, OSError."""
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115  closed by __exit__
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise Conflict(f"{path} is written by another `hal shadow follow`; give another file") from None
        try:
            self.history = read_history(path)
            self._file.truncate(_whole(path))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, facts: Iterable[Fact]) -> None:
        """On disk when this returns."""
        some = list(facts)
        data = b"".join(msgspec.json.encode(fact) + b"\n" for fact in some)
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
        for fact in some:
            self.history.apply(fact)


def read_history(path: Path) -> History:
    """Raises InvalidInput, with the line, for what is no record; OSError."""
    history = History()
    for number, fact in enumerate(_facts(path), 1):
        try:
            history.apply(fact)
        except KeyError as error:
            raise InvalidInput([Problem(f"{path}:{number}", f"no line before this one tells of {error}")]) from None
    return history


def _facts(path: Path) -> Iterator[Fact]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                if not _begins_a_fact(line):
                    raise _no_record(path, number, "the last line has no end, and does not begin as one of its lines")
                return
            try:
                yield _DECODER.decode(line)
            except msgspec.MsgspecError as error:
                raise _no_record(path, number, str(error)) from None


def _begins_a_fact(line: bytes) -> bool:
    """However short it is: what a crash left of a line may be a part of its head."""
    return any(line[: len(head)] == head[: len(line)] for head in _HEADS)


def _no_record(path: Path, number: int, why: str) -> InvalidInput:
    text = f"this is no record of `hal shadow`: {why}; give a new file, or one that it wrote"
    return InvalidInput([Problem(f"{path}:{number}", text)])


def _whole(path: Path) -> int:
    """How many bytes its whole lines have."""
    data_size, tail = os.path.getsize(path), 1 << 16
    with open(path, "rb") as file:
        while data_size:
            begin = max(data_size - tail, 0)
            file.seek(begin)
            found = file.read(data_size - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            data_size = begin
    return 0
