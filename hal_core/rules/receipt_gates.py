"""When a job's dependencies were met, and when the engine first promised it a start: from events about others. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hal_core.models.event import Event, JobEnded, JobRequeued, JobSubmitted, PartStarted, Planned
from hal_core.models.job import DependencyKind, JobId, JobSpec
from hal_core.models.ranges import RangeSet
from hal_core.rules.job_record import SINGLE
from hal_core.rules.wait_clock import Gates

OF_ELEMENTS: Final = frozenset({DependencyKind.AFTERCORR})
"""These hold back some elements and not the job; their waiting is told as what else keeps the job."""


def parents_of(spec: JobSpec) -> list[JobId]:
    """The jobs whose events `gates_of` wants to see, but for those of the same name before a singleton."""
    return [each.job_id for each in spec.dependencies if each.kind not in OF_ELEMENTS and each.job_id]


def is_singleton(spec: JobSpec) -> bool:
    return any(each.kind is DependencyKind.SINGLETON for each in spec.dependencies)


def gates_of(
    submitted: JobSubmitted, events: Sequence[Event], others: Mapping[JobId, Sequence[Event]], rivals: Sequence[JobId]
) -> Gates:
    """`others` has the events about the job's parents and its `rivals`: earlier jobs of its name and user."""
    spec, after_s = submitted.spec, submitted.time_s
    times_s = []
    for dependency in spec.dependencies:
        if dependency.kind is DependencyKind.SINGLETON:
            finishes_s = [_reached_time_s(others.get(rival, ()), after_s, _has_ended) for rival in rivals]
            times_s.append(max(finishes_s, default=-math.inf))
        elif dependency.kind not in OF_ELEMENTS:
            is_reached = _has_begun if dependency.kind is DependencyKind.AFTER else _has_ended
            times_s.append(_reached_time_s(others.get(dependency.job_id, ()), after_s, is_reached))
    met_time_s = -math.inf
    if times_s:
        met_time_s = max(times_s) if spec.needs_all_dependencies else min(times_s)
    promised_s = (
        event.time_s
        for event in events
        if isinstance(event, Planned) and any(job_id == submitted.job_id for job_id, _ in event.reserves)
    )
    return Gates(-math.inf if met_time_s <= after_s else met_time_s, next(promised_s, math.inf))


class _Progress:
    """How far a job is: which of its elements have still to start, and to end."""

    def __init__(self) -> None:
        self.to_start, self.to_end = RangeSet(), RangeSet()
        self.is_known = False

    def apply(self, event: Event) -> None:
        match event:
            case JobSubmitted():
                self.is_known = True
                elements = event.spec.array.indices if event.spec.array else SINGLE
                self.to_start, self.to_end = RangeSet(elements), RangeSet(elements)
            case PartStarted(key=key):
                self.to_start.discard(key.index)
            case JobEnded(elements=elements):
                for start, stop in elements:
                    self.to_start.discard(start, stop)
                    self.to_end.discard(start, stop)
            case JobRequeued(key=key):
                self.to_start.add(key.index)
                self.to_end.add(key.index)
            case _:
                pass


def _has_begun(progress: _Progress) -> bool:
    return progress.is_known and not progress.to_start


def _has_ended(progress: _Progress) -> bool:
    return progress.is_known and not progress.to_end


def _reached_time_s(events: Sequence[Event], after_s: float, is_reached: Callable[[_Progress], bool]) -> float:
    """When it was reached, if that was after that time or was so then; infinity: it is not. Forgotten jobs have."""
    progress, time_s = _Progress(), math.inf
    for event in events:
        if time_s < math.inf and event.time_s > after_s:
            return time_s
        progress.apply(event)
        time_s = (event.time_s if time_s == math.inf else time_s) if is_reached(progress) else math.inf
    return time_s if progress.is_known else -math.inf
