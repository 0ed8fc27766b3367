"""The broker: one process for each session, between its client and its workers. What it knows is in the ledger.

Each thing that happens (tasks came, results came, a worker came or went) is put into the ledger, and what follows goes
out in the same wake-up. Bounded: a client holds back by itself, a worker is given a window, and while a client does
not take its results, nobody is given more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

import trio
from msgspec import structs

from hal_core.client.session_shared import common_data
from hal_core.errors import HalError, WireError
from hal_core.models.ranges import RangeSet, count_of, format_ranges
from hal_core.models.session import SessionChangeKind
from hal_core.sessions.chronicle import Chronicle
from hal_core.sessions.glance import figures_of
from hal_core.sessions.host_rests import HostRests
from hal_core.sessions.journal import SessionJournal
from hal_core.sessions.ledger import Ledger
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.pace import Rate
from hal_core.sessions.peer import Peer
from hal_core.sessions.reception import Reception
from hal_core.sessions.recovery import recover
from hal_core.sessions.seat import Seat
from hal_core.sessions.slices import Policy
from hal_core.sessions.starter import START
from hal_core.sessions.teller import Teller
from hal_core.wire.sessions import (
    Accepted,
    Adjust,
    Adjusted,
    Ask,
    Batch,
    Cancel,
    Data,
    Define,
    Figures,
    Finish,
    GivenBack,
    Leaving,
    Need,
    Rank,
    Refusal,
    Results,
    Said,
    Submit,
    Want,
    Welcome,
    encode,
)

if TYPE_CHECKING:  # It brings cryptography, which only those need who have a daemon.
    from hal_core.sessions.node_workers import NodeWorkers

CLIENT_S_MAX: Final = 60.0
"""For a client to come: who started us may have died before."""
END_S_MAX: Final = 10.0
"""For the workers to leave when all is done, and for the client to take what is left."""
VAIN_STARTS_MAX: Final = 16
"""So many workers in a row that die before their first result: something is wrong with all of them."""


class Broker:
    """`run` is the whole life of a session, or what a client and a crash left of one."""

    def __init__(
        self,
        options: BrokerOptions,
        starter: socket.socket,
        journal: SessionJournal | None = None,
        nodes: NodeWorkers | None = None,
    ) -> None:
        self._options = options
        self._starter = starter
        self._journal = journal
        self._nodes = nodes
        self._chronicle = Chronicle(options.directory, self.figures)
        if nodes is not None:
            nodes.on_trouble, nodes.chronicle = self._tell_figures, self._chronicle
        self._ledger = Ledger()
        self._definitions: dict[int, bytes] = {}
        self._known: dict[Peer, set[int]] = {}
        self._leaving: set[Peer] = set()
        self._teller = Teller(journal, self._pump)
        self._seat = Seat(journal)
        self._rests = HostRests(self._ledger.hosts, self._teller, self._chronicle, self._pump)
        self._vain_starts = 0
        self._rate = Rate(0.0)
        self._why_ended = ""
        """From outside: the client is told."""
        self._why_over = ""
        """By itself: it is on record."""
        self._has_begun = trio.Event()
        """There is a client, or there was, or none came in time."""
        self._is_draining = False
        self._end = trio.Event()
        self._has_work = trio.Event()
        self._workers_gone = trio.Event()

    async def run(self, client: socket.socket | None, listener: socket.socket | None = None) -> None:
        self._rate = Rate(trio.current_time())
        self._note(SessionChangeKind.RECOVERED if self._chronicle.is_old else SessionChangeKind.OPENED)
        async with trio.open_nursery() as nursery:
            if self._journal is not None:
                recover(self._journal, self._ledger, self._define, self._teller.dropped)
                nursery.start_soon(self._write_journal, self._journal)
                nursery.start_soon(self._expect_client)
            self._rests.nursery = nursery
            nursery.start_soon(self._chronicle.run)
            reception = Reception(self, nursery)
            nursery.start_soon(self._take_workers, reception)
            if client is not None:
                nursery.start_soon(reception.serve, Peer(client))
            if listener is not None:
                nursery.start_soon(reception.listen, listener)
            if self._nodes is not None:
                nursery.start_soon(reception.listen_to_nodes, self._nodes)
                nursery.start_soon(self._have_workers, self._nodes)
            await self._end.wait()
            await self._finish()
            nursery.cancel_scope.cancel()

    async def _expect_client(self) -> None:
        """What is left is done without one; then we go."""
        await trio.sleep(CLIENT_S_MAX)
        self._has_begun.set()
        self._pump()

    async def _write_journal(self, journal: SessionJournal) -> None:
        try:
            await journal.run()
        except OSError as error:
            self._give_up(f"the session's journal cannot be written: {error.strerror}")

    async def _finish(self) -> None:
        """The end in good order: workers leave when all is done, and all that was settled is on disk and told."""
        with trio.move_on_after(END_S_MAX):
            for worker in self._known:
                worker.send(encode(Finish(True)))
            if self._nodes is not None:
                await self._nodes.end({worker.name for worker in self._known})
            if self._known and self._ledger.is_settled():
                await self._workers_gone.wait()
            if self._journal is not None:
                with contextlib.suppress(OSError):  # Then it was said already, and nobody was told what is not there.
                    await self._journal.sync()
            if (client := self._teller.client) is not None:
                if self._why_ended:
                    self._teller.tell(Refusal(self._why_ended))
                await client.flush()
        is_parked = self._journal is not None and not (self._is_draining or self._why_over)
        kind = SessionChangeKind.PARKED if is_parked else SessionChangeKind.CLOSED
        self._chronicle.end(kind, self._why_ended or self._why_over)
        if self._nodes is not None:
            await self._nodes.tell_end()

    async def _have_workers(self, nodes: NodeWorkers) -> None:
        """The job of the workers, which should not end before us. Who comes back for results only needs none, and that
        there can be none must have somebody to tell it to."""
        await self._has_begun.wait()
        if self._ledger.counts.accepted and self._ledger.is_settled():
            await self._has_work.wait()
        self._give_up(await nodes.run())

    async def _take_workers(self, reception: Reception) -> None:
        """Those that the starter has started."""
        await reception.take_workers(self._starter)
        self._give_up("the process that starts workers is gone")

    def admit_worker(self, peer: Peer, secret: str) -> None:
        """Raises WireError. A secret is good for one worker at a time: that element of the job, in that attempt."""
        if peer.is_local:
            return
        if self._nodes is None or not self._nodes.is_secret(secret):
            raise WireError("you are no worker of this session")
        if any(each.name == peer.name for each in self._known):
            raise WireError(f"worker {peer.name} is here already")
        self._nodes.note(peer.name)

    async def serve_client(self, client: Peer, messages: list[Said] | None, nursery: trio.Nursery) -> None:
        """Of a recoverable session the client says first what it wants to be told; until then it is told nothing."""
        gone = await self._seat.take(client)
        if self._chronicle.is_old or self._has_begun.is_set():
            self._note(SessionChangeKind.CLIENT_RETURNED)
        client.on_drained = self._pump
        if self._journal is None:
            self._seat_client(client)
        welcome = Welcome(self._options.session, self._ledger.counts.accepted, len(self._definitions))
        client.send(encode(welcome))
        try:
            while messages is not None:
                for message in messages:
                    if isinstance(message, Want):
                        self._seat_client(client)
                        nursery.start_soon(self._teller.tell_again, client, RangeSet(message.tasks))
                    else:
                        self._hear_client(client, message)
                self._pump()
                messages = await client.receive()
        finally:
            if self._teller.client is client:
                self._teller.client = None
            if self._journal is None:
                self._end_with("its client has gone")
            elif not self._end.is_set():
                self._note(SessionChangeKind.CLIENT_LEFT)
            gone.set()
            self._has_begun.set()  # Also if it went before it said what it wants.
            self._pump()

    def _seat_client(self, client: Peer) -> None:
        """From here on it is told what happens."""
        self._teller.client = client
        self._has_begun.set()
        if self._nodes is not None and self._nodes.trouble:
            self._tell_figures()

    async def serve_visitor(self, visitor: Peer, messages: list[Said] | None) -> None:
        """Somebody who looks in, or wants the session to end."""
        while messages is not None:
            for message in messages:
                if not isinstance(message, Ask | Finish | Cancel | Rank | Adjust):
                    raise WireError(f"unexpected {type(message).__name__} from a visitor")
                if isinstance(message, Adjust):
                    visitor.send(encode(await self._adjust(message)))
                    continue
                if isinstance(message, Finish):
                    self._why_ended = f"the session was {'drained' if message.does_drain else 'cancelled'} from outside"
                self._hear_client(visitor, message)
            self._pump()
            messages = await visitor.receive()

    async def _adjust(self, wanted: Adjust) -> Adjusted | Refusal:
        if self._nodes is None:
            return Refusal("its workers are processes of this machine, no job that could be set otherwise; name a tag")
        try:
            done = await self._nodes.adjust(wanted, {worker.name for worker in self._known})
        except HalError as error:
            return Refusal(str(error))
        self._note(SessionChangeKind.SETTINGS_CHANGED, done)
        return Adjusted(done)

    def _hear_client(self, client: Peer, message: Said) -> None:
        match message:
            case Submit(first=first, function=function, items=items):
                items.check()
                self._has_work.set()
                if self._ledger.submit(first, function, items):
                    stop = self._ledger.counts.accepted
                    self._teller.keep(message, lambda: client.send(encode(Accepted(stop))))
            case Define():
                if (known := self._definitions.get(message.number)) is None:
                    self._define(message)
                    self._teller.keep(message)
                elif known != encode(message):
                    raise WireError(f"function {message.number} was another one before")
            case Rank(tag=tag, priority=priority):
                self._ledger.rank(tag, priority)
                self._teller.keep(message)
                self._note(SessionChangeKind.SETTINGS_CHANGED, f"priority {priority} for tag {tag}")
            case Cancel(tasks=tasks, does_kill=does_kill, tag=tag):
                dropped, to_kill = self._ledger.cancel(tasks, does_kill, tag)
                self._teller.drop(dropped, "cancelled")
                for worker in to_kill:
                    assert isinstance(worker, Peer)
                    if worker.is_local:
                        os.kill(worker.pid, signal.SIGKILL)
                    else:
                        worker.close()  # It is lost to us, and finishes in vain.
            case Finish(does_drain=does_drain):
                self._is_draining = True
                self._note(SessionChangeKind.DRAINING if does_drain else SessionChangeKind.CANCELLED)
                if not does_drain:
                    self._end_with("cancelled")
            case Ask(number=number):
                client.send(encode(structs.replace(self.figures(), number=number)))
            case _:
                raise WireError(f"unexpected {type(message).__name__} from a client")

    def _define(self, message: Define) -> None:
        self._ledger.define(message.number, Policy(message.retries, message.priority, message.tags))
        self._definitions[message.number] = encode(message)

    async def serve_worker(self, worker: Peer) -> None:
        if self._end.is_set():
            worker.send(encode(Finish(True)))
            return
        self._known[worker] = set()
        self._ledger.add_worker(worker, worker.host)
        self._note(SessionChangeKind.WORKERS_JOINED)
        self._pump()
        try:
            while (messages := await worker.receive()) is not None:
                for message in messages:
                    if isinstance(message, Leaving):
                        self._let_go(worker)
                        continue
                    if isinstance(message, GivenBack):
                        worker.turn += 1
                        self._teller.drop(self._ledger.give_back(worker, message.kept_count), "cancelled")
                        continue
                    if isinstance(message, Need):
                        worker.send(encode(Data(message.digest, common_data(self._options.directory, message.digest))))
                        continue
                    if not isinstance(message, Results):
                        raise WireError(f"unexpected {type(message).__name__} from a worker")
                    message.values.check()
                    for settled in self._ledger.results(worker, message):
                        self._settle(settled)
                    self._vain_starts = 0
                self._pump()
        finally:
            self._lose_worker(worker)

    def _let_go(self, worker: Peer) -> None:
        """It may finish what it is at; its other tasks come back with its end."""
        self._leaving.add(worker)
        self._ledger.stop_worker(worker)
        if self._ledger.is_idle(worker):
            worker.close()

    def _lose_worker(self, worker: Peer) -> None:
        del self._known[worker]
        if not self._end.is_set():
            self._note(SessionChangeKind.WORKERS_LEFT)
        if worker in self._leaving:
            self._leaving.discard(worker)
            self._teller.drop(self._ledger.release_worker(worker), "cancelled")
            self._pump()
            return
        aside, cancelled = self._ledger.lose_worker(worker)
        self._teller.drop(aside, "every worker that had it died; it was set aside")
        if aside:
            self._note(SessionChangeKind.TASKS_SET_ASIDE, f"task {format_ranges(aside)}", count_of(aside))
        self._teller.drop(cancelled, "cancelled")
        self._vain_starts += worker.is_local
        if self._vain_starts > VAIN_STARTS_MAX:
            self._give_up(f"{self._vain_starts} workers in a row died before their first result")
        elif not self._end.is_set():
            with contextlib.suppress(OSError):  # The starter is gone, and we shall hear of it.
                if worker.is_local:
                    self._starter.send(START)
            self._pump()
        elif not self._known:
            self._workers_gone.set()

    def _pump(self) -> None:
        """Hand out what can be handed out, and end when that was all."""
        if self._teller.is_behind():
            return
        self._rests.look()
        for worker, tasks in self._ledger.batches():
            assert isinstance(worker, Peer)
            if tasks.function not in self._known[worker]:
                self._known[worker].add(tasks.function)
                worker.send(self._definitions[tasks.function])
            worker.send(encode(Batch(tasks.first, tasks.function, tasks.items, worker.turn)))
        # A recoverable session that nobody waits for is over when its tasks are: its journal has all that there is.
        is_unwanted = self._is_draining or self._teller.client is None
        if self._has_begun.is_set() and is_unwanted and self._ledger.is_settled():
            self._end.set()

    def _settle(self, results: Results) -> None:
        self._rate.note(len(results.values), trio.current_time())
        self._teller.settle(results)

    def _give_up(self, why: str) -> None:
        self._teller.tell(Refusal(why))
        self._end_with(why)

    def _end_with(self, why: str) -> None:
        """It is over because of that, unless it was over before."""
        if not self._end.is_set():
            self._why_over = why
            self._end.set()

    def _note(self, kind: SessionChangeKind, detail: str = "", count: int = 1) -> None:
        present = sum(worker not in self._leaving for worker in self._known)
        self._chronicle.note(kind, detail, count, present)

    def figures(self) -> Figures:
        present = [worker.host for worker in self._known if worker not in self._leaving]
        rate_per_s = self._rate.per_s(trio.current_time())
        figures = figures_of(self._options.session, self._ledger, present, rate_per_s)
        return figures if self._nodes is None else self._nodes.shown(figures)

    def _tell_figures(self) -> None:
        self._teller.tell(self.figures())
