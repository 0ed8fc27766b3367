"""When a job's dependencies were met, and when the engine first promised it a start: from events about others. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hal_core.models.event import Event, JobEnded, JobRequeued, JobSubmitted, PartStarted, Planned
from hal_core.models.job import DependencyKind, JobId, JobSpec, JobState
from hal_core.models.ranges import RangeSet
from hal_core.rules.job_record import SINGLE
from hal_core.rules.wait_clock import Gates

OF_ELEMENTS: Final = frozenset({DependencyKind.AFTERCORR})
"""These hold back some elements and not the job; their waiting is told as what else keeps the job."""

Course = list[tuple[float, bool]]


def parents_of(spec: JobSpec) -> list[JobId]:
    """The jobs whose events `gates_of` wants to see, but for those of the same name before a singleton."""
    return [each.job_id for each in spec.dependencies if each.kind not in OF_ELEMENTS and each.job_id]


def is_singleton(spec: JobSpec) -> bool:
    return any(each.kind is DependencyKind.SINGLETON for each in spec.dependencies)


def gates_of(
    submitted: JobSubmitted, events: Sequence[Event], others: Mapping[JobId, Sequence[Event]], rivals: Sequence[JobId]
) -> Gates:
    """`others` has the events about the job's parents and its `rivals`: earlier jobs of its name and user."""
    spec = submitted.spec
    courses: list[Course] = []
    needed: list[list[int]] = []
    for dependency in spec.dependencies:
        if dependency.kind in OF_ELEMENTS:
            continue
        parents = rivals if dependency.kind is DependencyKind.SINGLETON else [dependency.job_id]
        found = [_course(others.get(each, ()), _REACHED[dependency.kind]) for each in parents]
        needed.append(list(range(len(courses), len(courses) + len(found))))
        courses += found
    enough = all if spec.needs_all_dependencies else any

    def is_met(reached: Sequence[bool]) -> bool:
        return not needed or enough(all(reached[number] for number in numbers) for numbers in needed)

    promised_s = (
        event.time_s
        for event in events
        if isinstance(event, Planned) and any(job_id == submitted.job_id for job_id, _ in event.reserves)
    )
    return Gates(_met_time_s(courses, is_met, submitted.time_s), next(promised_s, math.inf))


class _Progress:
    """How far a job is: which of its elements have still to start and to end, and which have failed."""

    def __init__(self) -> None:
        self.to_start, self.to_end = RangeSet(), RangeSet()
        self.failed = RangeSet()
        self.is_known = False

    def apply(self, event: Event) -> None:
        match event:
            case JobSubmitted():
                self.is_known = True
                elements = event.spec.array.indices if event.spec.array else SINGLE
                self.to_start, self.to_end = RangeSet(elements), RangeSet(elements)
            case PartStarted(key=key):
                self.to_start.discard(key.index)
            case JobEnded(elements=elements, end=end):
                for start, stop in elements:
                    self.to_start.discard(start, stop)
                    self.to_end.discard(start, stop)
                    if end.state is not JobState.COMPLETED:
                        self.failed.add(start, stop)
            case JobRequeued(key=key):
                self.to_start.add(key.index)
                self.to_end.add(key.index)
                self.failed.discard(key.index)
            case _:
                pass


def _has_begun(progress: _Progress) -> bool:
    return progress.is_known and not progress.to_start


def _has_ended(progress: _Progress) -> bool:
    return progress.is_known and not progress.to_end


_REACHED: Final[Mapping[DependencyKind, Callable[[_Progress], bool]]] = {
    DependencyKind.AFTER: _has_begun,
    DependencyKind.AFTERANY: _has_ended,
    DependencyKind.AFTEROK: lambda progress: _has_ended(progress) and not progress.failed,
    DependencyKind.AFTERNOTOK: lambda progress: _has_ended(progress) and bool(progress.failed),
    DependencyKind.SINGLETON: _has_ended,
}


def _course(events: Sequence[Event], is_reached: Callable[[_Progress], bool]) -> Course:
    """After each event: its time, and whether that was reached then. Of a forgotten job it was, always."""
    progress, course = _Progress(), []
    for event in events:
        progress.apply(event)
        course.append((event.time_s, is_reached(progress)))
    return course if progress.is_known else [(-math.inf, True)]


def _met_time_s(courses: Sequence[Course], is_met: Callable[[Sequence[bool]], bool], after_s: float) -> float:
    """The first time after `after_s` at which enough was reached at once: what was met once stays so, but a parent that
    is queued again before that is not reached any more. Minus infinity: it was so then; infinity: it is not yet."""
    reached = [False] * len(courses)
    steps = sorted(
        ((time_s, number, is_reached) for number, course in enumerate(courses) for time_s, is_reached in course),
        key=lambda step: step[0],
    )
    later = bisect_right(steps, after_s, key=lambda step: step[0])
    for _, number, is_reached in steps[:later]:
        reached[number] = is_reached
    if is_met(reached):
        return -math.inf
    for time_s, number, is_reached in steps[later:]:
        reached[number] = is_reached
        if is_met(reached):
            return time_s
    return math.inf
