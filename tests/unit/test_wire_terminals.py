"""Terminals as the daemon has them: who attends keeps one, and one that nobody attends to is soon hung up."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

from hal_core.agent.terminals import TERMINAL_SOCKET, TERMINALS_OF_USER_MAX, Terminals as AgentTerminals
from hal_core.models.job import JobId
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream
from hal_core.wire.terminals import HANG_UP, UNATTENDED_S, Terminals

KEY, UID = AttemptKey(JobId(7), 0, 1), 1001
OFFER = messages.TerminalOffer(messages.PROTOCOL_VERSION, NodeName("n1"), KEY, UID)


class Node:
    """A node with a terminal, and the daemon that it was offered to."""

    def __init__(self) -> None:
        self.terminals = Terminals()
        theirs, ours = trio.testing.memory_stream_pair()
        self._theirs = FrameStream(theirs, messages.FROM_AGENT)
        self.frames = FrameStream(ours, messages.FROM_DAEMON)

    async def offer(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with self._theirs:
            await self.terminals.offer(self._theirs, OFFER)

    async def leave(self) -> None:
        async with self.frames:
            pass

    async def hear(self) -> object:
        """The next message of the daemon's; None when the connection is over."""
        received = await self.frames.receive()
        return received[0] if received else None


async def test_one_that_nobody_comes_to_is_soon_hung_up(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever submitted the job was killed before it attended to it."""
    node = Node()
    async with trio.open_nursery() as nursery:
        await nursery.start(node.offer)
        assert isinstance(await node.hear(), messages.Welcome)
        begin_s = trio.current_time()
        assert await node.hear() == messages.TerminalBytes(HANG_UP)
        assert trio.current_time() - begin_s <= UNATTENDED_S <= 15.0
        await node.leave()
    assert node.terminals.find(7, UID) is None


async def test_who_comes_within_that_time_keeps_it(autojump_clock: trio.testing.MockClock) -> None:
    node = Node()
    async with trio.open_nursery() as nursery:
        await nursery.start(node.offer)
        await node.hear()
        assert node.terminals.take(7, UID + 1) is None
        await trio.sleep(UNATTENDED_S * 0.9)
        terminal = node.terminals.take(7, UID)
        assert terminal is not None
        assert node.terminals.take(7, UID) is None, "somebody attends to it already"
        with trio.move_on_after(UNATTENDED_S * 100) as waiting:
            await node.hear()
        assert waiting.cancelled_caught
        nursery.cancel_scope.cancel()


class Daemons:
    """What an agent dials: each connection is a new daemon, whose end of it comes out of `dialled`."""

    def __init__(self) -> None:
        self._dialled, self.dialled = trio.open_memory_channel[trio.StapledStream[Any, Any]](10)

    async def dial(self) -> trio.abc.Stream:
        to_daemon, from_agent = trio.testing.memory_stream_one_way_pair()
        to_agent, from_daemon = trio.testing.memory_stream_one_way_pair()
        await self._dialled.send(trio.StapledStream(to_agent, from_agent))
        return trio.StapledStream(to_daemon, from_daemon)

    async def welcome(self) -> tuple[trio.StapledStream[Any, Any], FrameStream]:
        """The next connection, on which a terminal of this user was offered and taken."""
        stream = await self.dialled.receive()
        frames = FrameStream(stream, messages.FROM_AGENT)
        assert await frames.receive() == [attrs.evolve(OFFER, uid=os.geteuid())]
        await frames.send(messages.Welcome(messages.PROTOCOL_VERSION, 0, 0.0))
        return stream, frames


@asynccontextmanager
async def agent(directory: Path) -> AsyncIterator[Daemons]:
    daemons = Daemons()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(AgentTerminals(directory, NodeName("n1"), daemons.dial).run)
            yield daemons
            nursery.cancel_scope.cancel()


async def connected(directory: Path, says: bytes = f"{KEY}\n".encode()) -> trio.SocketStream:
    """As a job's terminal connects."""
    while True:
        with suppress(OSError):
            stream = await trio.open_unix_socket(str(directory / TERMINAL_SOCKET))
            await stream.send_all(says)
            return stream
        await trio.sleep(0.01)


async def test_what_a_daemon_did_not_take_goes_to_the_next(tmp_path: Path) -> None:
    """The first daemon is killed between its welcome and the program's word."""
    async with agent(tmp_path) as daemons, await connected(tmp_path) as terminal:
        first, _ = await daemons.welcome()
        await first.receive_stream.aclose()  # and the other direction a moment later, as it may be
        await terminal.send_all(b"a word")
        _, second = await daemons.welcome()
        assert await second.receive() == [messages.TerminalBytes(b"a word")]


async def test_one_user_cannot_take_all_the_room(tmp_path: Path) -> None:
    """Whoever has as many as one may have, is not let in with another."""
    async with agent(tmp_path), AsyncExitStack() as stack:
        for _ in range(TERMINALS_OF_USER_MAX):
            await stack.enter_async_context(await connected(tmp_path, b""))
        one_more = await stack.enter_async_context(await connected(tmp_path, b""))
        assert await one_more.receive_some(1) == b""


async def test_a_terminal_that_breaks_ends_nothing_else(tmp_path: Path) -> None:
    """It goes with input unread, so that its connection is reset. Every user can do that to an agent, which is root."""
    async with agent(tmp_path) as daemons:
        terminal = await connected(tmp_path)
        _, frames = await daemons.welcome()
        await frames.send(messages.TerminalBytes(b"typed"))
        await trio.lowlevel.wait_readable(terminal.socket)
        await terminal.aclose()
        assert await frames.receive() == []
        async with await connected(tmp_path):
            await daemons.welcome()
