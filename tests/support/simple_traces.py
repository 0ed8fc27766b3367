"""Small traces made up for tests of the replay."""

from __future__ import annotations

from random import Random

from hal_core.sim.trace import TraceJob


def some_jobs(seed: int, count: int, step_s: int = 1) -> list[TraceJob]:
    """A busy little trace, with many ends and submissions at the same instants if `step_s` is large."""
    random = Random(seed)
    jobs, now_s = [], 0.0
    for number in range(count):
        now_s += step_s * random.choice((0, 0, 1, 2, 10, 40))
        limit_s = step_s * random.choice((5, 10, 50, 100, 400))
        run_s = random.choice((limit_s, step_s * random.randint(1, limit_s // step_s)))
        jobs.append(TraceJob(number, now_s, run_s, limit_s, random.choice((1, 1, 2, 3, 4, 8, 16)), f"u{number % 3}"))
    return jobs
