"""What `--auto-memory` would have saved on traces that say how much memory jobs used, if every job had asked for it.

Jobs come and end when they really did. Over-asking is memory that was held and not used, in byte-seconds; all that an
attempt held which ran out of memory counts too. Where a trace has no requests, each user is taken to have always asked
for what his largest job needed: a request that never fails, and the smallest such one, which nobody knew beforehand.

python -m tests.benchmarks.memory_sizes TRACE.swf... [--request-in-bytes] [--json]
"""

from __future__ import annotations

import argparse
import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import attrs

from hal_core.rules.memory_sizes import MemoryPast
from hal_core.sim.swf import KIB, read_swf
from hal_core.sim.trace import TraceJob
from tests.benchmarks.common import Figures, parser_of, progress, run


@attrs.frozen
class Case:
    """One job: what it asked for and what it used, on all processors together."""

    job: TraceJob
    asked_bytes: int
    peak_bytes: int

    @property
    def kind(self) -> tuple[int, float]:
        return self.job.processors, self.job.limit_s

    @property
    def end_s(self) -> float:
        return self.job.submit_s + max(0.0, self.job.recorded_wait_s) + self.job.run_s


def measure(given: argparse.Namespace) -> Figures:
    figures: Figures = {}
    for path in given.traces:
        progress(path)
        name = Path(path).name.partition(".")[0]
        with open(path, "rb") as stream:
            jobs = [job for job in read_swf(stream).jobs if job.peak_memory_bytes]
        figures |= {f"{name} {key}": value for key, value in saved(cases_of(jobs, given.request_in_bytes)).items()}
    return figures


def cases_of(jobs: Sequence[TraceJob], is_request_in_bytes: bool) -> list[Case]:
    largest: dict[str, int] = defaultdict(int)
    for job in jobs:
        largest[job.user] = max(largest[job.user], job.peak_memory_bytes * job.processors)
    return [
        Case(job, asked_of(job, largest, is_request_in_bytes), job.peak_memory_bytes * job.processors) for job in jobs
    ]


def asked_of(job: TraceJob, largest: dict[str, int], is_request_in_bytes: bool) -> int:
    if is_request_in_bytes:
        return job.memory_bytes // KIB
    return job.memory_bytes * job.processors or largest[job.user]


def saved(cases: Sequence[Case]) -> Figures:
    past, under_way = MemoryPast(), Counter[str]()
    open_jobs: list[tuple[float, int, bool]] = []
    unused_before = unused = 0.0
    sized_count = out_count = 0
    for at, case in enumerate(cases):
        user = case.job.user
        while open_jobs and open_jobs[0][0] <= case.job.submit_s:
            _, number, was_sized = heapq.heappop(open_jobs)
            ended = cases[number]
            past.ended(ended.job.user, ended.kind, ended.peak_bytes)
            under_way[ended.job.user] -= was_sized
        size = past.size(user, case.kind, case.asked_bytes, under_way[user])
        is_sized, is_out = size < case.asked_bytes, size < min(case.peak_bytes, case.asked_bytes)
        held = size + case.asked_bytes if is_out else size
        unused_before += max(0, case.asked_bytes - case.peak_bytes) * case.job.run_s
        unused += max(0, held - case.peak_bytes) * case.job.run_s
        sized_count += is_sized
        out_count += is_out
        under_way[user] += is_sized
        heapq.heappush(open_jobs, (case.end_s, at, is_sized))
    return {
        "jobs": len(cases),
        "different peaks": len({case.peak_bytes // case.job.processors for case in cases}),
        "sized": round(sized_count / max(len(cases), 1), 3),
        "over-asking saved": round(1.0 - unused / unused_before, 3) if unused_before else 0.0,
        "out of memory more": round(out_count / max(len(cases), 1), 4),
    }


def parser() -> argparse.ArgumentParser:
    made = parser_of("memory_sizes")
    made.add_argument("traces", nargs="+", help="SWF files, plain or gzipped")
    made.add_argument(
        "--request-in-bytes",
        action="store_true",
        help="the requested memory is bytes of the whole job, not KiB of each processor as the format says",
    )
    return made


if __name__ == "__main__":
    run(__doc__, measure, parser())
