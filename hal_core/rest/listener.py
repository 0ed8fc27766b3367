"""The HTTP server: accepts connections for any ASGI app, counts them by peer, and closes in good order.

It knows streams, not where they come from: the Unix socket is opened in `unix_socket.py`, and a TLS listener only
needs another `identify`. Who the peer is goes into the ASGI scope (`extensions["hal.peer"]`), never into headers.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from hal_core.rest.asgi import AsgiApp, Limits, Peer, error_body
from hal_core.rest.connection import Connection

log = logging.getLogger("hal.rest")

Identify = Callable[[trio.abc.Stream], Awaitable[Peer | None]]
"""Who is at the other end of an accepted stream; None drops the connection (it vanished, or its handshake failed)."""

_BUSY_BODY = error_body("unavailable", "too many connections; close some, or try again later")
_BUSY_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BUSY_BODY), _BUSY_BODY)
)


class Server:
    """Serves one ASGI app. One task for each connection, all children of `serve`."""

    def __init__(self, app: AsgiApp, limits: Limits, now_s: Callable[[], float]) -> None:
        self._app = app
        self._limits = limits
        self._now_s = now_s
        self._connections: set[Connection] = set()
        self._count_by_peer: Counter[str] = Counter()
        self._closing = trio.Event()

    @property
    def connection_count(self) -> int:
        return self._count_by_peer.total()

    def close(self) -> None:
        """Stop accepting; requests under way are finished, streams and waits are told to end. `serve` then returns."""
        self._closing.set()

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        identify: Identify,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `close` (in good order) or until cancelled (at once). Closes the listeners."""
        handler = partial(self._handle, identify)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, handler, list(listeners), handler_nursery=connections)
                await accepting.start(serve)
                task_status.started()
                await self._closing.wait()
                accepting.cancel_scope.cancel()
            connections.cancel_scope.deadline = trio.current_time() + self._limits.close_grace_s
            for connection in self._connections:
                connection.finish()

    async def _handle(self, identify: Identify, stream: trio.abc.Stream) -> None:
        peer = await identify(stream)
        if peer is None:
            await trio.aclose_forcefully(stream)
            return
        if not self.has_room(peer):
            await self._turn_away(stream)
            return
        connection = Connection(self._app, stream, peer, self._limits, self._now_s)
        self._count_by_peer[peer.key] += 1
        self._connections.add(connection)
        try:
            if self._closing.is_set():
                connection.finish()
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self._count_by_peer[peer.key] -= 1
            if not self._count_by_peer[peer.key]:
                del self._count_by_peer[peer.key]

    def has_room(self, peer: Peer) -> bool:
        limits = self._limits
        if peer.is_trusted:
            return self.connection_count < limits.connections_max
        reserved = min(limits.connections_reserved, limits.connections_max // 8)
        has_room = self.connection_count < limits.connections_max - reserved
        return has_room and self._count_by_peer[peer.key] < limits.connections_per_peer

    async def _turn_away(self, stream: trio.abc.Stream) -> None:
        """Say why in one write that cannot block a peer slot, and close."""
        with trio.move_on_after(self._limits.linger_s):
            try:
                await stream.send_all(_BUSY_ANSWER)
            except trio.BrokenResourceError:
                log.debug("a connection beyond the limit was gone before its answer")
        await trio.aclose_forcefully(stream)


def turn_away(connection: socket.socket) -> None:
    """The same for a fresh connection that does not block: its empty buffer takes the answer at once."""
    with suppress(OSError), connection:
        connection.send(_BUSY_ANSWER)
