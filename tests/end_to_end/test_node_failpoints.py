"""Processes of a node that stop or die at a named place: what the campaign found once stays found."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import trio

from hal_core.models.effect import CancelOrder
from hal_core.models.job import EndKind
from hal_core.models.node import NodeName
from tests.support.node import RealNode, order, real_node

N1 = NodeName("n1")


def arm(node: RealNode, name: str, number: str = "KILL") -> Path:
    """The file tells that the place was reached, and by whom."""
    hit = node.directory / "hit"
    node.environment = {"HAL_FAILPOINT": name, "HAL_FAILPOINT_ONCE": str(hit), "HAL_FAILPOINT_SIGNAL": number}
    return hit


async def restart(node: RealNode) -> None:
    """Agent and spawner, so that the failpoint is theirs."""
    known = len(node.reports.nodes)
    node.kill(node.agent_pid)
    node.kill(node.spawner_pid())
    node.start_agent()
    await node.connected(known + 1)


async def reached(node: RealNode, hit: Path) -> int:
    """The id of the process that came there."""
    is_there = partial(_has_content, hit)
    await trio.to_thread.run_sync(partial(node.tree.until, "the failpoint is reached", is_there, 30, interval_s=0.005))
    return int(await trio.Path(hit).read_text())


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


async def test_an_attempt_whose_supervisor_begins_after_a_change_of_spawners_can_be_cancelled(tmp_path: Path) -> None:
    async with real_node(tmp_path) as node:
        hit = arm(node, "supervisor.begun", "STOP")
        await restart(node)
        await node.executor.launch(N1, [given := order(1, "exec sleep 1000", directory=tmp_path)])
        supervisor = await reached(node, hit)
        node.kill(node.spawner_pid())
        await node.run(order(2, "exit 0", directory=tmp_path))  # There is another spawner.
        os.kill(supervisor, signal.SIGCONT)
        await node.reports.start_of(given.key)
        await node.executor.cancel(N1, [CancelOrder(given.key, 5.0)])
        with trio.fail_after(60):
            status = await node.reports.end_of(given.key)
        assert status.end is not None
        assert status.end.kind is EndKind.CANCELLED


async def test_an_attempt_that_was_claimed_and_not_begun_is_told_of_and_can_be_cancelled(tmp_path: Path) -> None:
    """Otherwise the daemon ends it as never launched, and the claim stays for ever, or is begun after all."""
    async with real_node(tmp_path) as node:
        hit = arm(node, "spawner.claims_durable", "STOP")
        await restart(node)
        await node.executor.launch(N1, [given := order(1, "exit 0", directory=tmp_path)])
        spawner = await reached(node, hit)
        known = len(node.reports.nodes)
        node.kill(node.agent_pid)
        node.kill(spawner)
        node.start_agent()
        await node.connected(known + 1)
        assert [part.key for part in node.reports.nodes[-1].parts] == [given.key]
        await node.executor.cancel(N1, [CancelOrder(given.key, 5.0)])
        status = await node.reports.end_of(given.key)
        assert status.start_time_s is None
        assert status.end is not None
        assert status.end.kind is EndKind.CANCELLED


@pytest.mark.parametrize("name", ["records.claim_prepared", "spawner.claim_written", "spawner.claims_durable"])
async def test_an_attempt_whose_spawner_dies_before_it_is_handed_over_runs_all_the_same(
    tmp_path: Path, name: str
) -> None:
    async with real_node(tmp_path) as node:
        hit = arm(node, name)
        await restart(node)
        await node.executor.launch(N1, [given := order(1, "echo ran >> ledger", directory=tmp_path)])
        await reached(node, hit)
        status = await node.reports.end_of(given.key)
        assert status.end is not None
        assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 0)
        assert (tmp_path / "ledger").read_text() == "ran\n"
        assert os.listdir(node.state / "claims") == [str(given.key)]


async def test_an_attempt_whose_supervisor_dies_after_a_change_of_spawners_ends(tmp_path: Path) -> None:
    async with real_node(tmp_path) as node:
        hit = arm(node, "supervisor.begun", "STOP")
        await restart(node)
        await node.executor.launch(N1, [given := order(1, "exec sleep 1000", directory=tmp_path)])
        supervisor = await reached(node, hit)
        node.kill(node.spawner_pid())
        await node.run(order(2, "exit 0", directory=tmp_path))
        os.kill(supervisor, signal.SIGCONT)
        await node.reports.start_of(given.key)
        node.kill(supervisor)
        with trio.fail_after(60):
            status = await node.reports.end_of(given.key)
        assert status.end is not None
        assert status.end.kind is EndKind.SUPERVISOR_LOST
        assert node.jobs_left() == []


async def test_a_lost_supervisor_costs_nobody_else_on_the_machine(tmp_path: Path) -> None:
    """Two clusters have a node and a job of the same name here; what is looked for by its environment is ours alone."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with real_node(tmp_path / "a") as node, real_node(tmp_path / "b") as other:
        await node.start(given := order(1, "exec sleep 1000", directory=tmp_path / "a"))
        await other.start(order(1, "exec sleep 1000", directory=tmp_path / "b"))
        node.kill(node.record(given.key).supervisor_pid)
        status = await node.reports.end_of(given.key)
        assert status.end is not None
        assert status.end.kind is EndKind.SUPERVISOR_LOST
        assert node.jobs_left() == []
        assert len(other.jobs_left()) == 1
