"""Placement by topology against placement without it: the same jobs, the same engine, the same starts.

python -m tests.benchmarks.topology [--load 1.12] [--json]

A generated workload of gangs with communication classes is replayed on three regions of racks of leaves, once with the
topology and once blind to it. Jobs take whole nodes, so both runs start the same jobs at the same times: utilisation is
equal, and only where the jobs are differs. Then the CPU time of one placement by the size of the cluster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from random import Random

import attrs

from hal_core.models.job import Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import Start
from hal_core.models.room import Room
from hal_core.models.topology import COMMUNICATION, Level, Link, Topology
from hal_core.rules.patience import slow_down
from hal_core.sim.expectations import Expectations, to_request
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.trace import TraceJob
from hal_engine_backfill.easy import Easy

ALL = PartitionName("all")
TOPOLOGY = Topology(
    (Level("region", Link(20e-6, 3e9)), Level("rack", Link(5e-6, 6e9)), Level("leaf", Link(2e-6, 25e9))),
    Link(30e-3, 1e9, 0.02),
)
REGIONS, RACKS, LEAVES, LEAF_SIZE = 3, 4, 4, 16
JOB_COUNT = 4000
LOAD = 1.12
WARM_SHARE = 0.2


def cluster(has_topology: bool, scale: int = 1) -> Cluster:
    """`scale` times as many racks in each region."""
    places = [
        (f"region{region}", f"rack{rack}", f"leaf{leaf}")
        for region in range(REGIONS)
        for rack in range(RACKS * scale)
        for leaf in range(LEAVES)
        for _ in range(LEAF_SIZE)
    ]
    nodes = tuple(Node(NodeName(f"n{n}"), 1, 0, location=where) for n, where in enumerate(places))
    partition = Partition(ALL, tuple(node.name for node in nodes), is_default=True)
    return Cluster("bench", nodes, (partition,), topology=TOPOLOGY if has_topology else None)


def workload(node_count: int, load: float = LOAD) -> list[TraceJob]:
    """Gangs of 1 to 64 nodes, not only powers of two; run times over three orders of magnitude; repeatable. With the
    loads 1.0, 1.09 and 1.12 utilisation is 0.84, 0.91 and 0.94."""
    random = Random(11)
    jobs, now_s = [], 0.0
    for number in range(JOB_COUNT):
        width = min(64, max(1, round(2 ** random.uniform(0, 6.2))))
        run_s = round(10 ** random.uniform(2.0, 4.3))
        now_s += random.expovariate(load * node_count / (18.0 * 3760))
        jobs.append(TraceJob(number, now_s, run_s, run_s * random.choice((1, 2, 4)), width, "user"))
    return jobs


class Communicating(Machine):
    """Jobs of each class in turn by their width, so that equal widths of one class are one shape."""

    def shape_of(self, job: TraceJob) -> Shape:
        share = list(COMMUNICATION.values())[job.number % len(COMMUNICATION)]
        return attrs.evolve(super().shape_of(job), communication=share)


class Watched(Replay):
    """Keeps where each job ran."""

    places: dict[int, tuple[int, ...]]

    def _start(self, start: Start, now_s: float) -> None:
        self.places[int(start.job_id)] = start.node_numbers
        super()._start(start, now_s)


def run(has_topology: bool, jobs: list[TraceJob]) -> tuple[Watched, float]:
    machine = Communicating(cluster(has_topology))
    replay = Watched(Easy(), machine, jobs, Foresight(Expectations(), to_request))
    replay.places = {}
    started_s = time.process_time()
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    return replay, time.process_time() - started_s


def utilisation(replay: Watched, jobs: list[TraceJob], node_count: int) -> float:
    """Between the start of the measured part and the last submission."""
    first_s, last_s = jobs[int(len(jobs) * WARM_SHARE)].submit_s, jobs[-1].submit_s
    busy = 0.0
    for job, start_s in zip(jobs, replay.start_s, strict=True):
        busy += job.processors * max(0.0, min(start_s + job.run_s, last_s) - max(start_s, first_s))
    return busy / ((last_s - first_s) * node_count)


def figures(replay: Watched, jobs: list[TraceJob]) -> dict[str, float]:
    """Over the gangs of the measured part, by the topology whether or not the engine knew it."""
    whole = cluster(True)
    packing = Packing(whole.nodes, {ALL: range(len(whole.nodes))}, TOPOLOGY)
    domains = packing.domains
    assert domains is not None
    machine = Communicating(whole)
    spans, downs, leaves, ideal, across = [], [], 0, 0, 0
    for job in jobs[int(len(jobs) * WARM_SHARE) :]:
        nodes = mask_of(replay.places[job.number])
        count = nodes.bit_count()
        leaves += domains.leaf_count(nodes)
        ideal += -(-count // LEAF_SIZE)
        if count > 1:
            span = domains.span(nodes)
            spans.append(domains.depth_max - span.depth)
            ask = packing.ask(machine.shape_of(job))
            if ask.shape.communication:
                across += span.depth == 0
                downs.append(slow_down(ask, nodes))
    return {
        "mean_span": statistics.fmean(spans),
        "mean_slow_down": statistics.fmean(downs),
        "leaves_over_ideal": leaves / ideal,
        "communicating_gangs_across_regions": across / len(downs),
    }


def placement_us(scale: int) -> tuple[int, float]:
    """CPU time of one gang's placement on a cluster that is 92 % full; of 12 nodes, where no leaf has so many."""
    random = Random(5)
    whole = cluster(True, scale)
    packing = Packing(whole.nodes, {ALL: range(len(whole.nodes))}, TOPOLOGY)
    rows = [packing.idle_row(number) if random.random() < 0.08 else -1 for number in range(len(whole.nodes))]
    room = Room.of_rows(packing, rows)
    ask = packing.ask(Shape(ALL, 12, 1, 0, communication=0.4))
    started_s, rounds = time.process_time(), 100
    for _ in range(rounds):
        assert room.choose(ask)
    return len(whole.nodes), (time.process_time() - started_s) / rounds * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=float, default=LOAD, help="how fast jobs come")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    node_count = REGIONS * RACKS * LEAVES * LEAF_SIZE
    jobs = workload(node_count, arguments.load)
    report: dict[str, object] = {"nodes": node_count, "jobs": len(jobs)}
    found = {}
    for title, has_topology in (("topology", True), ("blind", False)):
        replay, cpu_s = run(has_topology, jobs)
        used = utilisation(replay, jobs, node_count)
        found[title] = figures(replay, jobs)
        report[title] = found[title] | {"utilisation": used, "jobs_per_s": len(jobs) / cpu_s}
    for name in ("mean_span", "mean_slow_down"):
        report[f"{name}_below_blind"] = 1 - found["topology"][name] / found["blind"][name]
    excess = [found[title]["mean_slow_down"] - 1 for title in ("topology", "blind")]
    report["excess_slow_down_below_blind"] = 1 - excess[0] / excess[1]
    report["placement_us"] = {str(count): us for count, us in map(placement_us, (1, 13, 130))}
    if arguments.json:
        print(json.dumps(report))
        return 0
    for key, value in report.items():
        if isinstance(value, dict):
            value = "  ".join(f"{name} {each:.3g}" for name, each in value.items())
        print(f"{key}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
