"""Gives what this node's store has to other nodes: to those that hold a certificate of the cluster, and a ticket.

Only whole files are given, each checked when it came. Who asks for one that is still on its way waits with us, as long
as anything comes. While a dataset is lent it does not go.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from hal_core.agent.bound import Bound
from hal_core.agent.store import Store
from hal_core.errors import Refused, WireError
from hal_core.wire import loans, messages, tls
from hal_core.wire.frames import FrameStream

PIECE_BYTES: Final = 256 << 10
READ_BYTES: Final = 4 << 20
LOANS_MAX: Final = 64
"""At the same time; others wait their turn."""
INTRODUCTION_S: Final = 10.0
WAIT_S: Final = 5.0
"""So often who waits is told that we are still at it."""
GIVE_UP_S: Final = 30.0
"""So long after anything came last, or after the ticket when nothing was ordered here yet, the borrower is sent on."""

log = logging.getLogger(__name__)


class Lending:
    """`port` is where it listens, once `run` has started; 0: nowhere."""

    def __init__(
        self, store: Store, tls_directory: Path, port: int = 0, now_s: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._tls_directory = tls_directory
        self._wanted_port = port
        self._now_s = now_s
        self._loans = trio.CapacityLimiter(LOANS_MAX)
        self.port = 0
        self.secret = secrets.token_bytes(loans.SECRET_BYTES)
        """Of this agent, as long as it lives."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. A port that cannot be had is no reason to run no jobs."""
        try:
            listeners = await trio.open_tcp_listeners(self._wanted_port)
        except OSError as error:
            log.warning("other nodes cannot read this node's store: port %d: %s", self._wanted_port, error)
            task_status.started()
            return
        listeners.sort(key=lambda each: each.socket.family != socket.AF_INET)
        self.port = listeners[0].socket.getsockname()[1]
        for each in listeners[1:]:  # with no port given, each address family got one of its own
            if each.socket.getsockname()[1] != self.port:
                await each.aclose()
        listeners = [each for each in listeners if each.socket.fileno() != -1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._serve, listeners)
            task_status.started()

    async def _serve(self, tcp: trio.SocketStream) -> None:
        """One connection, for one file."""
        async with tcp:
            try:
                async with self._loans:
                    stream = await tls.accept(tcp, tls.lender_context(self._tls_directory))
                    peer = tls.peer_of(stream)
                    if peer is None:
                        raise WireError("it showed no certificate")
                    async with FrameStream(stream, loans.FROM_BORROWER) as frames:
                        await self._lend(frames, peer.node)
            except (WireError, Refused, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.info("nothing more is lent to a peer: %s", error)

    async def _lend(self, frames: FrameStream, borrower: str) -> None:
        asked: list[loans.Borrow] = []
        with trio.move_on_after(INTRODUCTION_S):
            asked = await frames.receive()
        if not asked:
            raise WireError(f"node {borrower} did not say what it wants")
        try:
            await give(frames, self._store, self._checked(asked[0], borrower))
        except Refused as error:
            await frames.send(messages.Refusal(str(error)))

    def _checked(self, asked: loans.Borrow, borrower: str) -> loans.Borrow:
        if asked.protocol != messages.PROTOCOL_VERSION:
            raise Refused(f"protocol version {asked.protocol}; this node speaks {messages.PROTOCOL_VERSION}")
        if loans.is_over(asked.ticket, self._now_s()):
            raise Refused(f"the ticket of node {borrower} for {asked.dataset} is not good any more")
        if not loans.is_good(asked.ticket, self.secret, borrower, asked.dataset):
            log.warning("node %s has no ticket for %s", borrower, asked.dataset)
            raise Refused(f"node {borrower} has no ticket for {asked.dataset} here")
        if asked.offset < 0:
            raise Refused(f"there is nothing at {asked.offset}")
        return asked


async def give(
    frames: FrameStream, store: Store, asked: loans.Borrow, now_s: Callable[[], float] = trio.current_time
) -> None:
    """The file, as soon as it is here. Raises Refused if it is not, and does not come."""
    came, since_s = store.bytes_come, now_s()
    while (path := store.lendable(asked.dataset, asked.sha256)) is None:
        if store.bytes_come != came:
            came, since_s = store.bytes_come, now_s()
        elif now_s() - since_s > GIVE_UP_S:
            raise Refused(f"it is not in the store of this node, and nothing comes: {asked.dataset}")
        await frames.send(loans.Wait())
        with trio.move_on_after(WAIT_S):
            await store.change.wait()
    with store.lent(asked.dataset):
        await _send_file(frames, path, asked.offset, store.lending_bound)


async def _send_file(frames: FrameStream, path: Path, offset: int, bound: Bound) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            read = await trio.to_thread.run_sync(os.pread, descriptor, READ_BYTES, offset)
            if not read:
                return
            for at in range(0, len(read), PIECE_BYTES):
                piece = read[at : at + PIECE_BYTES]
                await frames.send(loans.Lent(piece))
                await bound.passed(len(piece))
            offset += len(read)
    finally:
        os.close(descriptor)
