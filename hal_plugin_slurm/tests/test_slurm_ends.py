"""Hundreds of jobs, an array of a thousand, a time limit, a lack of memory: HAL says of each what `sacct -P` says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from hal_core import ArraySpec, EndKind
from hal_plugin_slurm.executor import SlurmExecutor
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.tests.conftest import WAYS, way_into
from hal_plugin_slurm.way import Way
from tests.support import slurm_packages
from tests.support.needs import need
from tests.support.slurm import SlurmCluster
from tests.support.slurm_bench import N1, SlurmBench, every_kind
from tests.support.slurm_config import why_no_memory_groups

ROUNDS = 13
"""Of twelve jobs, by each way."""
LATE, ARRAY = 9000, 9001
PATIENCE_S = 400.0
CAN_ENFORCE = not why_no_memory_groups()


@asynccontextmanager
async def bench_of(slurm: SlurmCluster, way: Way, directory: Path) -> AsyncIterator[SlurmBench]:
    options = SlurmOptions(state_directory=str(directory), poll_s_min=0.5, poll_s_max=3.0, usage_s=0.0)
    bench = SlurmBench(slurm, SlurmExecutor(options, way))
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.executor.run, bench.report)
        yield bench
        nursery.cancel_scope.cancel()


async def test_hundreds_of_jobs_and_an_array_of_a_thousand_end_as_accounting_says(ways, slurm, tmp_path):
    async def compare(name: str, element_count: int) -> None:
        async with bench_of(slurm, ways[name], tmp_path / name) as bench:
            late = bench.order(LATE, "exec sleep 1000", output_pattern="/dev/null", walltime_s=60.0)
            array = {"array": ArraySpec(((0, element_count),)), "output_pattern": "/dev/null"}
            script = "exit $((HAL_ARRAY_INDEX % 3))"
            orders = [each for number in range(ROUNDS) for each in every_kind(bench, number * 100 + 1)]
            orders += [bench.order(ARRAY, script, index, **array) for index in range(element_count)]
            await bench.executor.launch(N1, [late, *orders])
            await bench.until("the late one runs", lambda: (N1, late.key) in bench.parts, PATIENCE_S)
            slurm.run("scontrol", "update", f"jobid={bench.native_id(late)}", "endtime=now+2")  # a minute is the least
            await bench.ends([late, *orders], PATIENCE_S)
            assert bench.ends_known[late.key].kind is EndKind.TIME_LIMIT
            assert await bench.differences([late, *orders]) == {}
            assert bench.executor.counts["submissions"] == 1 + ROUNDS * 9 + bool(element_count)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(compare, "rest", 0)
        nursery.start_soon(compare, "commands", 1000)


@pytest.fixture(scope="module")
def strict_slurm() -> Iterator[SlurmCluster]:
    """One that enforces memory, where it can: on cgroups of version 1, without systemd."""
    need(slurm_packages.why_impossible())
    given = {"node_count": 1, "cpus": 4, "has_accounting": True, "has_rest": True}
    with SlurmCluster(**given, does_enforce_memory=CAN_ENFORCE, node_prefix=f"m{os.getpid()}-") as cluster:
        yield cluster


async def test_who_takes_more_memory_than_asked_for_is_told_so_by_both_ways(strict_slurm, tmp_path):
    greedy = "perl -e '$x = \"x\" x 300_000_000'"
    for name in WAYS:
        async with (
            way_into(strict_slurm, name) as way,
            bench_of(strict_slurm, way, tmp_path / name) as bench,
        ):
            modest = bench.order(1, "true", memory_bytes_per_node=50 << 20)
            order = bench.order(2, greedy, memory_bytes_per_node=50 << 20)
            await bench.executor.launch(N1, [modest, order])
            ends = await bench.ends([modest, order])
            assert [end.kind for end in ends] == [
                EndKind.EXITED,
                EndKind.OUT_OF_MEMORY if CAN_ENFORCE else EndKind.EXITED,
            ]
            assert await bench.differences([modest, order]) == {}
