"""Puts on record that a session's broker fell silent: whoever was told that it opened is told that it is no more."""

from __future__ import annotations

from typing import Final

import trio

from hal_core.errors import Unavailable
from hal_core.models.message import LoseSession
from hal_core.rest.port import Kernel
from hal_core.rest.session_book import SessionBook

LOOK_S: Final = 60.0
"""Between two looks. Who is silent at both is lost; also after a start, when all have this long to come back."""


async def watch_sessions(kernel: Kernel, book: SessionBook) -> None:
    """Until cancelled."""
    before: frozenset[LoseSession] = frozenset()
    while True:
        await trio.sleep(LOOK_S)
        before = await look(kernel, book, before)


async def look(kernel: Kernel, book: SessionBook, before: frozenset[LoseSession]) -> frozenset[LoseSession]:
    """Once. `before` is what the last look returned: those that were silent, at what they had said last."""
    lives, known = kernel.state.sessions.open(), book.known()
    silent = {
        LoseSession(each.user, each.session, each.number) for each in lives if (each.user, each.session) not in known
    }
    for message in sorted(silent & before, key=lambda each: (each.user, each.session)):
        try:
            await kernel.ask(message)
        except Unavailable:
            break  # The next look finds it again.
    return frozenset(silent)
