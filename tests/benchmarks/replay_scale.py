"""How replay grows: from 10^4 to 10^6 jobs, and from 10^2 to 10^5 nodes; and a whole year of a large cluster.

python -m tests.benchmarks.replay_scale [--year] [--json]

The cluster has partitions, memory, GPUs and a topology of racks and switches; the jobs ask for all of it. The load is
the same everywhere, so that what changes is size alone. `--year`: 1,000,000 jobs on 10,000 nodes, nothing else.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from random import Random

from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.topology import Level, Link, Topology
from hal_core.sim.expectations import CORRECTIONS
from hal_core.sim.figures import figures_of
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.trace import TraceJob
from tests.support.replays import engine_of, expectations_of

GIB = 1 << 30
LOAD = 0.85
CPUS = 64
JOB_COUNTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
NODE_COUNTS = (100, 1000, 10_000, 100_000)
JOBS_BY_NODES = 20_000
TELL_EVERY = 100_000
YEAR = (1_000_000, 10_000)
SWITCH_NODES, RACK_SWITCHES = 16, 8
TOPOLOGY = Topology(
    (Level("site", Link(4e-6, 10e9)), Level("rack", Link(3e-6, 20e9)), Level("switch", Link(2e-6, 25e9))),
    across=Link(20e-3, 1e9),
)


def cluster_of(node_count: int) -> Cluster:
    """Of ten nodes eight are plain, one has much memory, one four GPUs; sixteen on a switch, eight switches a rack."""
    nodes = []
    for number in range(node_count):
        kind = "main" if number % 10 < 8 else "big" if number % 10 == 8 else "gpu"
        switch = number // SWITCH_NODES
        location = ("site", f"rack{switch // RACK_SWITCHES}", f"switch{switch}")
        memory_bytes = (1024 if kind == "big" else 256) * GIB
        gpus = ("a100",) * 4 if kind == "gpu" else ()
        nodes.append(Node(NodeName(f"{kind}{number}"), CPUS, memory_bytes, gpus, location=location))
    partitions = tuple(
        Partition(
            PartitionName(kind),
            tuple(node.name for node in nodes if node.name.startswith(kind)),
            is_default=kind == "main",
        )
        for kind in ("main", "big", "gpu")
    )
    return Cluster("scale", tuple(nodes), partitions, topology=TOPOLOGY)


def jobs_of(count: int, node_count: int, seed: int = 1) -> list[TraceJob]:
    """Whole and shared nodes, gangs of up to a twentieth of the partition, run times over four orders of magnitude."""
    random = Random(seed)
    rows = [_job(random, number, node_count) for number in range(count)]
    area_s = sum(job.processors * job.run_s for job in rows)
    span_s = area_s / (LOAD * node_count * CPUS)
    times = sorted(random.uniform(0.0, span_s) for _ in rows)
    for job, time_s in zip(rows, times, strict=True):
        job.submit_s = float(round(time_s))
    return rows


def _job(random: Random, number: int, node_count: int) -> TraceJob:
    kind = random.choices(("main", "big", "gpu"), (80, 10, 10))[0]
    widest = max(1, node_count // (25 if kind == "main" else 200))
    run_s = float(round(10 ** random.uniform(1.5, 5.0)))
    limit_s = next(limit for limit in (1800, 3600, 14_400, 43_200, 86_400, 172_800) if limit >= run_s)
    if random.random() < 0.5:  # a part of one node
        nodes, processors = 1, random.choice((1, 2, 4, 8, 16, 32))
    else:
        nodes = min(widest, 2 ** random.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8)))
        processors = nodes * CPUS
    job = TraceJob(number, 0.0, run_s, float(limit_s), processors, f"user{random.randrange(300)}", node_count=nodes)
    job.partition = kind
    job.memory_bytes = random.choice((1, 2, 4) if kind != "big" else (8, 16)) * GIB
    job.gpus = nodes * (random.choice((1, 2, 4)) if processors < CPUS else 4) if kind == "gpu" else 0
    return job


def measure(job_count: int, node_count: int, policy: str = "easy") -> dict[str, float]:
    """One replay. Seconds of CPU time."""
    machine, jobs = Machine(cluster_of(node_count)), jobs_of(job_count, node_count)
    foresight = Foresight(expectations_of("requested"), CORRECTIONS["request"])
    started_s = time.process_time()
    run = Replay(engine_of(policy), machine, jobs, foresight)
    next_told = TELL_EVERY
    for submitted in run.run(EventOrder.TOGETHER):
        if submitted >= next_told:
            next_told += TELL_EVERY
            print(f"  {submitted:9,} submitted, {time.process_time() - started_s:8.1f} s", file=sys.stderr, flush=True)
    cpu_s = time.process_time() - started_s
    figures = figures_of(jobs, run.start_s, machine.processors)
    return {
        "jobs": job_count,
        "nodes": node_count,
        "cpu_s": cpu_s,
        "jobs_per_s": job_count / cpu_s,
        "days": figures.makespan_s / 86_400,
        "used": figures.utilization,
        "mean_wait_s": figures.mean_wait_s,
        "started": figures.jobs,
    }


def main(words: list[str]) -> int:
    gc.disable()
    if "--year" in words:
        sizes = [YEAR]
    else:
        sizes = [(count, 1000) for count in JOB_COUNTS] + [(JOBS_BY_NODES, count) for count in NODE_COUNTS]
    rows = []
    for job_count, node_count in sizes:
        rows.append(row := measure(job_count, node_count))
        if "--json" not in words:
            what = f"{row['days']:.0f} days, {row['used']:.0%} used, mean wait {row['mean_wait_s']:.0f} s"
            speed = f"{row['cpu_s']:8.1f} s, {row['jobs_per_s']:7.0f} jobs/s"
            print(f"{job_count:9,} jobs on {node_count:7,} nodes: {speed}; {what}", flush=True)
    if "--json" in words:
        print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
