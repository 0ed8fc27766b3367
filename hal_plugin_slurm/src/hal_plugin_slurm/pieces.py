"""Reading an answer about thousands of jobs, during which others get their turn: the daemon's loop is one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import trio

PIECE: Final = 200
"""Entries that are read at once: a few milliseconds."""

Raw = TypeVar("Raw")
Entry = TypeVar("Entry")


async def read_all(read: Callable[[Raw], Entry], raw: Iterable[Raw]) -> list[Entry]:
    """Raises what `read` does."""
    found: list[Entry] = []
    for each in raw:
        found.append(read(each))
        if len(found) % PIECE == 0:
            await trio.lowlevel.checkpoint()
    return found
