"""The engines: jobs a second of replay by policy, how that grows, and one pass over a long queue on a large cluster.

python -m tests.benchmarks.engine [TRACE.swf.gz]     (without a trace: a generated one)
"""

from __future__ import annotations

import gc
import sys
import time
from random import Random

import attrs

from hal_core.models.component import Component
from hal_core.models.event import ClusterDefined, JobSubmitted, NodeJoined
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.topology import Level, Link, Topology
from hal_core.rules import allocations
from hal_core.rules.core import Core
from hal_core.rules.state import State
from hal_core.sim.machine import Machine
from hal_core.sim.swf import read_swf
from hal_core.sim.trace import TraceJob
from tests.support.replays import Setting, engine_of, replay

TOPOLOGY = Topology((Level("rack", Link(5e-6, 6e9)), Level("leaf", Link(2e-6, 25e9))), Link(20e-6, 3e9))
PROCESSORS = 128
PENDING_COUNT = 100_000
NODE_COUNT = 10_000
GIB = 1 << 30
POLICIES = ("fcfs", "easy", "easy-sjbf", "conservative")


def generated(count: int, processors: int = PROCESSORS, load: float = 0.75) -> list[TraceJob]:
    """Widths in powers of two, run times over four orders of magnitude, limits in round numbers; repeatable."""
    random = Random(7)
    jobs, now_s = [], 0.0
    for number in range(count):
        width = 1 << random.choice((0, 0, 0, 1, 2, 3, 4, 5))
        run_s = round(10 ** random.uniform(1.0, 4.6))
        limit_s = next(limit for limit in (300, 900, 3600, 14_400, 43_200, 86_400) if limit >= run_s)
        now_s += round(random.expovariate(load * processors / (6.0 * 4800)))
        jobs.append(TraceJob(number, now_s, run_s, limit_s, width, f"user{random.randrange(40)}"))
    return jobs


def speed(jobs: list[TraceJob], machine: Machine, policy: str) -> float:
    started_s = time.process_time()
    replay(jobs, machine, Setting(policy))
    return len(jobs) / (time.process_time() - started_s)


def large_state(topology: Topology | None, is_mixed: bool = False) -> State:
    """10,000 nodes of three kinds in three partitions, full of running jobs, and a queue of 100,000 of every kind.

    With a topology, leaves of 25 nodes in racks of four; gangs communicate, and some jobs take shares of GPUs. Mixed:
    one job in twenty asks for four further nodes with other amounts.
    """
    random = Random(3)
    nodes = [Node(NodeName(f"c{n}"), 64, 256 * GIB) for n in range(8000)]
    nodes += [Node(NodeName(f"m{n}"), 64, 1024 * GIB, features=("big",)) for n in range(1000)]
    nodes += [Node(NodeName(f"g{n}"), 96, 512 * GIB, gpus=("a100",) * 4) for n in range(NODE_COUNT - 9000)]
    nodes = [
        attrs.evolve(node, location=(f"rack{number // 100}", f"leaf{number // 25}"))
        for number, node in enumerate(nodes)
    ]
    names = [node.name for node in nodes]
    partitions = (
        Partition(PartitionName("main"), tuple(names[:9000]), is_default=True),
        Partition(PartitionName("big"), tuple(names[8000:9000])),
        Partition(PartitionName("gpu"), tuple(names[9000:])),
    )
    state = State()
    state.apply(ClusterDefined(0.0, Cluster("bench", tuple(nodes), partitions, topology=topology)))
    for node in nodes:
        state.apply(NodeJoined(0.0, node, "boot"))
    for number in range(1, PENDING_COUNT + 40_000):
        owner = Owner(f"user{random.randrange(200)}", 1000, 1000)
        spec = _spec(random, number)
        if topology is not None:
            spec = _near(spec, number)
        if is_mixed and not number % 20:
            spec = attrs.evolve(spec, components=(Component(4, 4, 8, 8 * GIB),))
        state.apply(JobSubmitted(float(number), JobId(number), "", owner, spec))
    return state


def _spec(random: Random, number: int) -> JobSpec:
    partition = random.choice(("main",) * 8 + ("big", "gpu"))
    node_count = random.choice((1,) * 12 + (2, 4, 8, 32))
    cpus = random.choice((1, 2, 4, 8, 16, 32, 64))
    return JobSpec(
        name=f"job{number}",
        partition=PartitionName(partition),
        command=("true",),
        node_count=node_count,
        task_count=node_count,
        cpus_per_task=cpus,
        memory_bytes_per_node=random.randint(1, 4 * cpus) * GIB,
        gpus_per_node=random.choice((1, 2, 4)) if partition == "gpu" else 0,
        walltime_s=random.choice((600, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)) * random.choice((1.0, 0.5)),
    )


def _near(spec: JobSpec, number: int) -> JobSpec:
    """The same job with a class of communication; every third of the small GPU jobs takes half a device instead."""
    level = "rack" if spec.node_count > 1 and number % 5 == 0 else ""
    spec = attrs.evolve(spec, communication=(0.0, 0.1, 0.4)[number % 3], level=level)
    return attrs.evolve(spec, gpus_per_node=0, gpu_milli=500) if spec.gpus_per_node == 1 and number % 3 == 0 else spec


def one_pass(topology: Topology | None, is_mixed: bool = False) -> list[float]:
    """The first pass fills the cluster; the second finds it full; then a few jobs end, as they do all the time. How
    long each took, in seconds."""
    took_s: list[float] = []
    state = large_state(topology, is_mixed)
    core = Core(engine_of("easy"), "easy", state)
    for title in ("empty cluster", "full cluster", "after 200 ends"):
        if title.startswith("after"):
            for activity in list(state.allocations.values())[::50][:200]:
                allocations.release(state, activity)
        shapes = len({record.shape for record in state.jobs.values() if record.is_queued})
        waiting, running = len(state.queue), len(state.allocations)
        started_s = time.process_time()
        plan = core.engine.plan(state.snapshot(200_000.0))
        took_s.append(elapsed_s := time.process_time() - started_s)
        print(f"  {title:15} {waiting} waiting of {shapes} shapes, {running} running on {NODE_COUNT} nodes:", end=" ")
        print(f"{elapsed_s * 1000:.0f} ms, {len(plan.starts)} starts, {plan.depth} tried")
        if title.startswith("empty"):
            core.plan(200_000.0)
    return took_s


def main(paths: list[str]) -> int:
    gc.disable()
    for path in paths:
        with open(path, "rb") as stream:
            trace = read_swf(stream)
        print(f"{path}: {len(trace.jobs)} jobs on {trace.processors} processors")
        for policy in POLICIES:
            print(f"  {policy:14} {speed(list(trace.jobs), Machine.pool(trace.processors), policy):9.0f} jobs/s")
    for count in (10_000, 30_000, 100_000):
        jobs = generated(count)
        rates = " ".join(f"{policy} {speed(jobs, Machine.pool(PROCESSORS), policy):.0f}" for policy in POLICIES)
        print(f"generated, {count} jobs on {PROCESSORS} processors, jobs/s: {rates}", flush=True)
    print("one pass of easy:", flush=True)
    alike_s = one_pass(None)
    print("one pass of easy, where one job in twenty asks for different nodes:", flush=True)
    ratios = " ".join(f"{mixed / alike:.2f}" for mixed, alike in zip(one_pass(None, True), alike_s, strict=True))
    print(f"  as a share of the same without: {ratios}", flush=True)
    print("one pass of easy, with a topology, communication and shares of GPUs:", flush=True)
    one_pass(TOPOLOGY)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
