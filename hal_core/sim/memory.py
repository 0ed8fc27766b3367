"""What `--auto-memory` would have saved on a trace that says how much memory its jobs used, had every job asked for it.

Jobs come and end as the replay has them. Over-asking is memory that is held and not used, in byte-seconds; all that an
attempt held which ran out of memory counts too. Where a trace has no requests, each user is taken to have always asked
for what his largest job needed: a request that never fails, and the smallest such one, which nobody knew beforehand.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence

import attrs

from hal_core.rules.memory_sizes import MemoryPast
from hal_core.sim.trace import TraceJob


@attrs.frozen
class MemoryFigures:
    """Of the jobs of one run of which it is known how much memory they used. Shares are between 0 and 1."""

    job_count: int
    peak_count: int
    """So many different ones: with few there is little to be learned."""
    sized_share: float
    """Of the jobs, those that would have begun with less than they asked for."""
    saved_share: float
    """Of the over-asking."""
    out_of_memory_share: float
    """Of the jobs, those that would have run out of memory for it, and begun again with what they asked for."""


@attrs.frozen
class Case:
    """One job: what it asked for and what it used, on all processors together, and when it ended."""

    job: TraceJob
    asked_bytes: int
    peak_bytes: int
    end_s: float

    @property
    def kind(self) -> tuple[int, float]:
        return self.job.processors, self.job.limit_s


def memory_figures(jobs: Sequence[TraceJob], start_s: Sequence[float]) -> MemoryFigures:
    """`start_s`: of each job, NaN if it never started."""
    ran = [(job, at_s) for job, at_s in zip(jobs, start_s, strict=True) if job.peak_memory_bytes and at_s == at_s]
    largest: dict[str, int] = defaultdict(int)
    for job, _ in ran:
        largest[job.user] = max(largest[job.user], job.peak_memory_bytes * job.processors)

    def asked_bytes(job: TraceJob) -> int:
        return job.memory_bytes * job.processors or largest[job.user]

    return saved(
        [
            Case(job, asked_bytes(job), job.peak_memory_bytes * job.processors, at_s + min(job.run_s, job.limit_s))
            for job, at_s in ran
        ]
    )


def saved(cases: Sequence[Case]) -> MemoryFigures:
    """Of jobs in the order in which they came."""
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
    count = max(len(cases), 1)
    return MemoryFigures(
        job_count=len(cases),
        peak_count=len({case.peak_bytes // case.job.processors for case in cases}),
        sized_share=sized_count / count,
        saved_share=1.0 - unused / unused_before if unused_before else 0.0,
        out_of_memory_share=out_count / count,
    )
