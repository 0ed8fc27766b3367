"""When running jobs are taken to end: the beginning of every profile of room over time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from hal_core.models.plan import RunningJob

OVERDUE_S: Final = 1.0
"""A job that should have ended is expected to end so soon."""


def expected_ends(running: Iterable[RunningJob], now_s: float) -> Iterator[tuple[float, RunningJob]]:
    """(time, job) by ascending time, without those that are not expected to end at all.

    `running` is in the order of expected ends. Who is overdue stands behind those that will end sooner than OVERDUE_S
    from now: these are not put off, for a promise may rest on them.
    """
    soonest_s = now_s + OVERDUE_S
    overdue: list[RunningJob] = []
    for job in running:
        end_s = job.expected_end_s
        if end_s <= now_s:
            overdue.append(job)
            continue
        if overdue and end_s >= soonest_s:
            yield from ((soonest_s, late) for late in overdue)
            overdue.clear()
        if end_s == math.inf:
            break
        yield end_s, job
    yield from ((soonest_s, late) for late in overdue)
