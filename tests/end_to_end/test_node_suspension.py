"""A suspended attempt on a real node: it stands still, its limit with it, and goes on, whoever was killed meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hal_core.agent import hierarchies
from hal_core.models.effect import CancelOrder, SuspendOrder
from hal_core.models.job import EndKind
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey, Share
from hal_core.testing import check_suspend_executor
from tests.support.node import RealNode, key_of, lone_agent, order, real_node
from tests.support.processes import members_of

N1 = NodeName("n1")
KEY = key_of(1)
WORKERS = 3
FORKS = f"for n in {' '.join(map(str, range(WORKERS)))}; do setsid sh -c 'while :; do sleep 0.01; done' & done; wait"
"""A job of several sessions, each of which forks all the time."""
LIMITED = Share(N1, 1, "0", 64 << 20)
"""With a limit there is a cgroup, where the machine has any; without one its processes are stopped one by one."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RealNode]:
    async with real_node(tmp_path) as running:
        yield running


async def suspend(node: RealNode, does_resume: bool = False) -> None:
    await node.executor.suspend(N1, [SuspendOrder(KEY, does_resume)])


def stands_still(node: RealNode) -> bool:
    """By what the kernel says of its group, or else of each of its processes."""
    bases = hierarchies.this_machine(node.state)
    freeze = Path(bases.get("unified", "/nowhere")) / str(KEY) / "cgroup.events"
    if freeze.exists():
        return "frozen 1" in freeze.read_text()
    freezer = Path(bases.get("freezer", "/nowhere")) / str(KEY) / "freezer.state"
    if freezer.exists():
        return freezer.read_text().strip() == "FROZEN"
    return has_stopped(node)


def has_stopped(node: RealNode, key: AttemptKey = KEY) -> bool:
    """All processes of a job without a cgroup. D: it waits for a child of vfork(2) that has stopped before its exec."""
    states = [state_of(each.pid) for each in members_of(node.record(key).supervisor_pid)[1:]]
    return bool(states) and set(states) <= {"T", "Z", "D"}


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


async def started(node: RealNode, script: str = FORKS, **fields: Any) -> None:
    await node.start(order(1, script, directory=node.directory, **fields))
    if script == FORKS:
        node.tree.until("its workers are there", lambda: len(members_of(node.record(KEY).supervisor_pid)) > WORKERS, 60)


@pytest.mark.parametrize("share", [Share(N1, 1, "0"), LIMITED], ids=["stopped", "frozen"])
async def test_everything_stands_still_goes_on_and_can_be_ended(node: RealNode, share: Share) -> None:
    await started(node, share=share)
    for _ in range(2):
        await suspend(node)
        node.tree.until("everything stands still", lambda: stands_still(node), 60)
        await suspend(node)  # again, which changes nothing
        await suspend(node, does_resume=True)
        node.tree.until("it goes on", lambda: not stands_still(node), 60)
    await suspend(node)
    node.tree.until("everything stands still", lambda: stands_still(node), 60)
    await node.executor.cancel(N1, [CancelOrder(KEY, 30.0)])
    status = await node.reports.end_of(KEY)
    assert status.end is not None
    assert (status.end.kind, status.end.signal) == (EndKind.CANCELLED, 15), "it could not end in good order"
    assert node.jobs_left() == []


async def test_the_time_limit_stands_still(node: RealNode) -> None:
    """It is not ended while it stands still. If the machine is too slow to suspend it in time: with a longer limit."""
    for job_id, walltime_s in enumerate((0.5, 2.0, 8.0, 30.0), 1):
        key = key_of(job_id)
        await node.start(order(job_id, "exec sleep 1000", directory=node.directory, walltime_s=walltime_s))
        await node.executor.suspend(N1, [SuspendOrder(key)])
        over = partial(lambda key: node.record(key).end is not None, key)
        node.tree.until("it stands still or has ended", lambda: has_stopped(node, key) or over(), 60)  # noqa: B023
        if not over():
            break
    else:
        pytest.fail("it was never suspended before its limit")
    await node.run(order(100, f"exec sleep {walltime_s + 0.1}", directory=node.directory))
    assert has_stopped(node, key)
    assert not over(), "it was ended while it stood still"
    await node.executor.suspend(N1, [SuspendOrder(key, does_resume=True)])
    status = await node.reports.end_of(key)
    assert status.end is not None
    assert status.end.kind is EndKind.TIME_LIMIT


async def test_it_outlives_agent_and_spawner_and_can_be_killed(node: RealNode) -> None:
    await started(node, share=LIMITED)
    await suspend(node)
    node.tree.until("everything stands still", lambda: stands_still(node), 60)
    node.kill(node.spawner_pid())
    node.kill(node.agent_pid)
    node.start_agent()
    await node.connected(2)
    assert stands_still(node)
    await suspend(node, does_resume=True)
    node.tree.until("it goes on", lambda: not stands_still(node), 60)
    await suspend(node)
    node.tree.until("everything stands still", lambda: stands_still(node), 60)
    node.kill(node.record(KEY).supervisor_pid)
    status = await node.reports.end_of(KEY)
    assert status.end is not None
    assert status.end.kind is EndKind.SUPERVISOR_LOST
    assert node.jobs_left() == []


async def test_metal_executor_keeps_the_contract(tmp_path: Path) -> None:
    async with lone_agent(tmp_path) as node:
        told = tmp_path / "told"
        waits = order(1, f"while ! test -e {told}; do sleep 0.01; done", directory=tmp_path)
        await check_suspend_executor(node.executor, N1, waits, told.touch, lambda: has_stopped(node))
