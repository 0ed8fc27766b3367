"""The daemon's TCP port for agents: who may come in, as which node, and how a new node gets its certificate.

Whoever is let in is bound to the node that its certificate names. Every refusal is counted and logged with the peer's
address: somebody trying keys should be seen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from hal_core.errors import Refused, WireError
from hal_core.models.access import AccessChange
from hal_core.models.message import NoteAccess
from hal_core.wire import messages, tls
from hal_core.wire.authority import Authority
from hal_core.wire.frames import FrameStream

HANDSHAKES_MAX, HANDSHAKES_PER_HOST_MAX = 64, 16
"""At the same time; others wait their turn. More would only make each slower when thousands come at once, and no single
host can take all turns."""
ENROL_TIMEOUT_S: Final = 10.0
REVIEW_PERIOD_S: Final = 2.0
"""How often the list of revoked certificates and the daemon's own one are looked at."""

log = logging.getLogger("hal.door")


@attrs.frozen
class Guest:
    """A connection that was let in. `renew` gives the node's next certificate."""

    stream: trio.SSLStream[trio.SocketStream]
    node: str
    serial: int
    renew: Callable[[bytes], bytes]


Serve = Callable[[Guest], Awaitable[None]]
Note = Callable[[NoteAccess], Awaitable[None]]
"""Returns when it is on record."""


class Door:
    """Raises Refused if the authority is missing or its files are open to others. `alarm` counts what is refused."""

    def __init__(self, directory: Path, alarm: Callable[[str], None], now_s: Callable[[], float] = time.time) -> None:
        self._authority = Authority(directory)
        self._authority.renew_daemon(now_s())
        self._context = tls.daemon_context(directory)
        self._alarm = alarm
        self._now_s = now_s
        self._handshakes = trio.CapacityLimiter(HANDSHAKES_MAX)
        self._turns: dict[str, tuple[trio.CapacityLimiter, int]] = {}
        """By host: its limiter, and how many of its connections hold it or wait for it."""
        self._revoked = self._authority.revoked()
        """Serials whose revocation was noted, or is older than this daemon."""
        self._guests: dict[int, set[trio.CancelScope]] = {}
        """What serves the holders of each certificate."""

    async def admit(self, tcp: trio.SocketStream, serve: Serve, note: Note) -> None:
        """Serve one connection to its end: by `serve`, if it is let in."""
        async with tcp:
            guest = await self._let_in(tcp, peer_name(tcp), note)
            if guest is not None:
                await self._host(guest, serve)

    async def _let_in(self, tcp: trio.SocketStream, where: str, note: Note) -> Guest | None:
        try:
            async with self._turn(where.rpartition(":")[0]), self._handshakes:
                stream = await tls.accept(tcp, self._context)
                peer = tls.peer_of(stream)
                if peer is None:
                    await self._enrol(stream, where, note)
                    return None
        except (WireError, trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self._refuse("handshake", f"closing the connection of {where}: {error}")
            return None
        if peer.serial in self._authority.revoked():
            self._refuse("revoked", f"{where} shows a revoked certificate of node {peer.node}")
            return None
        return Guest(stream, peer.node, peer.serial, self._renewal(peer.node, peer.serial))

    @asynccontextmanager
    async def _turn(self, host: str) -> AsyncIterator[None]:
        """One of the host's own turns."""
        limiter, count = self._turns.get(host, (trio.CapacityLimiter(HANDSHAKES_PER_HOST_MAX), 0))
        self._turns[host] = (limiter, count + 1)
        try:
            async with limiter:
                yield
        finally:
            limiter, count = self._turns[host]
            if count > 1:
                self._turns[host] = (limiter, count - 1)
            else:
                del self._turns[host]

    async def review(self, note: Note) -> None:
        """Until cancelled: end the connections of certificates that were revoked; keep the daemon's own one fresh."""
        while True:
            await trio.sleep(REVIEW_PERIOD_S)
            revoked = self._authority.revoked()
            for serial in self._guests.keys() & revoked:
                for scope in self._guests[serial]:
                    scope.cancel()
            await self._note_revoked(revoked, note)
            if self._authority.renew_daemon(self._now_s()):
                directory = self._authority.directory
                self._context.load_cert_chain(str(directory / "daemon.pem"), str(directory / "daemon.key"))

    async def _note_revoked(self, revoked: frozenset[int], note: Note) -> None:
        fresh, self._revoked = revoked - self._revoked, revoked
        whose = self._authority.revocations() if fresh else {}
        for serial in sorted(fresh):
            node, by = whose[serial]
            await note(NoteAccess(AccessChange.NODE_REVOKED, node, by, f"certificate {serial:x}"))

    async def _host(self, guest: Guest, serve: Serve) -> None:
        scopes = self._guests.setdefault(guest.serial, set())
        with trio.CancelScope() as scope:
            scopes.add(scope)
            try:
                await serve(guest)
            finally:
                scopes.discard(scope)
                if not scopes:
                    del self._guests[guest.serial]
        if scope.cancelled_caught:
            self._refuse("revoked", f"the certificate of node {guest.node} was revoked: its connection is closed")

    async def _enrol(self, stream: trio.SSLStream[trio.SocketStream], where: str, note: Note) -> None:
        frames = FrameStream(stream, messages.FROM_STRANGER)
        with trio.move_on_after(ENROL_TIMEOUT_S):
            received = await frames.receive()
            if not received:
                return
            enrol = received[0]
            try:
                if enrol.protocol != messages.PROTOCOL_VERSION:
                    raise Refused(f"protocol version {enrol.protocol}; this daemon: {messages.PROTOCOL_VERSION}")
                enrolled = self._authority.enrol(enrol.secret, enrol.request, self._now_s())
            except Refused as error:
                self._refuse("token", f"{where} may not join: {error}")
                await frames.send(messages.Refusal(str(error)))
                return
            await note(NoteAccess(AccessChange.NODE_ENROLLED, enrolled.node, enrolled.by, f"from {where}"))
            log.info("node %s has joined from %s", enrolled.node, where)
            await frames.send(messages.Certificate(enrolled.pem))

    def _renewal(self, node: str, serial: int) -> Callable[[bytes], bytes]:
        def renew(request: bytes) -> bytes:
            try:
                return self._authority.renew(node, serial, request, self._now_s())
            except Refused as error:
                raise WireError(str(error)) from None

        return renew

    def _refuse(self, kind: str, text: str) -> None:
        self._alarm(kind)
        log.warning("%s", text)


def peer_name(tcp: trio.SocketStream) -> str:
    try:
        host, port = tcp.socket.getpeername()[:2]
    except OSError:
        return "an unknown address"
    return f"{host}:{port}"
