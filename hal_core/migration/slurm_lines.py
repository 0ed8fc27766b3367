"""Slurm's configuration files as records: comments, continued lines, included files, words with quotes. Pure but for
reading the files.

Keys are compared in lower case, as Slurm does; what is reported to people is as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from hal_core.errors import InvalidInput, Problem

BYTES_MAX = 64 << 20
INCLUDES_MAX = 8
_WORD = re.compile(r"""([\w./:-]+)\s*\+?=\s*("[^"]*"|'[^']*'|\S*)""")


@attrs.frozen
class Record:
    """One line: its words, by lower-case key, in order. `written` has the keys as they stand in the file."""

    place: str
    words: dict[str, str]
    written: dict[str, str]

    @property
    def kind(self) -> str:
        """The first key: what a line of a node, a partition or a switch begins with."""
        return next(iter(self.words), "")


def read_records(path: Path, depth: int = 0) -> Iterator[Record]:
    """All lines of a file and of those that it includes. Raises InvalidInput, naming what cannot be read."""
    for number, line in _lines(read_text(path)):
        place = f"{path.name}:{number}"
        if line.lower().startswith("include ") and "=" not in line:
            if depth == INCLUDES_MAX:
                raise InvalidInput([Problem(place, f"files include one another more than {INCLUDES_MAX} deep")])
            yield from read_records(path.parent / line.split(None, 1)[1].strip(), depth + 1)
            continue
        found = _WORD.findall(line)
        if not found:
            raise InvalidInput([Problem(place, f"{line[:80]!r} is not Key=Value, as lines of Slurm's files are")])
        words = {key.lower(): value.strip("\"'") for key, value in found}
        yield Record(place, words, {key.lower(): key for key, _ in found})


def read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    if len(data) > BYTES_MAX:
        raise InvalidInput([Problem(str(path), f"has {len(data)} bytes; no configuration has more than {BYTES_MAX}")])
    return data.decode("utf-8", "replace")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number of the first line, text) without comments, with continued lines as one."""
    held, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"(^|(?<!\\))#.*", "", line).rstrip()
        first = first or number
        if bare.endswith("\\"):
            held += bare[:-1] + " "
            continue
        whole = (held + bare).strip()
        if whole:
            yield first, whole
        held, first = "", 0


def is_yes(text: str) -> bool:
    return text.lower() in ("yes", "y", "true", "1", "on")
