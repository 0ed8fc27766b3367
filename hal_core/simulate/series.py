"""What the report draws, as numbers: use and queue over time, waits by size and user, one window job by job. Pure."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import attrs

from hal_core.sim.trace import TraceJob

if TYPE_CHECKING:
    from hal_core.simulate import Run

BIN_COUNT = 180
USERS_SHOWN = 10
WINDOW_JOBS = 150
WINDOW_JOBS_MAX = 600


@attrs.frozen
class Span:
    """From the first submission to the last end of any policy."""

    begin_s: float
    end_s: float

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Span:
        jobs = runs[0].jobs
        if not jobs:
            return cls(0.0, 1.0)
        ends = (start + job.run_s for run in runs for job, start in ran(run))
        begin_s = jobs[0].submit_s
        return cls(begin_s, max(max(ends, default=begin_s), begin_s + 1.0))

    @property
    def bin_s(self) -> float:
        return (self.end_s - self.begin_s) / BIN_COUNT


def ran(run: Run) -> Iterable[tuple[TraceJob, float]]:
    """Jobs that started, and when."""
    return ((job, start) for job, start in zip(run.jobs, run.start_s, strict=True) if start == start)


def utilisation(run: Run, span: Span) -> list[float]:
    """By bin: the share of the processors that was used."""
    changes: list[tuple[float, int]] = []
    for job, start in ran(run):
        changes += ((start, job.processors), (start + job.run_s, -job.processors))
    return [used / run.processors for used in _means(changes, span)]


def waiting(run: Run, span: Span) -> list[float]:
    """By bin: how many jobs waited, on average."""
    changes: list[tuple[float, int]] = []
    for job, start in ran(run):
        if start > job.submit_s:
            changes += ((job.submit_s, 1), (start, -1))
    return _means(changes, span)


def _means(changes: list[tuple[float, int]], span: Span) -> list[float]:
    """The mean level in each bin, of a level that changes at these times."""
    changes.sort()
    sums = [0.0] * BIN_COUNT
    level, before_s = 0, span.begin_s
    for time_s, change in (*changes, (span.end_s, 0)):
        at = min(int((before_s - span.begin_s) / span.bin_s), BIN_COUNT - 1)
        while level and before_s < time_s:
            until_s = min(time_s, span.begin_s + (at + 1) * span.bin_s) if at < BIN_COUNT - 1 else time_s
            sums[at] += level * (until_s - before_s)
            before_s = until_s
            at = min(at + 1, BIN_COUNT - 1)
        before_s = max(before_s, time_s)
        level += change
    return [value / span.bin_s for value in sums]


def size_classes(jobs: Sequence[TraceJob]) -> dict[str, Callable[[TraceJob], bool]]:
    """Powers of two of processors, the smallest and the largest taken together so that there are at most eight."""
    widest = max((job.processors for job in jobs), default=1)
    top = max(math.ceil(math.log2(widest)), 0)
    step = max(1, math.ceil(top / 7))
    bounds = [0, *(2**exponent for exponent in range(0, top + step, step))]
    classes: dict[str, Callable[[TraceJob], bool]] = {}
    for low, high in itertools.pairwise(bounds):
        name = str(high) if low + 1 == high else f"{low + 1}-{min(high, widest)}"
        classes[name] = lambda job, low=low, high=high: low < job.processors <= high  # type: ignore[misc]
    return classes


def waits_by_size(run: Run) -> dict[str, tuple[int, float]]:
    """Class -> how many jobs, and their mean wait."""
    found: dict[str, tuple[int, float]] = {}
    for name, belongs in size_classes(run.jobs).items():
        waits = [start - job.submit_s for job, start in ran(run) if belongs(job)]
        if waits:
            found[name] = (len(waits), fmean(waits))
    return found


def largest_users(jobs: Sequence[TraceJob]) -> list[str]:
    """Those who used most processor time, the most first."""
    used: dict[str, float] = defaultdict(float)
    for job in jobs:
        used[job.user] += job.processors * job.run_s
    return heapq.nlargest(USERS_SHOWN, used, key=lambda user: used[user])


def waits_by_user(run: Run, users: Sequence[str]) -> dict[str, tuple[int, float]]:
    waits: dict[str, list[float]] = {user: [] for user in users}
    for job, start in ran(run):
        if job.user in waits:
            waits[job.user].append(start - job.submit_s)
    return {user: (len(found), fmean(found)) for user, found in waits.items() if found}


def coverage(run: Run) -> list[tuple[float, float]]:
    """(tau, share of the jobs that ran no longer than that quantile of what was said of them when they came)."""
    pairs = zip(run.foretold, run.jobs, run.start_s, strict=True)
    said = [(each, job.run_s) for each, job, start in pairs if start == start]
    quantiles = (0.1, "p10_s"), (0.5, "p50_s"), (0.9, "p90_s")
    return [(tau, fmean(run_s <= getattr(each, name) for each, run_s in said)) for tau, name in quantiles if said]


# -- a window, job by job ----------------------------------------------------------------------------------------------


@attrs.frozen
class Bar:
    """One job in the window, and the processors that it is drawn on, as half-open pairs."""

    job: TraceJob
    start_s: float
    rows: tuple[tuple[int, int], ...]


def busiest_window(run: Run) -> tuple[float, float]:
    """Around the moment when most jobs waited, so long that a person can still tell the jobs apart."""
    changes = sorted(
        change for job, start in ran(run) if start > job.submit_s for change in ((job.submit_s, 1), (start, -1))
    )
    level = most = 0
    peak_s = run.jobs[0].submit_s if run.jobs else 0.0
    for time_s, change in changes:
        level += change
        if level > most:
            most, peak_s = level, time_s
    distances = sorted(abs(start - peak_s) for _, start in ran(run))
    half_s = distances[min(WINDOW_JOBS, len(distances)) - 1] if distances else 1.0
    half_s = max(half_s, 60.0)
    return peak_s - half_s, peak_s + half_s


def bars(run: Run, window: tuple[float, float]) -> list[Bar]:
    """The jobs that run in the window, on the lowest processors that are free: which ones a pool does not say."""
    begin_s, end_s = window
    inside = [(start, job) for job, start in ran(run) if start < end_s and start + job.run_s > begin_s]
    inside.sort(key=lambda row: row[0])
    free: list[tuple[int, int]] = [(0, run.processors)]
    ends: list[tuple[float, int, tuple[tuple[int, int], ...]]] = []
    found: list[Bar] = []
    for number, (start_s, job) in enumerate(inside[:WINDOW_JOBS_MAX]):
        while ends and ends[0][0] <= start_s:
            free = _joined([*free, *heapq.heappop(ends)[2]])
        rows, free = _taken(free, job.processors)
        heapq.heappush(ends, (start_s + job.run_s, number, rows))
        found.append(Bar(job, start_s, rows))
    return found


def _taken(free: list[tuple[int, int]], count: int) -> tuple[tuple[tuple[int, int], ...], list[tuple[int, int]]]:
    """The lowest so many rows, and what is left."""
    taken: list[tuple[int, int]] = []
    left: list[tuple[int, int]] = []
    for low, high in free:
        width = min(count, high - low)
        count -= width
        if width:
            taken.append((low, low + width))
        if low + width < high:
            left.append((low + width, high))
    return tuple(taken), left


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined
