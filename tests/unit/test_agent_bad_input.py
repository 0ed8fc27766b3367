"""What an agent may say wrong, as one table, against the real executor and the real core: reliability items 81 to 93.

Whatever is said: the daemon stays, other nodes are served, the connection of the offender is closed where the protocol
was broken, and what the state knows of jobs changes only by what is true.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio

from hal_core.models.effect import LaunchOrder
from hal_core.models.job import End, EndKind, JobId
from hal_core.models.message import Message, PartStatus
from hal_core.models.node import Node, NodeName, NodeStatus
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream, encode
from hal_executor_metal.executor import MetalExecutor
from tests.support.core_world import World, make_cluster

N0, N1 = NodeName("n0"), NodeName("n1")
GONE_S = 30.0


class DaemonSide:
    """The executor on a socket, and a core that hears it. `played` are the agents of the test."""

    def __init__(self, path: Path) -> None:
        self.executor = MetalExecutor.from_options({"socket": str(path), "heartbeat_s": 2.0})
        self.world = World(make_cluster(2))
        self.path = path
        self.heard: list[Message] = []
        self.played: list[FrameStream] = []
        self._changed = trio.Event()

    async def report(self, message: Message) -> None:
        self.world.tell(message)
        self.heard.append(message)
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(GONE_S):
            while not holds():
                await self._changed.wait()

    async def connect(self) -> FrameStream:
        self.played.append(FrameStream(await trio.open_unix_socket(str(self.path)), messages.FROM_DAEMON))
        return self.played[-1]

    async def join(self, name: str, **changes: Any) -> FrameStream:
        """An agent of that node, welcomed."""
        agent = await self.connect()
        node = attrs.evolve(self.world.nodes[NodeName(name)].node, **changes)
        heard = len(self.heard)
        await agent.send(messages.Hello(messages.PROTOCOL_VERSION, node, "boot-1", 0))
        (welcome,) = await agent.receive()
        assert isinstance(welcome, messages.Welcome)
        await self.until(lambda: len(self.heard) > heard)
        return agent

    def status(self, name: NodeName) -> NodeStatus:
        return self.world.state.table.status[self.world.state.table.number_of[name]]

    async def serves(self, agent: FrameStream) -> None:
        """Whether another agent is answered."""
        with trio.fail_after(5):
            await agent.send(messages.Heartbeat(1.0))
            assert await agent.receive() == [messages.Heartbeat(1.0)]


@asynccontextmanager
async def daemon_side(directory: Path) -> AsyncIterator[DaemonSide]:
    side = DaemonSide(directory / "agents.sock")
    async with trio.open_nursery() as nursery:
        await nursery.start(side.executor.run, side.report)
        yield side
        nursery.cancel_scope.cancel()
    for agent in side.played:
        await trio.aclose_forcefully(agent.stream)


def frame(body: object) -> bytes:
    data = msgspec.msgpack.encode(body)
    return len(data).to_bytes(4, "big") + data


def part(**fields: Any) -> bytes:
    """A report of n0 about the attempt that it runs."""
    status = {"key": (1, 0, 1), "start_time_s": 10.0, "end_time_s": None, "end": None} | fields
    return frame(("Report", {"parts": [status]}))


OFFENCES = {
    "length 0": b"\0\0\0\0",
    "length 4 GiB - 1": b"\xff\xff\xff\xff",
    "length 4 MiB + 1": ((4 << 20) + 1).to_bytes(4, "big"),
    "a negative length": (-5).to_bytes(4, "big", signed=True) + b"x",
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "random bytes": bytes(range(7, 250)),
    "not msgpack": b"\0\0\0\x02hi",
    "unknown verb": frame(("Reboot", {})),
    "a verb of the daemon": frame(("Launch", {"epoch": 1, "jobs": [], "parts": []})),
    "enrolment": frame(("Enrol", {"protocol": 1, "secret": "x", "request": b"x"})),
    "renewal without TLS": frame(("Renew", {"request": b"x"})),
    "Hello twice": encode(messages.Hello(1, Node(N0, 4, 1 << 30), "boot-1", 0)),
    "field missing": frame(("Report", {})),
    "wrong type": frame(("Report", {"parts": "all"})),
    "bool for int": part(key=(True, 0, 1)),
    "text for int": part(key=("1", 0, 1)),
    "negative id": part(key=(-1, 0, 1)),
    "id of 2^64 - 1": part(key=(2**64 - 1, 0, 1)),
    "key too short": part(key=(1, 0)),
    "time NaN": part(start_time_s=math.nan),
    "time infinite": part(start_time_s=math.inf),
    "time negative": part(start_time_s=-1.0),
    "end time 1e300": part(end_time_s=1e300),
    "unknown end": part(end={"kind": "vanished"}),
    "an envelope of three": frame(("Heartbeat", {}, {})),
    "deeply nested": b"\0\0\x40\0" + b"\x91" * 0x4000,
    "lone surrogate": b"\0\0\0\x0c\x92\xa9Heart\xed\xa0\x80at\x80"[:16],
}


STRANGE = {name: data for name, data in OFFENCES.items() if name != "Hello twice"}


@pytest.mark.parametrize("data", OFFENCES.values(), ids=OFFENCES.keys())
async def test_whoever_breaks_the_protocol_is_disconnected_and_counted(tmp_path: Path, data: bytes) -> None:
    async with daemon_side(tmp_path) as side:
        offender, other = await side.join("n0"), await side.join("n1")
        key = side.world.start()
        before = side.world.state.activity(key)
        await offender.stream.send_all(data)
        with trio.fail_after(GONE_S):
            while await offender.stream.receive_some():
                pass
        await side.until(lambda: side.status(N0) is NodeStatus.SUSPECT)
        assert side.executor.alarms.counts["protocol"] == 1
        assert side.world.state.activity(key) is before
        await side.serves(other)


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE.keys())
async def test_without_an_introduction_nobody_is_heard(tmp_path: Path, data: bytes) -> None:
    async with daemon_side(tmp_path) as side:
        other = await side.join("n1")
        stranger = await side.connect()
        await stranger.stream.send_all(data)
        with trio.fail_after(GONE_S):
            while await stranger.stream.receive_some():
                pass
        assert len(side.heard) == 1
        await side.serves(other)


TRUE = {
    "a clock that is a day late": (part(start_time_s=10.0 + 86_400), EndKind.EXITED),
    "ended in the moment it started": (
        part(start_time_s=10.0, end_time_s=10.0, end={"kind": "exited", "exit_code": 0}),
        EndKind.EXITED,
    ),
    "impossible usage": (
        part(
            end_time_s=11.0,
            end={"kind": "exited", "exit_code": 0, "cpu_s": math.nan, "peak_memory_bytes": 2**63, "by": "root"},
        ),
        EndKind.EXITED,
    ),
    "negative usage": (
        part(end_time_s=11.0, end={"kind": "exited", "exit_code": 0, "cpu_s": -1.0, "peak_memory_bytes": -5}),
        EndKind.EXITED,
    ),
}


@pytest.mark.parametrize(("data", "kind"), TRUE.values(), ids=TRUE.keys())
async def test_odd_but_possible_reports_count_without_what_cannot_be(
    tmp_path: Path, data: bytes, kind: EndKind
) -> None:
    async with daemon_side(tmp_path) as side:
        agent = await side.join("n0")
        await side.join("n1")
        key = side.world.start()
        agent = agent if side.world.activity(key.job_id).shares[0].node == N0 else side.played[1]
        assert key == AttemptKey(JobId(1), 0, 1)
        for _ in range(3):  # Doubled messages are one fact.
            await agent.stream.send_all(data)
        final = PartStatus(key, 10.0, 12.0, End(EndKind.EXITED, exit_code=0))
        await agent.send(messages.Report((final,)))
        await side.until(lambda: key.job_id in side.world.state.recent)
        end = side.world.ended(key.job_id)
        assert (end.kind, end.by, end.cpu_s, end.peak_memory_bytes) == (kind, "", None, None)
        assert side.executor.alarms.counts["protocol"] == 0


FOREIGN = {
    "an attempt that never was": AttemptKey(JobId(99), 0, 1),
    "an attempt of another node": AttemptKey(JobId(1), 0, 1),
    "a later attempt": AttemptKey(JobId(1), 0, 2),
    "another element": AttemptKey(JobId(1), 7, 1),
}


@pytest.mark.parametrize("key", FOREIGN.values(), ids=FOREIGN.keys())
async def test_an_agent_speaks_only_of_its_own_attempts(tmp_path: Path, key: AttemptKey) -> None:
    async with daemon_side(tmp_path) as side:
        agents = {N0: await side.join("n0"), N1: await side.join("n1")}
        mine = side.world.start()
        node = side.world.activity(mine.job_id).shares[0].node
        liar = agents[N1 if node == N0 else N0]
        heard = len(side.heard)
        await liar.send(messages.Report((PartStatus(key, 1.0, 2.0, End(EndKind.EXITED, exit_code=0)),)))
        await side.until(lambda: len(side.heard) > heard)
        assert side.world.activity(mine.job_id).key == mine
        assert side.world.activity(mine.job_id).parts_left == {node}


async def test_the_second_agent_of_a_name_is_refused(tmp_path: Path) -> None:
    async with daemon_side(tmp_path) as side:
        first = await side.join("n0")
        second = await side.connect()
        await second.send(messages.Hello(messages.PROTOCOL_VERSION, Node(N0, 4, 1 << 30), "boot-2", 0))
        (refusal,) = await second.receive()
        assert isinstance(refusal, messages.Refusal)
        assert "another agent" in refusal.text
        assert side.executor.alarms.counts["second_agent"] == 1
        await side.serves(first)
        assert side.status(N0) is NodeStatus.UP


async def test_less_than_declared_is_drained_and_more_is_not_believed(tmp_path: Path) -> None:
    async with daemon_side(tmp_path) as side:
        declared = side.world.nodes[N1].node
        await side.join("n0", cpu_count=1)
        await side.join("n1", cpu_count=1_000_000)
        table = side.world.state.table
        assert table.drain[table.number_of[N0]] is not None
        assert table.nodes[table.number_of[N1]] == declared
        assert table.free_cpus[table.number_of[N1]] == declared.cpu_count


@pytest.mark.parametrize("version", [0, 2, 999, -1])
async def test_another_version_is_told_and_counted(tmp_path: Path, version: int) -> None:
    async with daemon_side(tmp_path) as side:
        agent = await side.connect()
        await agent.send(messages.Hello(version, Node(N0, 4, 1 << 30), "boot-1", 0))
        assert await agent.receive() == []
        assert side.heard == []


async def test_a_node_that_offends_three_times_is_turned_away_for_a_while(tmp_path: Path) -> None:
    async with daemon_side(tmp_path) as side:
        for count in range(1, 4):
            agent = await side.join("n0")
            await agent.stream.send_all(b"\0\0\0\0")
            with trio.fail_after(GONE_S):
                await agent.receive()
            await side.until(lambda: side.status(N0) is NodeStatus.SUSPECT)
            assert side.executor.alarms.counts["protocol"] == count
        agent = await side.connect()
        await agent.send(messages.Hello(messages.PROTOCOL_VERSION, side.world.nodes[N0].node, "boot-1", 0))
        (refusal,) = await agent.receive()
        assert "too often" in refusal.text


async def test_a_flood_slows_down_only_who_makes_it(tmp_path: Path) -> None:
    """As many messages as the socket takes: another node's heartbeats are answered again and again all the while."""
    async with daemon_side(tmp_path) as side:
        flooder, other = await side.join("n0"), await side.join("n1")
        sent_count = 0
        served_count = 0

        async def flood() -> None:
            nonlocal sent_count
            batch = encode(messages.Heartbeat()) * 1000
            while True:
                await flooder.stream.send_all(batch)
                sent_count += 1000

        async def drain() -> None:
            while await flooder.stream.receive_some():
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            nursery.start_soon(drain)
            began_s = trio.current_time()
            while trio.current_time() < began_s + 3.0:
                await side.serves(other)
                served_count += 1
            elapsed_s = trio.current_time() - began_s
            nursery.cancel_scope.cancel()
        assert served_count > 10
        assert sent_count < 33_000 * elapsed_s, "the flood is taken at the rate that one agent may have"


async def test_orders_go_to_the_node_that_has_them(tmp_path: Path) -> None:
    async with daemon_side(tmp_path) as side:
        agent = await side.join("n0")
        key = side.world.start()
        order = LaunchOrder(
            key, side.world.job(key.job_id).owner, side.world.job(key.job_id).spec,
            side.world.activity(key.job_id).shares[0], ((N0, 1),), 3, ("10.0.0.1",),
        )  # fmt: skip
        await side.executor.launch(N0, [order])
        (launch,) = await agent.receive()
        (got,) = launch.orders()
        assert (got.key, got.epoch, got.addresses) == (key, 3, ("10.0.0.1",))
