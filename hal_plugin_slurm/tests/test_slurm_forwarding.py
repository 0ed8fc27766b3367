"""Jobs of every kind through the bridge and a real Slurm, by both ways: each ends as `sacct` says that it did."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from hal_core import (
    ArraySpec,
    CancelOrder,
    EndKind,
    Owner,
    PartitionName,
)
from hal_core.testing import check_executor
from hal_plugin_slurm.executor import SlurmExecutor
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.way import Way
from tests.support.slurm import SlurmCluster
from tests.support.slurm_bench import N1, SlurmBench, every_kind


@pytest.fixture
async def bench(way: Way, slurm: SlurmCluster, tmp_path: Path, nursery: trio.Nursery) -> SlurmBench:
    paces = {"poll_s_min": 0.3, "poll_s_max": 2.0, "vanish_s": 20.0, "usage_s": 0.0}  # the last: test_slurm_usage.py
    options = SlurmOptions(state_directory=str(tmp_path), **paces)
    bench = SlurmBench(slurm, SlurmExecutor(options, way))
    await nursery.start(bench.executor.run, bench.report)
    return bench


async def test_the_contract_of_executors(way, slurm, tmp_path):
    options = SlurmOptions(state_directory=str(tmp_path), poll_s_min=0.2, poll_s_max=1.0)
    bench = SlurmBench(slurm, SlurmExecutor(options, way))
    endless = bench.order(2, "exec sleep 1000")
    await check_executor(bench.executor, N1, bench.order(1), endless)


async def test_jobs_of_every_kind_end_as_accounting_says(bench):
    orders, doomed = every_kind(bench, 1), bench.order(20, "exec sleep 1000")
    await bench.executor.launch(N1, [*orders, doomed])
    await bench.until("the doomed job runs", lambda: (N1, doomed.key) in bench.parts)
    await bench.executor.cancel(N1, [CancelOrder(doomed.key, 1.0)])
    told = [(end.kind, end.exit_code, end.signal) for end in await bench.ends([*orders, doomed])]
    assert told == [
        (EndKind.EXITED, 0, None),
        (EndKind.EXITED, 7, None),
        (EndKind.SIGNALLED, None, 9),
        (EndKind.SIGNALLED, None, 15),
        (EndKind.EXITED, 3, None),
        (EndKind.LAUNCH_FAILED, None, None),
        (EndKind.EXITED, 3, None),
        (EndKind.EXITED, 0, None),
        *((EndKind.EXITED, index % 3, None) for index in range(4)),
        (EndKind.CANCELLED, None, None),
    ]
    assert await bench.differences([*orders, doomed]) == {}
    assert bench.executor.counts["submissions"] == 10, "an array is one submission"


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


async def test_an_exit_code_is_told_whole_though_accounting_shortens_it(bench):
    order = bench.order(51, "exit 200")
    await bench.executor.launch(N1, [order])
    (end,) = await bench.ends([order])
    assert end.exit_code == 200
    assert await bench.differences([order]) == {}, "72 for sacct"


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
