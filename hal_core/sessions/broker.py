"""The broker: one process for each session, between its client and its workers. What it knows is in the ledger.

Each thing that happens (tasks came, results came, a worker came or went) is put into the ledger, and what follows goes
out in the same wake-up. Bounded: a client holds back by itself, a worker is given a window, and while a client does
not take its results, nobody is given more.
"""

from __future__ import annotations

import os
import socket
from typing import Final

import trio

from hal_core.errors import WireError
from hal_core.models.ranges import Ranges
from hal_core.sessions.ledger import Ledger, Policy
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.peer import Peer
from hal_core.sessions.starter import START, take_worker
from hal_core.wire.sessions import (
    PROTOCOL_VERSION,
    Ask,
    Batch,
    Cancel,
    Define,
    Dropped,
    Figures,
    Finish,
    Hello,
    Refusal,
    Results,
    Said,
    Submit,
    Welcome,
    encode,
)

CLIENT_BACKLOG_BYTES_MAX: Final = 32 << 20
"""Beyond it no task is handed out until the client has read."""
END_S_MAX: Final = 10.0
"""For the workers to leave when all is done, and for the client to take what is left."""
VAIN_STARTS_MAX: Final = 16
"""So many workers in a row that die before their first result: something is wrong with all of them."""


class Broker:
    """`run` is the whole life of a session."""

    def __init__(self, options: BrokerOptions, starter: socket.socket) -> None:
        self._options = options
        self._starter = starter
        self._ledger = Ledger()
        self._definitions: dict[int, bytes] = {}
        self._known: dict[Peer, set[int]] = {}
        self._client: Peer | None = None
        self._vain_starts = 0
        self._is_draining = False
        self._end = trio.Event()
        self._workers_gone = trio.Event()

    async def run(self, client: socket.socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_workers, nursery)
            nursery.start_soon(self._serve, client)
            await self._end.wait()
            with trio.move_on_after(END_S_MAX):
                if self._known and self._is_draining and self._ledger.is_settled():
                    for worker in self._known:
                        worker.finish()
                    await self._workers_gone.wait()
                if self._client is not None:
                    await self._client.flush()
            nursery.cancel_scope.cancel()

    async def _take_workers(self, nursery: trio.Nursery) -> None:
        """Workers that the starter has started."""
        self._starter.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(self._starter)
            taken = take_worker(self._starter)
            if taken is None:
                self._give_up("the process that starts workers is gone")
                return
            nursery.start_soon(self._serve, taken[0])

    async def _serve(self, connection: socket.socket) -> None:
        """One connection, from its Hello to its end."""
        peer = Peer(connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run_writer)
            try:
                messages = await peer.receive()
                if messages:
                    await self._introduced(peer, messages)
            except WireError as error:
                peer.send(encode(Refusal(str(error))))
                await peer.flush()
            finally:
                peer.close()
                nursery.cancel_scope.cancel()

    async def _introduced(self, peer: Peer, messages: list[Said]) -> None:
        hello = messages.pop(0)
        if not isinstance(hello, Hello):
            raise WireError(f"a {type(hello).__name__} before Hello")
        if hello.protocol != PROTOCOL_VERSION:
            raise WireError(f"protocol version {hello.protocol}; this broker speaks {PROTOCOL_VERSION}")
        peer.name, peer.pid = hello.name, hello.pid
        match hello.role:
            case "client":
                await self._serve_client(peer, messages)
            case "worker":
                await self._serve_worker(peer)
            case _:
                raise WireError(f"the unknown role {hello.role!r}")

    async def _serve_client(self, client: Peer, messages: list[Said] | None) -> None:
        self._client = client
        client.on_drained = self._pump
        client.send(encode(Welcome(self._options.session, self._ledger.counts.accepted)))
        try:
            while messages is not None:
                for message in messages:
                    self._hear_client(client, message)
                self._pump()
                messages = await client.receive()
        finally:
            self._client = None
            self._end.set()

    def _hear_client(self, client: Peer, message: Said) -> None:
        match message:
            case Submit(first=first, function=function, items=items):
                items.check()
                self._ledger.submit(first, function, items)
            case Define():
                self._ledger.define(message.number, Policy(message.retries, message.priority))
                self._definitions[message.number] = encode(message)
            case Cancel(tasks=tasks, does_kill=does_kill):
                dropped, to_kill = self._ledger.cancel(tasks, does_kill)
                self._tell_dropped(dropped, "cancelled")
                for worker in to_kill:
                    assert isinstance(worker, Peer)
                    os.kill(worker.pid, 9)
            case Finish(does_drain=does_drain):
                self._is_draining = True
                if not does_drain:
                    self._end.set()
            case Ask():
                client.send(encode(self.figures()))
            case _:
                raise WireError(f"unexpected {type(message).__name__} from a client")

    async def _serve_worker(self, worker: Peer) -> None:
        self._known[worker] = set()
        self._ledger.add_worker(worker)
        self._pump()
        try:
            while (messages := await worker.receive()) is not None:
                for message in messages:
                    if not isinstance(message, Results):
                        raise WireError(f"unexpected {type(message).__name__} from a worker")
                    message.values.check()
                    for settled in self._ledger.results(worker, message):
                        self._tell(settled)
                    self._vain_starts = 0
                self._pump()
        finally:
            self._lose_worker(worker)

    def _lose_worker(self, worker: Peer) -> None:
        del self._known[worker]
        aside, cancelled = self._ledger.lose_worker(worker)
        self._tell_dropped(aside, "every worker that had it died; it was set aside")
        self._tell_dropped(cancelled, "cancelled")
        self._vain_starts += 1
        if self._vain_starts > VAIN_STARTS_MAX:
            self._give_up(f"{self._vain_starts} workers in a row died before their first result")
        elif not self._end.is_set():
            self._starter.send(START)
            self._pump()
        elif not self._known:
            self._workers_gone.set()

    def _pump(self) -> None:
        """Hand out what can be handed out."""
        if self._client is not None and self._client.backlog_bytes > CLIENT_BACKLOG_BYTES_MAX:
            return
        for worker, tasks in self._ledger.batches():
            assert isinstance(worker, Peer)
            if tasks.function not in self._known[worker]:
                self._known[worker].add(tasks.function)
                worker.send(self._definitions[tasks.function])
            worker.send(encode(Batch(tasks.first, tasks.function, tasks.items)))
        if self._is_draining and self._ledger.is_settled():
            self._end.set()

    def _tell(self, message: Said) -> None:
        if self._client is not None:
            self._client.send(encode(message))

    def _tell_dropped(self, tasks: Ranges, reason: str) -> None:
        if tasks:
            self._tell(Dropped(tasks, reason))

    def _give_up(self, why: str) -> None:
        self._tell(Refusal(why))
        self._end.set()

    def figures(self) -> Figures:
        counts = self._ledger.counts
        return Figures(
            self._options.session,
            len(self._known),
            counts.waiting,
            counts.running,
            counts.done,
            counts.failed,
            counts.dropped,
            counts.retried,
            counts.lost,
        )
