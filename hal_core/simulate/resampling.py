"""How sure a difference between two policies is: a block bootstrap over the jobs that both of them ran.

Both ran the same jobs, so each job is a pair, and what is resampled is differences. Jobs that came close together
waited for the same reasons: they are drawn together, as blocks of a week (or of a twentieth of the trace, if that is
less). With several replicas each block is drawn from any of them, so that chance in the order of submissions counts
too. The 95 % interval is that of the middle 95 % of the resampled means.
Efron and Tibshirani, An introduction to the bootstrap, 1993; blocks: Künsch, Annals of Statistics 17(3), 1989.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import attrs

from hal_core.sim.figures import TAU_S, percentile
from hal_core.sim.trace import TraceJob

RESAMPLES = 2000
BLOCK_S_MAX = 7 * 86_400
BLOCKS_MIN = 20
LOW, HIGH = 0.025, 0.975


@attrs.frozen
class Pairs:
    """The jobs of one replica, and when each started under the first policy and under the other one."""

    jobs: Sequence[TraceJob]
    first_s: Sequence[float]
    other_s: Sequence[float]


@attrs.frozen
class Difference:
    """The other policy's mean as a share of the first one's, less 1: -0.2 is a fifth less. `low` to `high`: 95 %."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Chance alone hardly makes such a difference."""
        return self.low > 0 or self.high < 0


def difference_of_waits(pairs: Sequence[Pairs], seed: int) -> Difference:
    return _resampled([_sums(each, is_slowdown=False) for each in pairs], seed)


def difference_of_slowdowns(pairs: Sequence[Pairs], seed: int) -> Difference:
    return _resampled([_sums(each, is_slowdown=True) for each in pairs], seed)


Sums = list[tuple[float, float]]
"""For each block: the sum under the first policy, and under the other one."""


def _sums(pairs: Pairs, is_slowdown: bool) -> Sums:
    jobs = pairs.jobs
    if not jobs:
        return []
    begin_s, span_s = jobs[0].submit_s, jobs[-1].submit_s - jobs[0].submit_s
    block_s = max(min(BLOCK_S_MAX, span_s / BLOCKS_MIN), 1.0)
    sums = [(0.0, 0.0)] * (int(span_s // block_s) + 1)
    for job, first_s, other_s in zip(jobs, pairs.first_s, pairs.other_s, strict=True):
        if first_s == first_s and other_s == other_s:
            first, other = first_s - job.submit_s, other_s - job.submit_s
            if is_slowdown:
                least_s = max(job.run_s, TAU_S)
                first = max(1.0, (first + job.run_s) / least_s)
                other = max(1.0, (other + job.run_s) / least_s)
            at = int((job.submit_s - begin_s) // block_s)
            sums[at] = (sums[at][0] + first, sums[at][1] + other)
    return [block for block in sums if block != (0.0, 0.0)]


def _resampled(replicas: Sequence[Sums], seed: int) -> Difference:
    blocks = [block for sums in replicas for block in sums]
    count = max((len(sums) for sums in replicas), default=0)
    random = Random(seed)  # noqa: S311  repeatable, nothing secret
    found = sorted(_share(random.choices(blocks, k=count)) for _ in range(RESAMPLES)) if blocks else [0.0]
    return Difference(_share(blocks), percentile(found, LOW), percentile(found, HIGH))


def _share(blocks: Sequence[tuple[float, float]]) -> float:
    first = sum(block[0] for block in blocks)
    return sum(block[1] for block in blocks) / first - 1.0 if first else 0.0
