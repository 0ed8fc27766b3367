"""Real Slurm beside HAL: the same jobs, in the way that suits Slurm best, on the same machine in the same run.

Tuned for throughput, without accounting, with many more slots than cores: what makes it fastest here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.common import Figures, cost, progress
from tests.support.meter import Meter
from tests.support.slurm import SlurmCluster

CLIENT_COUNT = 8
"""Slurm takes in most jobs per second from about so many `sbatch` at once."""


def throughput_cluster(node_count: int = 16, cpus: int = 8) -> SlurmCluster:
    return SlurmCluster(node_count=node_count, cpus=cpus, is_tuned_for_throughput=True)


def job_rates(slurm: SlurmCluster, count: int) -> Figures:
    """`count` jobs of /bin/true in two ways. `slurm_jobs_per_s` is the better of the two."""
    run_array(slurm, 32)  # every slurmd has started a step once
    figures = cost("slurm_queued", run_queued(slurm, count), count)
    figures |= cost("slurm_array", run_array(slurm, count), count)
    best = max(("slurm_queued", "slurm_array"), key=lambda way: float(figures[f"{way}_jobs_per_s"]))
    return {
        "slurm_jobs_per_s": figures[f"{best}_jobs_per_s"],
        "slurm_cpu_ms_per_job": figures[f"{best}_cpu_ms_per_job"],
        "slurm_best_way": best,
        "slurm_nodes": slurm.node_count,
        "slurm_cpus_per_node": slurm.cpus,
        **figures,
    }


def run_queued(slurm: SlurmCluster, count: int) -> Meter:
    """Separate jobs, all taken in before the first may start. Only the running is measured: in Slurm's favour."""
    progress(f"Slurm: {count} jobs queued, then started")
    ended = slurm.count_of_ends()
    script = slurm.work / "true.sh"
    script.write_text("#!/bin/sh\nexec /bin/true\n")
    slurm.run("scontrol", "update", "PartitionName=normal", "State=DOWN")
    with ThreadPoolExecutor(CLIENT_COUNT) as pool:
        list(pool.map(lambda _: slurm.submit("-o", "/dev/null", str(script)), range(count)))
    with Meter(slurm.tree.pid) as meter:
        slurm.run("scontrol", "update", "PartitionName=normal", "State=UP")
        slurm.wait_for_ends(ended + count, timeout_s=count)
    return meter


def run_array(slurm: SlurmCluster, count: int) -> Meter:
    """One array, from before its submission."""
    progress(f"Slurm: an array of {count}")
    ended = slurm.count_of_ends()
    with Meter(slurm.tree.pid) as meter:
        slurm.submit("-o", "/dev/null", "--array", f"0-{count - 1}", "--wrap", "exec /bin/true")
        slurm.wait_for_ends(ended + count, timeout_s=count)
    return meter
