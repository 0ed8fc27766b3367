"""What one replay was like, in figures. Definitions of the field: Feitelson et al., JSSPP 1997; Gaussier et al., SC'15.

Wait: start minus submission. Bounded slowdown: max(1, (wait + run time) / max(run time, 10 s)). Makespan: from the
first submission to the last end. Utilisation: the processor seconds that were used of those that there were in it.
Means are over all jobs that started; nothing is cut off at the beginning or the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from hal_core.sim.trace import TraceJob

TAU_S = 10.0


@attrs.frozen
class Figures:
    """Of one run. All 0 if no job started."""

    jobs: int
    avg_bounded_slowdown: float = 0.0
    mean_wait_s: float = 0.0
    p95_wait_s: float = 0.0
    max_wait_s: float = 0.0
    utilization: float = 0.0
    makespan_s: float = 0.0


def figures_of(jobs: Sequence[TraceJob], start_s: Sequence[float], processors: int) -> Figures:
    """`start_s` in the order of the jobs, NaN for those that never started."""
    ran = [(job, start - job.submit_s, start) for job, start in zip(jobs, start_s, strict=True) if start == start]
    if not ran:
        return Figures(0)
    waits = sorted(wait for _, wait, _ in ran)
    slowdowns = [max(1.0, (wait + job.run_s) / max(job.run_s, TAU_S)) for job, wait, _ in ran]
    makespan_s = max(start + job.run_s for job, _, start in ran) - min(job.submit_s for job, _, _ in ran)
    used_s = math.fsum(job.run_s * job.processors for job, _, _ in ran)
    return Figures(
        jobs=len(ran),
        avg_bounded_slowdown=math.fsum(slowdowns) / len(ran),
        mean_wait_s=math.fsum(waits) / len(ran),
        p95_wait_s=percentile(waits, 0.95),
        max_wait_s=waits[-1],
        utilization=used_s / (processors * makespan_s) if makespan_s else 0.0,
        makespan_s=makespan_s,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest values in proportion, as numpy does by default. `ordered` is not empty."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
