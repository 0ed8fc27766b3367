"""The metal executor's connections, with agents played by the test over real Unix sockets."""

from __future__ import annotations

import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from hal_core.errors import InvalidInput, NotFound, Unavailable
from hal_core.kernel.step_watch import HeldUp
from hal_core.models.effect import CancelOrder, LaunchOrder
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import Message, NodeReported, NodeSilent, PartsChanged, PartStatus
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream
from hal_executor_metal.executor import MetalExecutor
from tests.support.node import Reports

N1 = NodeName("n1")
KEY = AttemptKey(JobId(1), 0, 1)
HELLO = messages.Hello(messages.PROTOCOL_VERSION, Node(N1, 4, 1 << 30), "boot", 0, ("something",))
SPEC = JobSpec("j", PartitionName("p"), command=("true",))
ORDER = LaunchOrder(KEY, Owner("u", 1, 1), SPEC, Share(N1, 1, "0"), ((N1, 1),), 7)


class Side:
    """A served executor and the agents that the test plays."""

    def __init__(self, path: Path, reports: Reports) -> None:
        self.path = path
        self.executor = MetalExecutor.from_options({"socket": str(path)})
        self.reports = reports
        self.streams: list[trio.SocketStream] = []

    async def connect(self) -> trio.SocketStream:
        self.streams.append(await trio.open_unix_socket(str(self.path)))
        return self.streams[-1]

    async def dial(self, hello: messages.Hello = HELLO) -> FrameStream:
        frames = FrameStream(await self.connect(), messages.FROM_DAEMON)
        await frames.send(hello)
        return frames


@asynccontextmanager
async def serving(directory: Path, reports: Reports | None = None) -> AsyncIterator[Side]:
    side = Side(directory / "agents.sock", reports or Reports())
    async with trio.open_nursery() as nursery:
        await nursery.start(side.executor.run, side.reports.report)
        yield side
        nursery.cancel_scope.cancel()
    for stream in side.streams:
        await stream.aclose()


async def test_agent_is_welcomed_reported_given_orders_and_missed(tmp_path: Path) -> None:
    async with serving(tmp_path) as side:
        agent = await side.dial()
        (welcome,) = await agent.receive()
        assert isinstance(welcome, messages.Welcome)
        await side.reports.until(lambda: bool(side.reports.nodes))
        assert side.reports.nodes[0].missing == ("something",)
        await side.executor.launch(N1, [ORDER])
        await side.executor.cancel(N1, [CancelOrder(KEY, 1.0)])
        await side.executor.forget(N1, [KEY])
        kinds: list[tuple[str, int]] = []
        while len(kinds) < 3:
            kinds += [(type(message).__name__, message.epoch) for message in await agent.receive()]
        assert kinds == [("Launch", 7), ("Cancel", 7), ("Forget", 7)]
        await agent.send(messages.Report((PartStatus(KEY, 1.0),)))
        await side.reports.start_of(KEY)
        await agent.stream.aclose()
        await side.reports.until(lambda: bool(side.reports.silences))


