"""What a session's client is told of its tasks: at once, or when it is on disk if the session is recoverable. Who comes
back is told again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hal_core.models.ranges import Ranges, RangeSet
from hal_core.sessions.journal import UNSYNCED_BYTES_MAX, SessionJournal
from hal_core.sessions.peer import Peer
from hal_core.wire.sessions import Dropped, Results, Said, encode

BACKLOG_BYTES_MAX: Final = 32 << 20
"""Beyond it no task is handed out until the client has read."""


def _nothing() -> None:
    pass


class Teller:
    """`on_told` is called when something is on disk and told."""

    def __init__(self, journal: SessionJournal | None, on_told: Callable[[], None]) -> None:
        self._journal = journal
        self._on_told = on_told
        self.client: Peer | None = None
        """Who is told; None while nobody is there."""
        self.dropped: dict[str, RangeSet] = {}
        """Tasks that will have no result, by reason."""

    def is_behind(self) -> bool:
        """Whether the client, or the disk, has too much to catch up with."""
        if self.client is not None and self.client.backlog_bytes > BACKLOG_BYTES_MAX:
            return True
        return self._journal is not None and self._journal.unsynced_bytes > UNSYNCED_BYTES_MAX

    def tell(self, message: Said) -> None:
        if self.client is not None:
            self.client.send(encode(message))

    def keep(self, message: Said, tell: Callable[[], None] = _nothing) -> None:
        """Have it on disk, and call `tell` then; a session that is not recoverable keeps nothing."""
        if self._journal is not None:
            self._journal.append(message, tell)

    def settle(self, message: Results | Dropped) -> None:
        if self._journal is None:
            self.tell(message)
        else:
            self._journal.append(message, lambda: self._tell_synced(message))

    def drop(self, tasks: Ranges, reason: str) -> None:
        """These tasks, if there are any, will have no result."""
        if tasks:
            self.dropped.setdefault(reason, RangeSet()).update(tasks)
            self.settle(Dropped(tasks, reason))

    async def tell_again(self, client: Peer, wanted: RangeSet) -> None:
        """What is settled of these tasks, as fast as the client takes it."""
        assert self._journal is not None
        for reason, tasks in self.dropped.items():
            if common := tasks.intersection(wanted.ranges()):
                client.send(encode(Dropped(common, reason)))
        for results in self._journal.results(wanted):
            client.send(encode(results))
            await client.flush()

    def _tell_synced(self, message: Results | Dropped) -> None:
        self.tell(message)
        self._on_told()
