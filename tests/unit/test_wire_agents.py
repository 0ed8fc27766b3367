"""The daemon's end of an agent's connection, and the splitting of batches into frames."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from hal_core.errors import WireError
from hal_core.models.effect import CancelOrder, LaunchOrder
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import PartStatus
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share
from hal_core.wire import messages
from hal_core.wire.agents import HELLO_TIMEOUT_S, AgentLink
from hal_core.wire.frames import FrameStream, fits

NODE = Node(NodeName("n1"), 4, 1 << 30)
HELLO = messages.Hello(messages.PROTOCOL_VERSION, NODE, "boot", 0)


def part(job_id: int) -> PartStatus:
    return PartStatus(AttemptKey(JobId(job_id), 0, 1), 1.0)


MORE = (("10.0.0.1",), "0" * 32, (("dataset:+a@1", "reads.fa"),))


def order(job_id: int, spec: JobSpec) -> LaunchOrder:
    share = Share(NodeName("n1"), 1, "0")
    return LaunchOrder(AttemptKey(JobId(job_id), 0, 1), Owner("u", 1, 1), spec, share, ((NodeName("n1"), 1),), 7, *MORE)


def pair() -> tuple[AgentLink, FrameStream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return AgentLink(ours), FrameStream(theirs, messages.FROM_DAEMON)


async def test_introduction_waits_for_all_parts_and_keeps_what_comes_early() -> None:
    link, agent = pair()
    await agent.send(attrs.evolve(HELLO, part_count=3, missing=("x",)), messages.Report((part(1), part(2))))
    await agent.send(messages.Report((part(3),)), messages.Report((part(4),)))
    hello = await link.introduce()
    assert (hello.node, hello.boot_id, hello.missing) == (NODE, "boot", ("x",))
    assert hello.parts == (part(1), part(2), part(3))
    await link.welcome(5)
    assert await agent.receive() == [messages.Welcome(messages.PROTOCOL_VERSION, 5, 5.0)]
    assert await link.receive() == [part(4)]


@pytest.mark.parametrize(
    "first",
    [messages.Heartbeat(), messages.Report(()), attrs.evolve(HELLO, protocol=999), attrs.evolve(HELLO, part_count=-1)],
)
async def test_wrong_first_message_is_refused(first: object) -> None:
    link, agent = pair()
    await agent.send(first)
    with pytest.raises(WireError):
        await link.introduce()


async def test_agent_that_does_not_introduce_itself_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    link, _ = pair()
    with pytest.raises(WireError, match=f"within {HELLO_TIMEOUT_S:g} s"):
        await link.introduce()


async def test_heartbeats_are_answered_and_silence_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    link, agent = pair()
    await agent.send(messages.Heartbeat())
    assert await link.receive() == []
    assert await agent.receive() == [messages.Heartbeat()]
    with pytest.raises(WireError, match="no heartbeat for 15 s"):
        await link.receive()


@given(st.integers(1, 600), st.integers(1, 5))
def test_launches_are_split_and_no_job_is_repeated_within_a_frame(count: int, spec_count: int) -> None:
    specs = [JobSpec(f"job{n}", PartitionName("p"), command=("true",)) for n in range(spec_count)]
    orders = [order(number, specs[number % spec_count]) for number in range(count)]
    frames = list(messages.launch_frames(orders))
    assert [given for frame in frames for given in frame.orders()] == orders
    assert all(len(frame.jobs) <= spec_count for frame in frames)
    assert all(len(frame.parts) <= messages.BATCH_COUNT_MAX for frame in frames)


def test_large_jobs_are_split_until_they_fit() -> None:
    orders = [order(n, JobSpec(f"job{n}", PartitionName("p"), script="#!" + "x" * 1_000_000)) for n in range(10)]
    frames = list(messages.launch_frames(orders))
    assert all(fits(frame) for frame in frames)
    assert [given for frame in frames for given in frame.orders()] == orders


def test_order_that_names_no_job_is_a_wire_error() -> None:
    bad = messages.Launch(1, (), ((AttemptKey(JobId(1), 0, 1), 0, Share(NodeName("n1"), 1, "0")),))
    with pytest.raises(WireError, match="names job 0 of 0"):
        list(bad.orders())


async def test_orders_carry_the_epoch() -> None:
    link, agent = pair()
    key = AttemptKey(JobId(1), 0, 1)
    await link.welcome(7)
    await link.launch([order(1, JobSpec("j", PartitionName("p"), command=("true",)))])
    await link.cancel(8, [CancelOrder(key, 1.0, "why")])
    await link.forget(9, [key])
    received = await agent.receive()
    assert [message.epoch for message in received] == [7, 7, 8, 9]
