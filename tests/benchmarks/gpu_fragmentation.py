"""GPUs that nobody can use: unallocated ones when the first request fails, against best fit in the same run.

HAL_TRACES=/path/to/traces python -m tests.benchmarks.gpu_fragmentation [--json]

Requests are drawn from a trace at random, with replacement, and placed one after the other until one fails, as in the
evaluation of FGD (Weng et al., ATC'23). Each policy gets the same requests in the same order. What is typical is
learned from the requests that have come, never from the trace. Best fit takes the node where the sum of all that is
left, each as a share of the largest node's, is least; both take shares from the fullest device that holds them.
CPUs are counted in thousandths here, as the trace has them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from hal_core.models.demand import Demand
from hal_core.models.gpu_parts import MILLI
from hal_core.models.job import Shape
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.packing import Ask, Packing
from hal_core.models.room import Room
from hal_core.models.row_fields import FIELD_MASK

ALL = PartitionName("all")
SEEDS = range(5)
NODES = "alibaba-gpu2023-openb_node_list_all_node.csv.gz"
PODS = {
    "default": "alibaba-gpu2023-openb_pod_list_default.csv.gz",
    "multigpu50": "alibaba-gpu2023-openb_pod_list_multigpu50.csv.gz",
}


class BestFit(Room):
    """Room that knows nothing of fragments: the node that is filled best over all its amounts together."""

    def _by_harm(self, ask: Ask, nodes: int) -> Iterator[int]:
        packing = self._packing
        fitting = self.fitting(ask) & nodes
        shifts = [packing.shift_of[field] for field in ("cpus", "memory", "gpus")]
        idle = [packing.idle_row(packing.class_of.index(each)) for each in range(packing.shared_from)]
        most = [max(row >> shift & FIELD_MASK for row in idle) for shift in shifts]
        found = []
        for row, members in self._rows:
            hit = members & fitting
            if hit:
                left = sum((row >> shift & FIELD_MASK) / top for shift, top in zip(shifts, most, strict=True))
                left += sum(free for _, free in packing.parts.of(row)) / MILLI / most[2]
                found.append((left, hit & -hit, hit))
        for _, _, hit in sorted(found):
            yield hit


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(folder / name, "rt") as stream:
        return list(csv.DictReader(stream))


def nodes_of(folder: Path) -> list[Node]:
    return [
        Node(NodeName(row["sn"]), int(row["cpu_milli"]), int(row["memory_mib"]), (row["model"],) * int(row["gpu"]))
        for row in rows(folder, NODES)
    ]


def shape_of(row: dict[str, str]) -> Shape:
    gpus, milli = int(row["num_gpu"]), int(row["gpu_milli"])
    is_share = gpus == 1 and milli < MILLI
    return Shape(
        ALL,
        1,
        int(row["cpu_milli"]),
        int(row["memory_mib"]),
        gpus=0 if is_share else gpus,
        gpu_milli=milli if is_share else 0,
    )


def until_full(room: Room, demand: Demand, requests: Iterator[Shape]) -> tuple[int, float]:
    """Place requests until one for GPUs fails. Returns how many were placed, and the GPUs that were left."""
    placed = 0
    for shape in requests:
        demand.add(shape)
        ask = room.packing.ask(shape)
        chosen = room.choose(ask)
        if chosen:
            room.take(chosen, ask)
            placed += 1
        elif shape.gpus or shape.gpu_milli:
            return placed, unallocated(room)
    raise AssertionError("requests are drawn without an end")


def unallocated(room: Room) -> float:
    packing = room.packing
    total = 0
    for number in range(len(packing.class_of)):
        row = room.row_of(number)
        total += (row >> packing.shift_of["gpus"] & FIELD_MASK) * MILLI
        total += sum(free for _, free in packing.parts.of(row))
    return total / MILLI


def one(kind: type[Room], nodes: list[Node], shapes: list[Shape], seed: int) -> dict[str, float]:
    demand = Demand()
    packing = Packing(nodes, {ALL: range(len(nodes))}, demand=demand)
    room = kind.of_rows(packing, [packing.idle_row(number) for number in range(len(nodes))])
    random = Random(seed)
    started_s = time.process_time()
    placed, left = until_full(room, demand, iter(lambda: random.choice(shapes), None))
    return {"placed": placed, "left": left, "cpu_ms_each": (time.process_time() - started_s) * 1000 / placed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    traces = os.environ.get("HAL_TRACES")
    if not traces:
        print("HAL_TRACES does not say where the traces are")
        return 2
    folder = Path(traces)
    nodes = nodes_of(folder)
    gpus = sum(len(node.gpus) for node in nodes)
    report: dict[str, object] = {"nodes": len(nodes), "gpus": gpus}
    for title, name in PODS.items():
        shapes = [shape_of(row) for row in rows(folder, name)]
        runs = {kind: [one(kind, nodes, shapes, seed) for seed in SEEDS] for kind in (Room, BestFit)}
        mean = {kind: statistics.fmean(run["left"] for run in found) for kind, found in runs.items()}
        cost = {kind: statistics.fmean(run["cpu_ms_each"] for run in found) for kind, found in runs.items()}
        below = 1 - mean[Room] / mean[BestFit]
        report[title] = {
            "unallocated_hal": mean[Room],
            "unallocated_best_fit": mean[BestFit],
            "below_best_fit": below,
            "cpu_ms_each_hal": cost[Room],
        }
        if not arguments.json:
            print(f"{title}: {len(shapes)} requests to draw from, {len(nodes)} nodes, {gpus} GPUs, {len(SEEDS)} seeds")
            for kind, label in ((Room, "HAL"), (BestFit, "best fit")):
                each = " ".join(f"{run['left']:.0f}" for run in runs[kind])
                print(f"  {label:9} {mean[kind]:6.1f} GPUs left ({each}), {cost[kind]:.2f} ms of CPU a request")
            print(f"  HAL leaves {below:.0%} fewer")
    if arguments.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
