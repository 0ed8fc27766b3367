"""The daemon's side of bare metal: agents connect, introduce their node, take orders and report.

It keeps connections and nothing else. What runs where is the core's knowledge; what really happened is in the nodes'
records, and every (re)connection tells all of them. When a silent node is given up is the cluster's rule, not ours.
Two ways in: a Unix socket for agents on this machine, and one TCP port with mutual TLS, where an agent may only be the
node that its certificate names. All below `_converse` is the same.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import stat
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from hal_core import (
    PEER,
    TICKET_S,
    AgentLink,
    AttemptKey,
    Brought,
    CancelOrder,
    CopiesReported,
    Dataset,
    Delivery,
    Introduction,
    Inventory,
    KeepOrder,
    LaunchOrder,
    Leaving,
    LinkLost,
    Loan,
    Made,
    NodeLeaving,
    NodeName,
    NodeReported,
    NodeSilent,
    Options,
    OutputsMade,
    PartsChanged,
    Report,
    SuspendOrder,
    TellUse,
    TerminalOffer,
    Terminals,
    Unavailable,
    Use,
    UserError,
    WireError,
    make_ticket,
    parse_address,
    structure_options,
)
from hal_executor_metal.alarms import Alarms
from hal_executor_metal.deliveries import Deliveries

LISTEN_BACKLOG = 512

if TYPE_CHECKING:
    from hal_core import Door, Guest  # loaded only where agents come over TCP: it brings cryptography

log = logging.getLogger("hal.metal")


def _is_address(_: object, field: attrs.Attribute[str], value: str) -> None:
    if value:
        parse_address(value)


@attrs.frozen
class MetalOptions:
    """`socket` is where agents on this machine connect, `listen` (host:port) where all others do, if it is given.

    `heartbeat_s`: three of them missed means that contact is lost. `use_s`: so often nodes say what running attempts
    use of their CPUs and memory; 0: never. The daemon fills in `authority` (the directory of
    the certificate authority), `lease_s` (how long a node without contact may keep jobs that can be requeued) and
    `epoch` (the number of this run of the daemon, which every order carries: nodes refuse those of an older one).
    """

    socket: str
    listen: str = attrs.field(default="", validator=_is_address)
    authority: str = ""
    heartbeat_s: float = attrs.field(default=5.0, validator=attrs.validators.gt(0.0))
    use_s: float = attrs.field(default=15.0, validator=attrs.validators.ge(0.0))
    lease_s: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    epoch: int = attrs.field(default=0, validator=attrs.validators.ge(0))


class MetalExecutor:
    """Implements planes.Executor."""

    def __init__(self, options: MetalOptions) -> None:
        self._options = options
        self._links: dict[NodeName, AgentLink] = {}
        self._lenders: dict[NodeName, Introduction] = {}
        """Connected nodes whose stores others can read."""
        self._leaving: set[NodeName] = set()
        """Nodes that went out of contact, which is not on disk yet. Until it is, they are not taken again."""
        self._epoch = options.epoch
        self._deliveries = Deliveries()
        self._paid_until_s: dict[NodeName, float] = {}
        """On trio's clock: of nodes on rented machines."""
        self.alarms = Alarms(time.monotonic)
        self._door = _door(options, self.alarms) if options.listen else None
        self.terminals: Terminals | None = None
        """Where to offer the terminals of interactive jobs; the daemon fills it in."""
        self.tell_use: TellUse | None = None
        """Where to tell what running attempts use; the daemon fills it in."""
        self.port = 0
        """The TCP port in use, once `run` has started."""

    @classmethod
    def from_options(cls, options: Options) -> MetalExecutor:
        return cls(structure_options(MetalOptions, options))

    def render(self) -> bytes:
        """For /metrics."""
        return self.alarms.render(len(self._links)) + self._deliveries.sums.render()

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled. The socket is there, and the port open, when `started` is called."""
        path = Path(self._options.socket)
        with _listen(path) as listening:
            ports = await self._open_port()
            local = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(trio.serve_listeners, partial(self._serve, report=report), [local])
                    if self._door is not None:
                        nursery.start_soon(self._door.review, report)
                        admit = partial(self._admit, self._door, report)
                        await nursery.start(trio.serve_listeners, admit, ports)
                    task_status.started()
            finally:
                path.unlink(missing_ok=True)  # noqa: ASYNC240 - a moment, and we are cancelled

    async def _open_port(self) -> list[trio.SocketListener]:
        if self._door is None:
            return []
        host, port = parse_address(self._options.listen)
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=LISTEN_BACKLOG)
        except OSError as error:
            raise Unavailable(f"cannot listen on {self._options.listen}: {error.strerror or error}") from None
        self.port = listeners[0].socket.getsockname()[1]
        return listeners

    async def _admit(self, door: Door, report: Report, tcp: trio.SocketStream) -> None:
        async def serve(guest: Guest) -> None:
            await self._attend(self._link(guest.stream, guest.renew), report, guest.node)

        await door.admit(tcp, serve, report)

    async def launch(self, node: NodeName, orders: Sequence[LaunchOrder]) -> None:
        self._epoch = max((self._epoch, *(order.epoch for order in orders)))
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.launch(orders))

    async def cancel(self, node: NodeName, orders: Sequence[CancelOrder]) -> None:
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.cancel(self._epoch, orders))

    async def suspend(self, node: NodeName, orders: Sequence[SuspendOrder]) -> None:
        """As planes.SuspendExecutor."""
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.suspend(self._epoch, orders))

    async def forget(self, node: NodeName, keys: Sequence[AttemptKey]) -> None:
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.forget(self._epoch, keys))

    async def bring(self, node: NodeName, key: AttemptKey, datasets: Sequence[Dataset]) -> Brought:
        """As planes.StoreExecutor."""
        if (link := self._links.get(node)) is None:
            raise Unavailable(f"node {node} is out of contact")
        with self._deliveries.expected(node, key) as delivery:
            await _to_agent(link, link.bring(self._epoch, key, *self._lent(node, datasets)))
            return await delivery.wait()

    def _lent(self, node: NodeName, datasets: Sequence[Dataset]) -> tuple[list[Dataset], list[Loan]]:
        """The datasets with what can be read of other nodes' copies, and the tickets for that."""
        loans: list[Loan] = []
        readable = []
        for dataset in datasets:
            replicas = []
            for replica in dataset.replicas:
                if replica.startswith(PEER):
                    lender = self._lenders.get(NodeName(replica.removeprefix(PEER)))
                    if lender is None or self._lenders.get(node) is None:
                        continue
                    ticket = make_ticket(lender.lending_secret, node, dataset.id, time.time() + TICKET_S)
                    loans.append(Loan(dataset.id, lender.node.name, lender.lending_address, ticket))
                replicas.append(replica)
            readable.append(attrs.evolve(dataset, replicas=tuple(replicas)))
        return readable, loans

    async def keep(self, node: NodeName, order: KeepOrder) -> None:
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.keep(self._epoch, order))

    def extend(self, node: NodeName, left_s: float) -> None:
        """As planes.LeaseExecutor."""
        if left_s == math.inf:
            self._paid_until_s.pop(node, None)
        else:
            self._paid_until_s[node] = trio.current_time() + left_s
        if (link := self._links.get(node)) is not None:
            link.paid_until_s = self._paid_until_s.get(node)

    async def _serve(self, stream: trio.SocketStream, report: Report) -> None:
        """One connection to the socket: only root and the daemon's own user may be an agent."""
        async with stream:
            uid = struct.unpack("3i", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if uid not in (0, os.geteuid()):
                self.alarms.count("uid")
                log.warning("refused an agent of uid %d: only root or uid %d may be one", uid, os.geteuid())
                return
            await self._attend(self._link(stream), report, None)

    def _link(self, stream: trio.abc.Stream, renew: Callable[[bytes], bytes] | None = None) -> AgentLink:
        options = self._options
        return AgentLink(stream, options.heartbeat_s, options.lease_s, renew, use_s=options.use_s)

    async def _attend(self, link: AgentLink, report: Report, bound: str | None) -> None:
        """One connection, whose agent may be only the node `bound`, if that is given."""
        name = bound
        try:
            hello = await link.introduce()
            if isinstance(hello, TerminalOffer):
                await self._offer(link, hello, bound)
                return
            name = hello.node.name
            if refusal := self._objection(name, bound):
                log.warning("refused an agent: %s", refusal)
                await link.refuse(refusal)
                return
            await self._converse(link, hello, report)
        except LinkLost as error:
            log.info("node %s: %s", name or "(not introduced)", error)
        except WireError as error:
            log.warning("closing the connection of the agent of node %s: %s", name or "(not introduced)", error)
            if name is None:
                self.alarms.count("protocol")
            else:
                self.alarms.offend(name)
        except (trio.Cancelled, KeyboardInterrupt):
            raise
        except BaseException:  # the wall around a connection: what one agent says ends no other's
            self.alarms.count("failure")
            log.exception("the connection of the agent of node %s failed", name or "(not introduced)")

    async def _offer(self, link: AgentLink, said: TerminalOffer, bound: str | None) -> None:
        """The connection of a job's terminal. It is served to its end."""
        if bound not in (None, said.node) or said.node not in self._links or self.terminals is None:
            await link.refuse(f"no terminal of node {said.node} is taken now")
            return
        await self.terminals.offer(link.frames, said)

    def _objection(self, name: NodeName, bound: str | None) -> str:
        """Why this agent is not taken; empty if it is."""
        if bound not in (None, name):
            self.alarms.count("wrong_node")
            return f"the key of node {bound} was used to speak for node {name}"
        if name in self._links:
            self.alarms.count("second_agent")
            return f"another agent is connected as node {name}"
        if name in self._leaving:
            return f"that the last connection of node {name} is over is not on disk yet"
        if penalty_s := self.alarms.penalty_s(name):
            return f"node {name} broke the protocol too often; it may come again in {penalty_s:.0f} s"
        return ""

    async def _converse(self, link: AgentLink, hello: Introduction, report: Report) -> None:
        name = hello.node.name
        self._links[name] = link
        if hello.lending_address:
            self._lenders[name] = hello
        try:
            link.paid_until_s = self._paid_until_s.get(name)
            try:
                await report(NodeReported(hello.node, hello.boot_id, hello.parts, hello.missing))
            except UserError as error:
                log.warning("refused the agent of node %s: %s", name, error)
                await link.refuse(str(error))
                return
            await link.welcome(self._epoch)
            log.info("node %s is here with %d records", name, len(hello.parts))
            while True:
                parts = await link.receive()
                for said in link.take_said():  # outputs before the end of what left them
                    match said:
                        case Inventory(datasets=datasets):
                            await report(CopiesReported(name, datasets))
                        case Delivery():
                            self._deliveries.arrive(name, said)
                        case Leaving(reason=reason, left_s=left_s):
                            await report(NodeLeaving(name, reason, left_s))
                        case Made(key=key, datasets=made):
                            await report(OutputsMade(name, key, made))
                        case Use(period_s=period_s, parts=used) if self.tell_use is not None:
                            self.tell_use(name, period_s, used)
                if parts:
                    await report(PartsChanged(name, tuple(parts)))
        finally:
            link.end()
            self._deliveries.lose(name)
            del self._links[name]
            self._lenders.pop(name, None)
            self._leaving.add(name)
            try:
                await report(NodeSilent(name))
            finally:
                self._leaving.remove(name)


def _door(options: MetalOptions, alarms: Alarms) -> Door:
    from hal_core import Door

    return Door(Path(options.authority), alarms.count)


async def _to_agent(link: AgentLink, sending: Awaitable[None]) -> None:
    """A connection that cannot take an order is closed; when the agent comes back, all outstanding is ordered again."""
    try:
        await sending
    except WireError as error:
        log.warning("order not sent: %s", error)
        await link.aclose()


def _listen(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner (and root) can connect to. One that nobody serves is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() or path.is_symlink():
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise Unavailable(f"{path} is in the way: it is not a socket")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise Unavailable(f"another daemon listens on {path}")
            path.unlink()
        # Made under another name with its mode set before it can be reached.
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        listening.bind(str(fresh))
        fresh.chmod(0o600)
        listening.listen(LISTEN_BACKLOG)
        fresh.rename(path)
    except BaseException:
        listening.close()
        raise
    return listening
