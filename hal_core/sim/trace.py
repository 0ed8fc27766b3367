"""A trace: rigid jobs as plain rows, with what was found on the way to them. The one input of the quick replay.

Readers (sim/swf.py, sim/sacct.py, sim/journal_trace.py) and the workload model (sim/lublin.py) all make one. What they
cannot use they count and name here; nothing in a file ever ends the reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from hal_core.errors import Problem
from hal_core.models.node import Cluster

PROBLEMS_KEPT = 100
AMOUNT_MAX = 2.0**53
"""No time, size or number in a trace is larger: beyond it a float does not count exactly."""
BAD_SHARE_MAX = 0.01
"""With more bad lines than this, what is left may not be what ran."""


@attrs.define
class TraceJob:
    """One rigid job: when it came, how wide it is, how long it ran, how long it was allowed to."""

    number: int
    submit_s: float
    run_s: float
    limit_s: float
    processors: int
    user: str
    memory_bytes: int = 0
    """For each processor; 0 if not known."""
    peak_memory_bytes: int = 0
    """That it used at most, for each processor; 0 if not known."""
    node_count: int = 0
    """0: as few as hold the processors."""
    gpus: int = 0
    """On all nodes together."""
    partition: str = ""
    label: str = ""
    """What the trace calls it, where that is no number: `17_3`."""
    recorded_wait_s: float = -1.0
    """How long it really waited; below 0 if that is not known."""
    inputs: tuple[str, ...] = ()
    """Datasets that it reads."""
    has_failed: bool = False
    """By itself, if the trace says so."""
    account: str = ""
    """Empty if the trace says of none."""

    @property
    def reaches_limit(self) -> bool:
        return self.run_s >= self.limit_s

    def moved(self, submit_s: float) -> TraceJob:
        return attrs.evolve(self, submit_s=submit_s)


@attrs.frozen
class Trace:
    """What was read. `problems`: the first bad lines; `left_out`: how many jobs were not used, by why."""

    jobs: tuple[TraceJob, ...]
    """In the order of their submission, then of their lines."""
    header: dict[str, str]
    processors: int
    problems: tuple[Problem, ...]
    bad_count: int
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()
    cluster: Cluster | None = None
    """Where the jobs ran, if the trace says so."""
    sizes: Mapping[str, int] = attrs.field(factory=dict)
    """The files that jobs read, in bytes."""
    replica_count: int = 0
    """How many nodes have each of these from the beginning; 0: they are in a store that is on none."""

    @property
    def skipped_count(self) -> int:
        return self.bad_count + sum(self.left_out.values())

    @property
    def is_bad(self) -> bool:
        """So many lines could not be read that the rest is not to be trusted."""
        return self.bad_count > BAD_SHARE_MAX * (self.bad_count + len(self.jobs) + sum(self.left_out.values()))


class Findings:
    """What a reader finds beside the jobs: bad lines, jobs that it leaves out and why, what a person should know."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.bad_count = 0
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self._known: set[int | str] = set()

    def bad(self, problem: Problem) -> None:
        """A line that makes no sense."""
        self.bad_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Jobs that are understood, and cannot be replayed."""
        if count:
            self.left_out[reason] += count

    def is_repeated(self, name: int | str) -> bool:
        """Whether a job of that name was there before; it is remembered."""
        if name in self._known:
            return True
        self._known.add(name)
        return False

    def trace(self, jobs: list[TraceJob], processors: int, header: dict[str, str], cluster: Cluster | None) -> Trace:
        """Jobs wider than the machine are left out here, for only now it is known."""
        fitting = [job for job in jobs if job.processors <= processors]
        self.leave_out("wider than the machine", len(jobs) - len(fitting))
        fitting.sort(key=lambda job: job.submit_s)
        left_out = dict(sorted(self.left_out.items()))
        found = (tuple(self.problems), self.bad_count, left_out, tuple(self.notes))
        return Trace(tuple(fitting), header, processors, *found, cluster)


def width_of(jobs: Sequence[TraceJob], findings: Findings) -> int:
    """A guess at how many processors there were: the most that were used at once, or the widest job's."""
    widest = max((job.processors for job in jobs), default=1)
    changes: list[tuple[float, int]] = []
    for job in jobs:
        if job.recorded_wait_s >= 0:
            start_s = job.submit_s + job.recorded_wait_s
            changes += ((start_s, job.processors), (start_s + job.run_s, -job.processors))
    changes.sort()
    used = peak = 0
    for _, change in changes:
        used += change
        peak = max(peak, used)
    taken = "the most that were used at once" if peak > widest else "the widest job's"
    processors = max(peak, widest)
    findings.notes.append(f"the trace does not say how many processors there were; taken: {processors}, {taken}")
    return processors
