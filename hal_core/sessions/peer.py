"""One connection of the broker, written to without waiting.

A message for a peer that reads goes straight into its socket; what does not fit is kept and follows when it can. So a
result passes the broker in one wake-up. Who fills the backlog looks at `backlog_bytes` before giving it more.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable

import trio

from hal_core.wire.sessions import READ_BYTES, Inbox, Said


class Peer:
    """`run_writer` must run as long as `send` is used. One task receives."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._inbox = Inbox()
        self._backlog: deque[memoryview] = deque()
        self._has_backlog = trio.Event()
        self._is_gone = False
        self.backlog_bytes = 0
        self.on_drained: Callable[[], None] = _nothing
        self.name = ""
        self.pid = 0

    def send(self, data: bytes) -> None:
        """Now, or as soon as the peer takes it; never if it is gone (then `receive` says so)."""
        if self._is_gone:
            return
        if not self._backlog:
            try:
                sent = self._connection.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._is_gone = True
                return
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]
        else:
            rest = memoryview(data)
        self._backlog.append(rest)
        self.backlog_bytes += len(rest)
        self._has_backlog.set()

    async def run_writer(self) -> None:
        """Send what did not fit, for ever. Returns when the peer is gone."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while True:
                await self._has_backlog.wait()
                await trio.lowlevel.wait_writable(self._connection)
                self._send_backlog()
        self._is_gone = True

    def _send_backlog(self) -> None:
        while self._backlog:
            first = self._backlog[0]
            try:
                sent = self._connection.send(first)
            except BlockingIOError:
                return
            self.backlog_bytes -= sent
            if sent < len(first):
                self._backlog[0] = first[sent:]
                return
            self._backlog.popleft()
        self._has_backlog = trio.Event()
        self.on_drained()

    async def receive(self) -> list[Said] | None:
        """The next messages; None when the peer is gone. Raises WireError for what is no message."""
        while True:
            try:
                await trio.lowlevel.wait_readable(self._connection)
                data = self._connection.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            if messages := self._inbox.feed(data):
                return messages

    async def flush(self) -> None:
        """Wait until everything is sent, or the peer is gone."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while self._backlog and not self._is_gone:
                await trio.lowlevel.wait_writable(self._connection)
                self._send_backlog()

    def finish(self) -> None:
        """Tell the peer that nothing more comes; it may still say something."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._is_gone = True
        trio.lowlevel.notify_closing(self._connection)
        self._connection.close()


def _nothing() -> None:
    pass
