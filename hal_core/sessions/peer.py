"""One connection of the broker, written to without waiting.

A message for a peer that reads goes straight into its socket; what does not fit is kept and follows when it can. So a
result passes the broker in one wake-up. Who fills the backlog looks at `backlog_bytes` before giving it more.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from hal_core.wire.sessions import READ_BYTES, Inbox, Said

HANDSHAKE_TIMEOUT_S: Final = 10.0
NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Peer:
    """`run_writer` must run as long as `send` is used. One task receives."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._inbox = Inbox()
        self._backlog: deque[memoryview] = deque()
        self._has_backlog = trio.Event()
        self._is_gone = self._is_closed = False
        self.backlog_bytes = 0
        self.on_drained: Callable[[], None] = _nothing
        self.is_local = False
        """It was started here, by the starter."""
        self.name = self.host = ""
        self.pid = self.turn = 0

    def send(self, data: bytes) -> None:
        """Now, or as soon as the peer takes it; never if it is gone (then `receive` says so)."""
        if self._is_gone:
            return
        if not self._backlog:
            try:
                sent = self._connection.send(data)
            except NOT_NOW:
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
            except NOT_NOW:
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
        while not self._is_closed:
            try:
                if not (isinstance(self._connection, ssl.SSLSocket) and self._connection.pending()):
                    await trio.lowlevel.wait_readable(self._connection)
                data = self._connection.recv(READ_BYTES)
            except NOT_NOW:
                continue
            except (OSError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            if messages := self._inbox.feed(data):
                return messages
        return None

    async def flush(self) -> None:
        """Wait until everything is sent, or the peer is gone."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while self._backlog and not self._is_gone:
                await trio.lowlevel.wait_writable(self._connection)
                self._send_backlog()

    async def shake_hands(self) -> None:
        """Of TLS. Raises OSError or trio.TooSlowError."""
        assert isinstance(self._connection, ssl.SSLSocket)
        with trio.fail_after(HANDSHAKE_TIMEOUT_S):
            while True:
                try:
                    self._connection.do_handshake()
                    return
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(self._connection)
                except ssl.SSLWantWriteError:
                    await trio.lowlevel.wait_writable(self._connection)

    def stop_listening(self) -> None:
        """It can send no more; what it has sent is received, then its end."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Whoever receives is told that it is the end. Again and again, by any task."""
        if self._is_closed:
            return
        self._is_gone = self._is_closed = True
        trio.lowlevel.notify_closing(self._connection)
        self._connection.close()


def _nothing() -> None:
    pass
