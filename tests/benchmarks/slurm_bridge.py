"""The Slurm bridge against the plain ways of using the same Slurm, in one run.

Submitting: `sbatch` in a loop against the bridge, to jobs that wait. Following: a question for each job against the
bridge's one question for all, in RPCs that slurmctld counted (sdiag) and in its CPU time beyond that of idling. Ends:
jobs of every kind, and how many of them the bridge tells otherwise than `sacct -P`. Pilots: see
slurm_pilots.py; they are measured on a Slurm of their own, which is tuned for throughput.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from hal_plugin_slurm.executor import SlurmExecutor
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.way_options import open_way
from tests.benchmarks.common import Figures, parser_of, progress, run
from tests.benchmarks.slurm_pilots import measure_pilots
from tests.support.meter import Meter
from tests.support.slurm import SlurmCluster
from tests.support.slurm_bench import N1, SlurmBench, every_kind

QUESTION_EVERY_S = 5.0
"""How often a script that follows its jobs one by one asks about each: most ask more often."""
KIND_COUNT = 12
TICK_S = 0.01
"""What CPU time is counted in: no difference below it is one."""


def measure(given: argparse.Namespace) -> Figures:
    with SlurmCluster(node_count=4, cpus=8, gpus=2, has_accounting=True, has_rest=True) as slurm:
        figures = trio.run(_measure, slurm, given)
    return figures | measure_pilots(given)


async def _measure(slurm: SlurmCluster, given: argparse.Namespace) -> Figures:
    figures: Figures = {}
    async with bridge(slurm, given.way) as bench:
        figures |= await _submitting(bench, given.submissions)
    figures |= await _following(slurm, given)
    async with bridge(slurm, given.way) as bench:
        figures |= await _ends(bench, given.jobs)
    return figures


@asynccontextmanager
async def bridge(slurm: SlurmCluster, way: str) -> AsyncIterator[SlurmBench]:
    """A bridge with the options that a site would have, and a ledger of its own."""
    with tempfile.TemporaryDirectory() as directory:
        options = SlurmOptions(
            way=way,
            address=f"unix:{slurm.rest_socket}" if way == "rest" else "",
            token_command="scontrol token lifespan=7200" if way == "rest" else "",
            configuration=str(slurm.layout.configuration),
            programs=slurm.programs,
            state_directory=str(Path(directory)),
        )
        bench = SlurmBench(slurm, SlurmExecutor(options, open_way(options, time.time)))
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.executor.run, bench.report)
            yield bench
            nursery.cancel_scope.cancel()


async def _submitting(bench: SlurmBench, count: int) -> Figures:
    """Jobs that wait, so that nothing is measured but the submission: until Slurm has told the last id."""
    slurm = bench.slurm
    slurm.run("scontrol", "update", "PartitionName=normal", "State=DOWN")
    progress(f"sbatch in a loop: {count} jobs")
    begin_s = time.perf_counter()
    for _ in range(count):
        await trio.to_thread.run_sync(slurm.submit, "-o", "/dev/null", "--wrap", "true")
    sbatch_s = time.perf_counter() - begin_s
    slurm.run("scancel", "--user=root")
    progress(f"the bridge: {count} jobs")
    orders = [bench.order(number, output_pattern="/dev/null") for number in range(1, count + 1)]
    begin_s = time.perf_counter()
    await bench.executor.launch(N1, orders)
    await bench.until("all have ids", lambda: bench.submitted_count == count)
    bridge_s = time.perf_counter() - begin_s
    slurm.run("scancel", "--user=root")
    slurm.run("scontrol", "update", "PartitionName=normal", "State=UP")
    return {
        "sbatch_jobs_per_s": round(count / sbatch_s, 1),
        "bridge_jobs_per_s": round(count / bridge_s, 1),
        "submit_ratio": round(sbatch_s / bridge_s, 2),
    }


async def _following(slurm: SlurmCluster, given: argparse.Namespace) -> Figures:
    """The same jobs, which wait for hours, followed for the same time in both ways, and not at all."""
    count, span_s = given.followed, given.follow_s
    slurm.run("scontrol", "update", "PartitionName=short", "State=DOWN")
    async with bridge(slurm, given.way) as bench:
        orders = [bench.order(number, output_pattern="/dev/null", partition="short") for number in range(1, count + 1)]
        await bench.executor.launch(N1, orders)
        await bench.until("all have ids", lambda: bench.submitted_count == count)
        ids = [str(bench.native_id(order)) for order in orders]
        progress(f"the bridge follows {count} jobs for {span_s:g} s")
        bridge_rpcs, bridge_s = await _cost(slurm, partial(trio.sleep, span_s))
    progress(f"one question for each of {count} jobs every {QUESTION_EVERY_S:g} s, for {span_s:g} s")
    each_rpcs, each_s = await _cost(slurm, partial(_ask_each, slurm, ids, span_s))
    progress(f"nobody asks for {span_s:g} s")
    _, idle_s = await _cost(slurm, partial(trio.sleep, span_s))
    slurm.run("scancel", "--user=root")
    slurm.run("scontrol", "update", "PartitionName=short", "State=UP")
    return {
        "bridge_rpcs": bridge_rpcs,
        "each_rpcs": each_rpcs,
        "rpc_ratio": round(bridge_rpcs / max(each_rpcs, 1), 4),
        "idle_slurmctld_cpu_s": round(idle_s, 2),
        "bridge_slurmctld_cpu_s": round(bridge_s, 2),
        "each_slurmctld_cpu_s": round(each_s, 2),
        "slurmctld_cpu_ratio": round(max(bridge_s - idle_s, 0.0) / max(each_s - idle_s, TICK_S), 4),
    }


async def _ask_each(slurm: SlurmCluster, ids: list[str], span_s: float) -> None:
    deadline_s = trio.current_time() + span_s
    while (begin_s := trio.current_time()) < deadline_s:
        for job_id in ids:
            if trio.current_time() < deadline_s:
                await trio.to_thread.run_sync(slurm.run, "squeue", "-h", "-j", job_id, "-o", "%T")
        await trio.sleep(max(0.0, min(begin_s + QUESTION_EVERY_S, deadline_s) - trio.current_time()))


async def _cost(slurm: SlurmCluster, act: Callable[[], Awaitable[None]]) -> tuple[int, float]:
    """(RPCs about jobs, CPU seconds of slurmctld) meanwhile."""
    before = _job_questions(slurm)
    with Meter(slurm.tree.pid) as meter:
        await act()
    return _job_questions(slurm) - before, meter.cpu_s_by_name.get("slurmctld", 0.0)


def _job_questions(slurm: SlurmCluster) -> int:
    found = re.findall(r"(REQUEST_JOB_\w*INFO\w*)\s.*?count:(\d+)", slurm.run("sdiag"))
    return sum(int(count) for _, count in found)


async def _ends(bench: SlurmBench, count: int) -> Figures:
    progress(f"{count} jobs of every kind")
    orders = [order for first in range(1, count // KIND_COUNT + 1) for order in every_kind(bench, first * 100)]
    begin_s = time.perf_counter()
    await bench.executor.launch(N1, orders)
    await bench.ends(orders, patience_s=60 + 2.0 * count)
    took_s = time.perf_counter() - begin_s
    differences = await bench.differences(orders)
    for key, (ours, theirs) in differences.items():
        progress(f"{key}: HAL says {ours}, sacct says {theirs}")
    return {
        "jobs": len(orders),
        "bridge_ended_jobs_per_s": round(len(orders) / took_s, 1),
        "polls": bench.executor.counts["polls"],
        "state_differences": len(differences),
    }


def main() -> None:
    parser = parser_of("slurm_bridge")
    parser.add_argument("--way", choices=("rest", "commands"), default="rest", help="into Slurm (default: rest)")
    parser.add_argument("--submissions", type=int, default=200, help="jobs to submit each way (default: 200)")
    parser.add_argument("--followed", type=int, default=100, help="jobs to follow each way (default: 100)")
    parser.add_argument("--follow-s", type=float, default=30.0, help="for so long (default: 30)")
    parser.add_argument("--jobs", type=int, default=300, help="jobs of every kind to compare (default: 300)")
    parser.add_argument("--rounds", type=int, default=5, help="of a session in pilots and on bare metal (default: 5)")
    parser.add_argument("--tasks", type=int, default=100_000, help="in each of them (default: 100000)")
    parser.add_argument("--short-jobs", type=int, default=5000, help="in Slurm and in pilots (default: 5000)")
    run(__doc__, measure, parser)


if __name__ == "__main__":
    main()
