"""Killing parts of the node's side in the middle of work: every attempt runs once and ends once."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from hal_core.models.effect import CancelOrder
from hal_core.models.job import End, EndKind
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.wire.agents import AgentLink
from hal_core.wire.frames import LinkLost
from tests.support.node import RealNode, key_of, lone_agent, order, real_node

N1 = NodeName("n1")
LEDGER_LINE = 'echo $HAL_JOB_ID.$HAL_ATTEMPT >> "$PWD/ledger"'


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RealNode]:
    async with real_node(tmp_path) as running:
        yield running


def ledger(node: RealNode) -> Counter[str]:
    return Counter((node.directory / "ledger").read_text().split())


async def test_agent_killed_again_and_again_in_the_middle_of_50_jobs(node: RealNode) -> None:
    """Orders are repeated at each reconnection, as the kernel does; a job is in the ledger exactly once."""
    orders = [order(number, f"{LEDGER_LINE}; sleep 0.1", directory=node.directory) for number in range(1, 51)]
    for start in range(0, 50, 10):
        await node.executor.launch(N1, orders[start : start + 10])
        await node.reports.until(lambda wanted=start // 2: _ended_count(node) >= wanted)  # type: ignore[misc]
        known = len(node.reports.nodes)
        node.kill(node.agent_pid)
        node.start_agent()
        await node.connected(known + 1)
        await node.executor.launch(N1, [given for given in orders[: start + 10] if given.key not in node.reports.parts])
    for given in orders:
        status = await node.reports.end_of(given.key)
        assert status.end is not None
        assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 0)
    assert ledger(node) == {f"{number}.1": 1 for number in range(1, 51)}


async def test_jobs_do_not_notice_that_agent_and_executor_are_gone(tmp_path: Path) -> None:
    async with real_node(tmp_path) as node:
        given = order(1, "echo begin; sleep 0.3; echo end; exit 7", directory=tmp_path)
        await node.start(given)
        node.kill(node.agent_pid)
        await node.reports.until(lambda: bool(node.reports.silences))
        node.tree.until("the job ends without an agent", lambda: node.record(given.key).end is not None, 60)
        node.start_agent()
        status = await node.reports.end_of(given.key)
        assert status.end is not None
        assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 7)
        assert (tmp_path / "hal-1.out").read_text() == "begin\nend\n"


async def test_killed_spawner_is_replaced_and_running_jobs_go_on(node: RealNode) -> None:
    await node.start(given := order(1, "sleep 1; exit 5", directory=node.directory))
    await node.start(endless := order(2, "exec sleep 1000", directory=node.directory))
    node.kill(node.spawner_pid())
    after = await node.run(order(3, LEDGER_LINE, directory=node.directory))
    assert after.end is not None
    assert after.end.exit_code == 0
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 5)
    await node.executor.cancel(N1, [CancelOrder(endless.key, 5.0)])
    status = await node.reports.end_of(endless.key)
    assert status.end is not None
    assert status.end.kind is EndKind.CANCELLED


async def test_spawner_killed_with_orders_under_way_loses_and_repeats_none(node: RealNode) -> None:
    orders = [order(number, LEDGER_LINE, directory=node.directory) for number in range(1, 61)]
    await node.executor.launch(N1, orders)
    await node.reports.until(lambda: bool(node.reports.parts))
    node.kill(node.spawner_pid())
    for given in orders:
        status = await node.reports.end_of(given.key)
        assert status.end is not None
        assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 0)
    assert ledger(node) == {f"{number}.1": 1 for number in range(1, 61)}


async def test_supervisor_that_dies_after_its_spawner_is_noticed_and_its_tree_ended(node: RealNode) -> None:
    await node.start(given := order(1, "setsid sleep 1000 & sleep 1000", directory=node.directory))
    node.kill(node.spawner_pid())
    await node.run(
        order(2, "exit 0", directory=node.directory)
    )  # A new spawner is there and has adopted the first job.
    node.kill(node.record(given.key).supervisor_pid)
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert status.end.kind is EndKind.SUPERVISOR_LOST
    assert node.jobs_left() == []


async def test_everything_killed_at_once_ends_as_supervisor_lost(node: RealNode) -> None:
    await node.start(given := order(1, "sleep 1000", directory=node.directory))
    node.kill(node.agent_pid)
    node.kill(node.spawner_pid())
    node.kill(node.record(given.key).supervisor_pid)
    node.start_agent()
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert status.end.kind is EndKind.SUPERVISOR_LOST


async def test_repeated_order_runs_nothing_and_is_told_what_is_known(node: RealNode) -> None:
    given = order(1, f"{LEDGER_LINE}; exit 3", directory=node.directory)
    first = await node.run(given)
    for _ in range(5):
        node.reports.parts.clear()
        assert await node.run(given) == first
    assert ledger(node) == {"1.1": 1}


async def test_order_of_an_older_epoch_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    async with real_node(tmp_path) as node:
        newer = order(1, LEDGER_LINE, directory=tmp_path)
        await node.run(attrs.evolve(newer, epoch=5))
        node.kill(node.agent_pid)
        node.start_agent()
        await node.connected(2)
        older = order(2, LEDGER_LINE, directory=tmp_path)
        await node.executor.launch(N1, [attrs.evolve(older, epoch=4)])
        await node.run(attrs.evolve(order(3, LEDGER_LINE, directory=tmp_path), epoch=5))
        assert ledger(node) == {"1.1": 1, "3.1": 1}
        assert older.key not in node.reports.parts


async def test_an_older_daemon_can_neither_end_nor_forget_anything(tmp_path: Path) -> None:
    """Not by a cancel, not by a forget, and also not if it has ordered nothing yet."""
    with trio.fail_after(60):
        async with lone_agent(tmp_path) as node, trio.SocketListener(await listening(tmp_path / "agents.sock")) as door:
            ended, endless = order(1, "exit 3", directory=tmp_path), order(2, "exec sleep 1000", directory=tmp_path)
            async with hosting(door) as link:
                await link.introduce()
                await link.welcome(5)
                await link.launch([attrs.evolve(given, epoch=5) for given in (ended, endless)])
                await told(link, lambda ends: ends.keys() == {ended.key, endless.key} and ends[ended.key] is not None)
                for epoch in (4, 0):
                    await link.cancel(epoch, [CancelOrder(endless.key, 0.0)])
                    await link.forget(epoch, [ended.key])
            for epoch in (4, 0):
                async with hosting(door) as older:
                    await older.introduce()
                    await older.welcome(epoch)
                    with pytest.raises(LinkLost):
                        await older.receive()
            async with hosting(door) as newer:
                known = {part.key: part.end for part in (await newer.introduce()).parts}
                assert known.keys() == {ended.key, endless.key}
                assert known[endless.key] is None
                await newer.welcome(6)
                await newer.cancel(6, [CancelOrder(endless.key, 0.0)])
                await told(newer, lambda ends: ends.get(endless.key) is not None)
            assert (
                "epoch is 4; this node has served 5 already, so that daemon's journal is new, or an old copy"
                in (tmp_path / "agent.log").read_text()
            )
            assert node.agent_pid in {member.pid for member in node.tree.members()}


@asynccontextmanager
async def hosting(door: trio.SocketListener) -> AsyncIterator[AgentLink]:
    """The daemon's end of the agent's next connection."""
    link = AgentLink(await door.accept())
    try:
        yield link
    finally:
        await link.aclose()


async def listening(path: Path) -> trio.socket.SocketType:
    """The socket that an agent dials."""
    found = trio.socket.socket(socket.AF_UNIX)
    await found.bind(str(path))
    found.listen()
    return found


async def told(link: AgentLink, is_enough: Callable[[dict[AttemptKey, End | None]], bool]) -> None:
    """Receive until the reports together say enough."""
    ends: dict[AttemptKey, End | None] = {}
    while not is_enough(ends):
        ends |= {part.key: part.end for part in await link.receive()}


async def test_hello_tells_of_every_record_until_it_is_forgotten(node: RealNode) -> None:
    ended = await node.run(order(1, "exit 4", directory=node.directory))
    running = await node.start(order(2, "exec sleep 1000", directory=node.directory))
    node.kill(node.agent_pid)
    node.start_agent()
    await node.connected(2)
    assert set(node.reports.nodes[-1].parts) == {ended, running}
    await node.executor.forget(N1, [ended.key])
    await node.run(order(3, "exit 0", directory=node.directory))
    node.tree.until("the record goes", lambda: not (node.state / "claims" / str(ended.key)).exists(), 60)
    node.kill(node.agent_pid)
    node.start_agent()
    await node.connected(3)
    assert {part.key for part in node.reports.nodes[-1].parts} == {running.key, key_of(3)}


async def test_agent_that_is_told_to_end_leaves_its_jobs_alone(node: RealNode) -> None:
    await node.start(given := order(1, "sleep 0.5; exit 6", directory=node.directory))
    node.tree.stop([node.agent_pid])
    node.start_agent()
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert status.end.exit_code == 6


async def test_ephemeral_agent_takes_everything_with_it(tmp_path: Path) -> None:
    async with real_node(tmp_path, "--ephemeral") as node:
        await node.start(order(1, "trap '' TERM; setsid sleep 1000 & sleep 1000; sleep 1000", directory=tmp_path))
        node.tree.stop([node.agent_pid])
        node.tree.until("only the keeper is left", lambda: len(node.tree.members()) == 1, 60)  # The guard looks first.


async def test_an_agent_that_is_told_to_end_takes_an_idle_spawner_with_it(node: RealNode) -> None:
    await node.run(order(1, "exit 0", directory=node.directory))
    node.tree.stop([node.agent_pid])
    node.tree.until("only the keeper is left", lambda: len(node.tree.members()) == 1, 60)


async def test_stopped_agent_costs_nothing_and_catches_up(node: RealNode) -> None:
    orders = [order(number, LEDGER_LINE, directory=node.directory) for number in range(1, 21)]
    await node.executor.launch(N1, orders)
    await node.reports.until(lambda: bool(node.reports.parts))
    os.kill(node.agent_pid, signal.SIGSTOP)
    node.tree.until("all jobs end", lambda: all(_is_ended(node, given.key) for given in orders), 60)
    os.kill(node.agent_pid, signal.SIGCONT)
    for given in orders:
        await node.reports.end_of(given.key)
    assert ledger(node) == {f"{number}.1": 1 for number in range(1, 21)}


def _ended_count(node: RealNode) -> int:
    return sum(part.end is not None for part in node.reports.parts.values())


def _is_ended(node: RealNode, key: AttemptKey) -> bool:
    return (node.state / "claims" / str(key)).exists() and node.record(key).end is not None


async def test_idle_supervisor_that_is_killed_harms_nothing(node: RealNode) -> None:
    await node.run(first := order(1, "exit 0", directory=node.directory))
    node.kill(node.record(first.key).supervisor_pid)
    after = await node.run(order(2, "exit 3", directory=node.directory))
    assert after.end is not None
    assert (after.end.kind, after.end.exit_code) == (EndKind.EXITED, 3)


async def test_late_cancel_does_not_hit_the_next_attempt_of_the_same_supervisor(node: RealNode) -> None:
    """The signal alone means nothing: the record of the attempt says whether it is to end."""
    await node.run(first := order(1, "exit 0", directory=node.directory))
    await node.start(second := order(2, "trap 'exit 9' TERM; sleep 0.5; exit 3", directory=node.directory))
    await node.executor.cancel(N1, [CancelOrder(first.key, 0.0)])
    os.kill(node.record(second.key).supervisor_pid, signal.SIGTERM)
    status = await node.reports.end_of(second.key)
    assert status.end is not None
    assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 3)
