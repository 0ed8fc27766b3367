"""The daemon's side of bare metal: agents connect, introduce their node, take orders and report.

It keeps connections and nothing else. What runs where is the core's knowledge; what really happened is in the nodes'
records, and every (re)connection tells all of them. When a silent node is given up is the cluster's rule, not ours.
Transport: a Unix socket for agents on this machine. Others will come over TLS; all below `_converse` is the same then.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Sequence
from pathlib import Path

import attrs
import trio

from hal_core import (
    AgentLink,
    AttemptKey,
    CancelOrder,
    LaunchOrder,
    NodeName,
    NodeReported,
    NodeSilent,
    Options,
    PartsChanged,
    Report,
    Unavailable,
    UserError,
    WireError,
    structure_options,
)

LISTEN_BACKLOG = 512

log = logging.getLogger("hal.metal")


@attrs.frozen
class MetalOptions:
    """`socket` is where local agents connect. `heartbeat_s`: three of them missed means that contact is lost."""

    socket: str
    heartbeat_s: float = attrs.field(default=5.0, validator=attrs.validators.gt(0.0))


class MetalExecutor:
    """Implements planes.Executor."""

    def __init__(self, options: MetalOptions) -> None:
        self._options = options
        self._links: dict[NodeName, AgentLink] = {}
        self._epoch = 0
        """The newest that the kernel has ordered with; 0: none yet, which agents take as "not stated"."""

    @classmethod
    def from_options(cls, options: Options) -> MetalExecutor:
        return cls(structure_options(MetalOptions, options))

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled. The socket is there when `started` is called."""
        with _listen(Path(self._options.socket)) as listening:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))

            async def serve(stream: trio.SocketStream) -> None:
                await self._serve(stream, report)

            try:
                await trio.serve_listeners(serve, [listener], task_status=_Without(task_status))
            finally:
                Path(self._options.socket).unlink(missing_ok=True)  # noqa: ASYNC240 - a moment, and we are cancelled

    async def launch(self, node: NodeName, orders: Sequence[LaunchOrder]) -> None:
        self._epoch = max((order.epoch for order in orders), default=self._epoch)
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.launch(orders))

    async def cancel(self, node: NodeName, orders: Sequence[CancelOrder]) -> None:
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.cancel(self._epoch, orders))

    async def forget(self, node: NodeName, keys: Sequence[AttemptKey]) -> None:
        if (link := self._links.get(node)) is not None:
            await _to_agent(link, link.forget(self._epoch, keys))

    async def _serve(self, stream: trio.SocketStream, report: Report) -> None:
        """One connection: only root and the daemon's own user may be an agent."""
        async with stream:
            uid = struct.unpack("3i", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if uid not in (0, os.geteuid()):
                log.warning("refused an agent of uid %d: only root or uid %d may be one", uid, os.geteuid())
                return
            try:
                await self._converse(AgentLink(stream, self._options.heartbeat_s), report)
            except WireError as error:
                log.warning("closing the connection of an agent: %s", error)

    async def _converse(self, link: AgentLink, report: Report) -> None:
        hello = await link.introduce()
        name = hello.node.name
        if name in self._links:
            await link.refuse(f"another agent is connected as node {name}")
            log.warning("refused a second agent as node %s", name)
            return
        self._links[name] = link
        try:
            await link.welcome(self._epoch)
            try:
                await report(NodeReported(hello.node, hello.boot_id, hello.parts, hello.missing))
            except UserError as error:
                log.warning("refused the agent of node %s: %s", name, error)
                await link.refuse(str(error))
                return
            log.info("node %s is here with %d records", name, len(hello.parts))
            while True:
                if parts := await link.receive():
                    await report(PartsChanged(name, tuple(parts)))
        finally:
            del self._links[name]
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await report(NodeSilent(name))


class _Without:
    """serve_listeners tells its listeners when it starts; the kernel only wants to know that it did."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, value: object = None) -> None:
        self._task_status.started()


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
