"""A session has one client. Another may come back to a recoverable one, whether the earlier has gone or not.

What the earlier one had sent is heard to its end, and is on disk, before the later is told how many tasks there are:
the numbers from there on are its own.
"""

from __future__ import annotations

import contextlib

import trio

from hal_core.errors import WireError
from hal_core.sessions.journal import SessionJournal
from hal_core.sessions.peer import Peer
from hal_core.wire.sessions import Refusal, encode


class Seat:
    """Of the client."""

    def __init__(self, journal: SessionJournal | None) -> None:
        self._journal = journal
        self._taken: tuple[Peer, trio.Event] | None = None
        """By the latest client, and whether it has gone."""

    async def take(self, client: Peer) -> trio.Event:
        """Wait for it. Returns what to set when this client has gone. Raises WireError if it cannot be had."""
        before, gone = self._taken, trio.Event()
        if before is not None and self._journal is None:
            raise WireError("this session has a client, and it is not recoverable: nobody can take its place")
        self._taken = client, gone
        if before is not None and not before[1].is_set():
            before[0].send(encode(Refusal("another client has come back to this session", is_replaced=True)))
            before[0].stop_listening()
            await before[1].wait()
        if self._journal is not None:
            with contextlib.suppress(OSError):  # Who writes the journal says so, and ends the session.
                await self._journal.sync()
        return gone
