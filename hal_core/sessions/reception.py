"""Who may talk to a session's broker, and as what.

Three doors: sockets from the broker's own starter, for workers; the session's private directory, for processes of the
same user, as the kernel says; and TLS, for workers on other machines, who show the session's secret.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol

import trio

from hal_core.errors import WireError
from hal_core.sessions.peer import Peer
from hal_core.sessions.starter import take_worker
from hal_core.wire.sessions import PROTOCOL_VERSION, Hello, Refusal, Said, encode

if TYPE_CHECKING:
    from hal_core.sessions.node_workers import NodeWorkers

ROLES: Final = frozenset({"client", "worker", "visitor"})
WORKER_ONLY: Final = frozenset({"worker"})
HELLO_TIMEOUT_S: Final = 30.0
PEER_CREDENTIALS: Final = struct.Struct("3i")


class Host(Protocol):
    """The broker, as far as it is seen from here."""

    def admit_worker(self, peer: Peer, secret: str) -> None: ...
    async def serve_client(self, client: Peer, messages: list[Said] | None, nursery: trio.Nursery) -> None: ...
    async def serve_worker(self, worker: Peer) -> None: ...
    async def serve_visitor(self, visitor: Peer, messages: list[Said] | None) -> None: ...


class Reception:
    """Each connection is a task of the nursery, from its Hello to its end."""

    def __init__(self, host: Host, nursery: trio.Nursery) -> None:
        self._host = host
        self._nursery = nursery

    async def take_workers(self, starter: socket.socket) -> None:
        """Those that the starter has started; until it is gone."""
        starter.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(starter)
            if (taken := take_worker(starter)) is None:
                return
            peer = Peer(taken[0])
            peer.is_local = True
            self._nursery.start_soon(self.serve, peer, WORKER_ONLY)

    async def listen(self, listener: socket.socket) -> None:
        """The directory's socket: clients that come back, visitors, and workers of this machine."""
        listener.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(listener)
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                if owner_of(connection) in (os.geteuid(), 0):
                    self._nursery.start_soon(self.serve, Peer(connection))
                else:
                    connection.close()

    async def listen_to_nodes(self, nodes: NodeWorkers) -> None:
        nodes.listener.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(nodes.listener)
            with contextlib.suppress(OSError):
                connection, _ = nodes.listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                secured = nodes.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._nursery.start_soon(self._serve_stranger, Peer(secured))

    async def _serve_stranger(self, peer: Peer) -> None:
        try:
            await peer.shake_hands()
        except (OSError, trio.TooSlowError):
            peer.close()
        else:
            await self.serve(peer, WORKER_ONLY)

    async def serve(self, peer: Peer, roles: frozenset[str] = ROLES) -> None:
        """One connection; it may have one of these roles."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run_writer)
            try:
                messages = None
                with trio.move_on_after(HELLO_TIMEOUT_S):
                    messages = await peer.receive()
                if messages:
                    await self._hear(peer, messages, nursery, roles)
            except WireError as error:
                peer.send(encode(Refusal(str(error))))
                await peer.flush()
            finally:
                peer.close()
                nursery.cancel_scope.cancel()

    async def _hear(self, peer: Peer, messages: list[Said], nursery: trio.Nursery, roles: frozenset[str]) -> None:
        hello = messages.pop(0)
        if not isinstance(hello, Hello):
            raise WireError(f"a {type(hello).__name__} before Hello")
        if hello.protocol != PROTOCOL_VERSION:
            raise WireError(f"protocol version {hello.protocol}; this broker speaks {PROTOCOL_VERSION}")
        if hello.role not in roles:
            raise WireError(f"the role {hello.role!r} is not for you")
        peer.name, peer.pid, peer.host = hello.name, hello.pid, hello.host
        match hello.role:
            case "client":
                await self._host.serve_client(peer, messages, nursery)
            case "visitor":
                await self._host.serve_visitor(peer, messages)
            case _:
                self._host.admit_worker(peer, hello.secret)
                await self._host.serve_worker(peer)


def owner_of(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
    _, uid, _ = PEER_CREDENTIALS.unpack(packed)
    return int(uid)
