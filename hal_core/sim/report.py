"""What a run was like, from its events alone: waits, bounded slowdown, utilisation, makespan. For journals as for runs.

An element counts once, with its last attempt; elements that never started have no wait. Bounded slowdown is
max(1, (wait + run time) / max(run time, tau)), so that jobs of a second do not dominate the mean.
Feitelson et al., Theory and practice in parallel job scheduling, JSSPP 1997.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from hal_core.models.event import ClusterDefined, Event, JobEnded, JobPlaced, JobRequeued, JobSubmitted
from hal_core.models.job import JobId
from hal_core.models.ranges import RangeSet, count_of, members, parse_ranges

TAU_S = 10.0


@attrs.frozen
class Spread:
    """Some numbers, summed up. All 0 if there are none."""

    count: int
    mean: float
    p50: float
    p95: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        ordered = sorted(values)
        return cls(
            len(ordered),
            math.fsum(ordered) / len(ordered),
            ordered[math.ceil(0.50 * len(ordered)) - 1],
            ordered[math.ceil(0.95 * len(ordered)) - 1],
            ordered[-1],
        )


@attrs.frozen
class Report:
    """Figures of one run. Elements, not jobs, are counted."""

    element_count: int
    ended: dict[str, int]
    """By final state."""
    wait_s: Spread
    bounded_slowdown: Spread
    cpu_s_allocated: float
    utilisation: float
    """Share of the cluster's CPU seconds, from the first submission to the last end, that was allocated."""
    makespan_s: float

    @property
    def unfinished_count(self) -> int:
        return self.element_count - sum(self.ended.values())


def summarise(events: Iterable[Event]) -> Report:
    """The report of a journal, or of a simulation's events."""
    reader = _Reader()
    for event in events:
        reader.read(event)
    return reader.report()


class _Reader:
    """Folds the events into figures."""

    def __init__(self) -> None:
        self._cpu_count = 0
        self._submit_time_s: dict[JobId, float] = {}
        self._element_count = 0
        self._first_s, self._last_s = math.inf, -math.inf
        self._placed: dict[tuple[JobId, int], tuple[float, float]] = {}
        """When, and how many CPUs."""
        self._cpu_s = 0.0
        self._runs: dict[tuple[JobId, int], tuple[float, float]] = {}
        """(wait, run time) of elements that ran to an end."""
        self._ended: dict[JobId, dict[str, RangeSet]] = {}
        self._cpu_counts: dict[str, int] = {}

    def read(self, event: Event) -> None:
        match event:
            case JobPlaced():
                count = count_of(event.elements)
                cpus = sum(self._count(share.cpus) for share in event.shares) / count
                for index in members(event.elements):
                    self._placed[event.job_id, index] = (event.time_s, cpus)
            case JobEnded():
                self._end(event)
            case JobRequeued(time_s=time_s, key=key):
                self._release(key.job_id, key.index, time_s)
                self._runs.pop((key.job_id, key.index), None)
                for indices in self._ended.get(key.job_id, {}).values():
                    indices.discard(key.index)
            case JobSubmitted(time_s=time_s, job_id=job_id, spec=spec):
                self._submit_time_s[job_id] = time_s
                self._element_count += count_of(spec.array.indices) if spec.array else 1
                self._first_s = min(self._first_s, time_s)
            case ClusterDefined(cluster=cluster):
                self._cpu_count = sum(node.cpu_count for node in cluster.nodes)
            case _:
                pass

    def report(self) -> Report:
        runs = self._runs.values()
        makespan_s = max(0.0, self._last_s - self._first_s) if self._submit_time_s else 0.0
        capacity_s = self._cpu_count * makespan_s
        ended: dict[str, int] = {}
        for by_state in self._ended.values():
            for state, indices in by_state.items():
                ended[state] = ended.get(state, 0) + len(indices)
        return Report(
            element_count=self._element_count,
            ended={state: count for state, count in sorted(ended.items()) if count},
            wait_s=Spread.of([wait_s for wait_s, _ in runs]),
            bounded_slowdown=Spread.of([max(1.0, (wait_s + run_s) / max(run_s, TAU_S)) for wait_s, run_s in runs]),
            cpu_s_allocated=self._cpu_s,
            utilisation=self._cpu_s / capacity_s if capacity_s else 0.0,
            makespan_s=makespan_s,
        )

    def _end(self, event: JobEnded) -> None:
        self._last_s = max(self._last_s, event.time_s)
        by_state = self._ended.setdefault(event.job_id, {})
        by_state.setdefault(event.end.state.value, RangeSet()).update(event.elements)
        if count_of(event.elements) > 1:
            return  # they never ran
        for index in members(event.elements):
            self._release(event.job_id, index, event.time_s)
            if event.start_time_s is not None and event.ran_s is not None:
                wait_s = event.start_time_s - self._submit_time_s[event.job_id]
                self._runs[event.job_id, index] = (wait_s, event.ran_s)

    def _release(self, job_id: JobId, index: int, time_s: float) -> None:
        place_s, cpus = self._placed.pop((job_id, index), (time_s, 0.0))
        self._cpu_s += (time_s - place_s) * cpus

    def _count(self, cpus: str) -> int:
        found = self._cpu_counts.get(cpus)
        if found is None:
            found = self._cpu_counts[cpus] = count_of(parse_ranges(cpus))
        return found
