"""Jobs of every kind through the bridge and a real Slurm, by both ways: each ends as `sacct` says that it did."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from hal_core import (
    ArraySpec,
    AttemptKey,
    CancelOrder,
    End,
    EndKind,
    JobId,
    JobSpec,
    LaunchOrder,
    Message,
    NodeName,
    NodeReported,
    Owner,
    PartitionName,
    PartsChanged,
    PartStatus,
    Share,
    Spread,
)
from hal_core.testing import check_executor
from hal_plugin_slurm.executor import SlurmExecutor
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.way import Way
from tests.support.slurm import SlurmCluster

N1, N2 = NodeName("n01"), NodeName("n02")
PATIENCE_S = 120.0


@attrs.define
class Bench:
    """An executor that runs, and what it reported."""

    slurm: SlurmCluster
    executor: SlurmExecutor
    parts: dict[tuple[NodeName, AttemptKey], PartStatus] = attrs.Factory(dict)
    nodes: list[NodeReported] = attrs.Factory(list)

    def order(self, job_id: int, script: str = "", index: int = 0, **changes: Any) -> LaunchOrder:
        owner, nodes = changes.pop("owner", Owner("root", 0, 0)), changes.pop("nodes", ((N1, 1),))
        given = {"script": f"#!/bin/sh\n{script}\n"} if script else {"command": ("true",)}
        given |= {"working_directory": str(self.slurm.work), "name": "a job", "partition": PartitionName("normal")}
        key = AttemptKey(JobId(job_id), index, 1)
        return LaunchOrder(key, owner, JobSpec(**given | changes), Share(nodes[0][0], 1, "0"), nodes, 1)

    async def report(self, message: Message) -> None:
        match message:
            case NodeReported():
                self.nodes.append(message)
            case PartsChanged(node=node, parts=parts):
                self.parts |= {(node, part.key): part for part in parts}

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        with trio.move_on_after(PATIENCE_S):
            while True:
                if holds():
                    return
                await trio.sleep(0.1)
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}; reported: {self.parts}")

    async def ends(self, orders: list[LaunchOrder]) -> list[End]:
        keys = [(order.share.node, order.key) for order in orders]
        await self.until("ends", lambda: all(key in self.parts and self.parts[key].end for key in keys))
        return [self.parts[key].end for key in keys]

    def native_id(self, order: LaunchOrder) -> int:
        (ticket,) = [each for each in self.executor._book.tickets.values() if each.key(order.key.index) == order.key]
        assert ticket.native_id is not None
        return ticket.native_id


@pytest.fixture
async def bench(way: Way, slurm: SlurmCluster, tmp_path: Path, nursery: trio.Nursery) -> Bench:
    options = SlurmOptions(state_directory=str(tmp_path), poll_s_min=0.3, poll_s_max=2.0, vanish_s=20.0)
    bench = Bench(slurm, SlurmExecutor(options, way))
    await nursery.start(bench.executor.run, bench.report)
    return bench


async def test_the_contract_of_executors(way, slurm, tmp_path):
    options = SlurmOptions(state_directory=str(tmp_path), poll_s_min=0.2, poll_s_max=1.0)
    bench = Bench(slurm, SlurmExecutor(options, way))
    endless = bench.order(2, "exec sleep 1000")
    await check_executor(bench.executor, N1, bench.order(1), endless)


async def test_jobs_of_every_kind_end_as_accounting_says(bench, slurm):
    array = ArraySpec(((0, 12),))
    two = ((N1, 2), (N2, 2))
    orders = [
        bench.order(1),
        bench.order(2, "exit 7"),
        bench.order(3, "kill -9 $$"),
        bench.order(4, "kill -15 $$; sleep 5"),
        bench.order(5, command=("sh", "-c", "exit 3")),
        bench.order(6, output_pattern="/nonexistent/%j"),
        bench.order(7, "exit $HAL_TASK_RANK", spread=Spread.TASK, node_count=2, task_count=4, nodes=two),
        bench.order(8, gpus_per_node=2, gpu_type="fake", script='test "$CUDA_VISIBLE_DEVICES" = 0,1'),
        *(bench.order(20, "exit $((HAL_ARRAY_INDEX % 3))", index, array=array) for index in range(12)),
    ]
    doomed = bench.order(10, "exec sleep 1000")
    await bench.executor.launch(N1, [*orders, doomed])
    await bench.until("the doomed job runs", lambda: (N1, doomed.key) in bench.parts)
    await bench.executor.cancel(N1, [CancelOrder(doomed.key, 1.0)])
    orders.append(doomed)
    told = [(end.kind, end.exit_code, end.signal) for end in await bench.ends(orders)]
    assert told[:8] == [
        (EndKind.EXITED, 0, None),
        (EndKind.EXITED, 7, None),
        (EndKind.SIGNALLED, None, 9),
        (EndKind.SIGNALLED, None, 15),
        (EndKind.EXITED, 3, None),
        (EndKind.LAUNCH_FAILED, None, None),
        (EndKind.EXITED, 3, None),
        (EndKind.EXITED, 0, None),
    ]
    assert told[8:20] == [(EndKind.EXITED, index % 3, None) for index in range(12)]
    assert told[20][0] is EndKind.CANCELLED
    await differences(bench, slurm, orders)
    submitted = bench.executor.counts["submissions"]
    assert submitted == len(orders) - 11, "an array is one submission"


async def differences(bench: Bench, slurm: SlurmCluster, orders: list[LaunchOrder]) -> None:
    """Wait until `sacct -P` has them all, and compare."""
    wanted = {order.key: bench.parts[order.share.node, order.key].end for order in orders}
    names = {
        f"{bench.native_id(order)}_{order.key.index}" if order.spec.array else str(bench.native_id(order)): order.key
        for order in orders
    }

    def accounted() -> dict[AttemptKey, tuple[str, str]]:
        lines = slurm.run("sacct", "-nPX", "-o", "JobID,State,ExitCode").splitlines()
        rows = [line.split("|") for line in lines]
        return {names[name]: (state.split()[0], code) for name, state, code in rows if name in names}

    def is_complete() -> bool:
        found = accounted()
        return found.keys() == wanted.keys() and not {state for state, _ in found.values()} & {"RUNNING", "PENDING"}

    await bench.until("accounting", is_complete)
    assert {key: _as_accounted(end) for key, end in wanted.items()} == {
        key: (state, "" if state == "CANCELLED" else code) for key, (state, code) in accounted().items()
    }


def _as_accounted(end: End) -> tuple[str, str]:
    match end.kind:
        case EndKind.EXITED:
            return ("FAILED" if end.exit_code else "COMPLETED"), f"{end.exit_code}:0"
        case EndKind.SIGNALLED:
            return "FAILED", f"0:{end.signal}"
        case EndKind.LAUNCH_FAILED:
            return "FAILED", "0:53"
        case _:
            return end.kind.name, ""


async def test_what_a_job_sees_is_what_the_user_gave_and_what_hal_says(bench, slurm):
    script = 'echo "$HAL_JOB_ID|$HAL_JOB_NAME|$HAL_ARRAY_INDEX|$HAL_NODE_LIST|$WORD|$1|$(id -un)|$(pwd)"; cat'
    (slurm.work / "input").write_text("typed\n")
    orders = [
        bench.order(
            31,
            script,
            index,
            array=ArraySpec(((3, 5),)),
            name="it's 100%",
            arguments=("a 'b' $c",),
            environment=("WORD=x'y\n z", "SLURM_CONF=/nowhere", "not a name=1"),
            input_path="input",
            output_pattern="out/%x-%A-%a-%%.txt",
            owner=Owner("nobody", 65534, 65534),
        )
        for index in (3, 4)
    ]
    folder = slurm.work / "out"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    await bench.executor.launch(N1, orders)
    assert [end.exit_code for end in await bench.ends(orders)] == [0, 0]
    for index in (3, 4):
        text = (folder / f"it's 100%-31-{index}-%.txt").read_text()
        shown = re.sub(r"\|n0\d\|", "|NODE|", text)
        assert shown == f"31|it's 100%|{index}|NODE|x'y\n z|a 'b' $c|nobody|{slurm.work}\ntyped\n"


async def test_a_refusal_is_the_end_of_the_job_with_slurms_words(bench):
    orders = [
        bench.order(41, partition=PartitionName("nowhere")),
        bench.order(42, input_path="/dev/tty"),
        bench.order(43, gpu_milli=500),
    ]
    await bench.executor.launch(N1, orders)
    ends = await bench.ends(orders)
    assert {end.kind for end in ends} == {EndKind.LAUNCH_FAILED}
    assert "partition" in ends[0].detail
    assert "terminal" in ends[1].detail
    assert "whole" in ends[2].detail


async def test_nodes_come_in_with_their_resources(bench, slurm):
    await bench.until("all nodes", lambda: len(bench.nodes) == len(slurm.nodes))
    assert {(each.node.cpu_count, each.node.memory_bytes, each.node.gpus) for each in bench.nodes} == {
        (8, 16000 << 20, ("fake", "fake"))
    }