async def test_a_silence_is_told_however_long_the_journal_takes_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Otherwise the node would be believed to be up for ever, and be given work."""

    class SlowReports(Reports):
        async def report(self, message: Message) -> None:
            if isinstance(message, NodeSilent):
                await trio.sleep(30)
            await super().report(message)

    async with serving(tmp_path, SlowReports()) as side:
        agent = await side.dial()
        await agent.receive()
        await agent.stream.aclose()
        (refusal,) = await (await side.dial()).receive()
        assert isinstance(refusal, messages.Refusal)
        assert "not on disk yet" in refusal.text
        await side.reports.until(lambda: bool(side.reports.silences))
        (welcome,) = await (await side.dial()).receive()
        assert isinstance(welcome, messages.Welcome)


async def test_nobody_is_welcomed_before_it_is_on_disk_that_the_node_is_here(tmp_path: Path) -> None:
    """With the welcome comes a lease: a node that the journal does not know to be here may be given up any moment."""
    on_disk = trio.Event()

    class FullDisk(Reports):
        async def report(self, message: Message) -> None:
            if isinstance(message, NodeReported):
                self.nodes.append(message)
                await on_disk.wait()
            await super().report(message)

    async with serving(tmp_path, FullDisk()) as side, trio.open_nursery() as nursery:
        agent = await side.dial()
        with trio.fail_after(60):
            while not side.reports.nodes:
                await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(side.executor.launch, N1, [ORDER])
        await trio.testing.wait_all_tasks_blocked()
        on_disk.set()
        said: list[str] = []
        with trio.fail_after(60):
            while len(said) < 2:
                said += [f"{type(each).__name__} {on_disk.is_set()}" for each in await agent.receive()]
        assert said == ["Welcome True", "Launch True"], "and what was ordered meanwhile comes after it"


async def test_what_goes_wrong_with_one_connection_ends_no_other(tmp_path: Path) -> None:
    """Not even what is raised in a step that took too long."""

    class Failing(Reports):
        async def report(self, message: Message) -> None:
            if isinstance(message, PartsChanged):
                raise HeldUp("held up HAL")
            await super().report(message)

    async with serving(tmp_path, Failing()) as side:
        first, second = await side.dial(), await side.dial(attrs.evolve(HELLO, node=Node(NodeName("n2"), 4, 1 << 30)))
        await first.receive()
        await second.receive()
        await first.send(messages.Report((PartStatus(KEY, 1.0),)))
        await side.reports.until(lambda: [each.node for each in side.reports.silences] == [N1])
        await side.executor.cancel(NodeName("n2"), [CancelOrder(KEY, 1.0)])
        with trio.fail_after(60):
            (cancel,) = await second.receive()
        assert isinstance(cancel, messages.Cancel)


async def test_orders_for_a_node_that_is_refused_wait_for_nothing(tmp_path: Path) -> None:
    refused = trio.Event()

    class Refusing(Reports):
        async def report(self, message: Message) -> None:
            if isinstance(message, NodeReported):
                self.nodes.append(message)
                await refused.wait()
                raise NotFound("no such node")
            await super().report(message)

    async with serving(tmp_path, Refusing()) as side:
        agent = await side.dial()
        with trio.fail_after(60):
            while not side.reports.nodes:
                await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(side.executor.launch, N1, [ORDER])
                await trio.testing.wait_all_tasks_blocked()
                refused.set()
            assert isinstance((await agent.receive())[0], messages.Refusal)


async def test_orders_for_a_node_out_of_contact_are_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path) as side:
        await side.executor.launch(N1, [ORDER])
        await side.executor.cancel(N1, [CancelOrder(KEY, 1.0)])
        await side.executor.forget(N1, [KEY])
        await side.executor.launch(N1, [])


@pytest.mark.parametrize("data", [b"\xff" * 9, b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x02hi"], ids=repr)
async def test_whoever_speaks_something_else_is_shown_the_door(tmp_path: Path, data: bytes) -> None:
    async with serving(tmp_path) as side:
        stream = await side.connect()
        await stream.send_all(data)
        with trio.fail_after(30):
            assert await stream.receive_some() == b""
        await (await side.dial()).receive()
        assert side.reports.silences == []


async def test_socket_is_closed_to_others_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "agents.sock"
    async with serving(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_left_over_socket_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    path = tmp_path / "agents.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    async with serving(tmp_path) as side:
        await side.dial()
        await side.reports.until(lambda: bool(side.reports.nodes))
        with pytest.raises(Unavailable, match="another daemon listens"):
            await Side(path, side.reports).executor.run(side.reports.report)
    path.write_text("precious")
    with pytest.raises(Unavailable, match="not a socket"):
        await Side(path, side.reports).executor.run(side.reports.report)
    assert path.read_text() == "precious"


def test_wrong_options_are_all_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        MetalExecutor.from_options({"sokcet": "/x", "heartbeat_s": -1.0})
    text = str(caught.value)
    assert "sokcet" in text
    assert "heartbeat_s" in text


async def test_order_that_cannot_be_sent_closes_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as side:
        await (await side.dial()).receive()
        await side.reports.until(lambda: bool(side.reports.nodes))
        too_large = attrs.evolve(ORDER, spec=attrs.evolve(SPEC, script="#!" + "x" * (5 << 20)))
        await side.executor.launch(N1, [too_large])
        await side.reports.until(lambda: bool(side.reports.silences))
