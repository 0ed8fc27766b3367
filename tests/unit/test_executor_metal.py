"""The metal executor against hand-written agents: who is taken, who is refused, and what its kernel hears."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from hal_core.errors import NotFound, WireError
from hal_core.models.message import Message, NodeLeaving, NodeReported, NodeSilent
from hal_core.models.node import Node, NodeName
from hal_core.planes import LeaseExecutor
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream
from hal_executor_metal.executor import MetalExecutor

KNOWN = NodeName("n1")


class Kernel:
    """Hears what the executor reports; knows one node."""

    def __init__(self) -> None:
        self.heard: list[Message] = []

    async def report(self, message: Message) -> None:
        if isinstance(message, NodeReported) and message.node.name != KNOWN:
            raise NotFound(f"the configuration has no node named {message.node.name!r}")
        self.heard.append(message)


@asynccontextmanager
async def executor(directory: Path) -> AsyncIterator[tuple[Kernel, Path]]:
    socket = directory / "agents.sock"
    kernel = Kernel()
    async with trio.open_nursery() as nursery:
        await nursery.start(MetalExecutor.from_options({"socket": str(socket)}).run, kernel.report)
        yield kernel, socket
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def agent(socket: Path, name: str) -> AsyncIterator[FrameStream]:
    async with FrameStream(await trio.open_unix_socket(str(socket)), messages.FROM_DAEMON) as frames:
        node = Node(NodeName(name), cpu_count=1, memory_bytes=2**20)
        await frames.send(messages.Hello(messages.PROTOCOL_VERSION, node, "boot", 0))
        yield frames


async def until(frames: FrameStream, kind: type[object]) -> object:
    while received := await frames.receive():
        for message in received:
            if isinstance(message, kind):
                return message
    raise AssertionError(f"the connection was closed before a {kind.__name__} came")


async def test_a_node_that_the_configuration_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with executor(tmp_path) as (kernel, socket):
            async with agent(socket, "n7") as stranger:
                refusal = await until(stranger, messages.Refusal)
            assert isinstance(refusal, messages.Refusal)
            assert "no node named 'n7'" in refusal.text
            async with agent(socket, KNOWN) as known:
                await until(known, messages.Welcome)
        assert any(isinstance(message, NodeReported) for message in kernel.heard)


async def test_a_second_agent_of_the_same_name_is_refused_and_the_first_is_kept(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with executor(tmp_path) as (kernel, socket), agent(socket, KNOWN) as first:
            await until(first, messages.Welcome)
            async with agent(socket, KNOWN) as second:
                refusal = await until(second, messages.Refusal)
            assert isinstance(refusal, messages.Refusal)
            assert "another agent is connected" in refusal.text
            assert not any(isinstance(message, NodeSilent) for message in kernel.heard)


async def test_a_node_that_is_rented_is_told_how_long_it_is_paid_for(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            kernel, metal = Kernel(), MetalExecutor.from_options({"socket": str(tmp_path / "agents.sock")})
            await nursery.start(metal.run, kernel.report)
            assert isinstance(metal, LeaseExecutor)
            metal.extend(KNOWN, 1000.0)
            async with agent(tmp_path / "agents.sock", KNOWN) as frames:
                welcome = await until(frames, messages.Welcome)
                assert isinstance(welcome, messages.Welcome)
                assert 900.0 < (welcome.paid_s or 0.0) <= 1000.0, "what is left of it"
                metal.extend(KNOWN, 500.0)
                assert 400.0 < ((await heartbeat(frames)).paid_s or 0.0) <= 500.0
                metal.extend(KNOWN, math.inf)
                assert (await heartbeat(frames)).paid_s is None
            nursery.cancel_scope.cancel()


async def heartbeat(frames: FrameStream) -> messages.Heartbeat:
    await frames.send(messages.Heartbeat(1.0))
    answer = await until(frames, messages.Heartbeat)
    assert isinstance(answer, messages.Heartbeat)
    return answer


async def test_that_a_node_leaves_reaches_the_kernel(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with executor(tmp_path) as (kernel, socket), agent(socket, KNOWN) as frames:
            await until(frames, messages.Welcome)
            await frames.send(messages.Leaving("taken back", 120.0), messages.Leaving("likely", None))
            await heartbeat(frames)
        heard = [each for each in kernel.heard if isinstance(each, NodeLeaving)]
        assert heard == [NodeLeaving(KNOWN, "taken back", 120.0), NodeLeaving(KNOWN, "likely", None)]


async def test_a_node_that_leaves_before_now_breaks_the_protocol(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with executor(tmp_path) as (kernel, socket), agent(socket, KNOWN) as frames:
            await until(frames, messages.Welcome)
            await frames.send(messages.Leaving("x", -1.0))
            with suppress(WireError):
                assert await frames.receive() == []
        assert not any(isinstance(each, NodeLeaving) for each in kernel.heard)
