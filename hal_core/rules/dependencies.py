"""Whether a job's dependencies are satisfied: a pure question to the state, and what its fold makes of the answer.

WAITING may still become MET or NEVER; MET and NEVER are final. A job whose dependency can never be satisfied is ended
(CANCELLED, dependency_never_satisfied), because every acknowledged job ends.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from hal_core.models.job import Dependency, DependencyKind, JobId, JobState
from hal_core.models.ranges import Ranges, RangeSet

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State


class Answer(Enum):
    MET = "met"
    WAITING = "waiting"
    NEVER = "never"


def answer(state: State, record: JobRecord) -> Answer:
    """The answer for the whole job; aftercorr counts as met here (see `corresponding`)."""
    answers = [_answer_one(state, record, dependency) for dependency in record.spec.dependencies]
    if not answers:
        return Answer.MET
    if record.spec.needs_all_dependencies:
        if Answer.NEVER in answers:
            return Answer.NEVER
        return Answer.WAITING if Answer.WAITING in answers else Answer.MET
    if Answer.MET in answers:
        return Answer.MET
    return Answer.WAITING if Answer.WAITING in answers else Answer.NEVER


def look(state: State, record: JobRecord) -> None:
    """Fold what became of its parents into the record. What was satisfied once stays so."""
    if not record.is_met:
        found = answer(state, record)
        record.is_met = found is Answer.MET
        if found is Answer.NEVER:
            state.doomed.add(record.job_id)
    if record.blocked:
        free, waiting, never = corresponding(state, record)
        record.ready.update(free)
        record.blocked = RangeSet((*waiting, *never))
        if never:
            state.doomed.add(record.job_id)
    state.queue.update(record)


def wait_for_parents(state: State, record: JobRecord) -> None:
    """From now on the unfinished ones among them have this job looked at, whenever something becomes of them."""
    for dependency in record.spec.dependencies:
        if dependency.job_id in state.jobs:
            state.children.setdefault(dependency.job_id, set()).add(record.job_id)


def look_at_children(state: State, job_id: JobId) -> None:
    """Something became of this job: fold it into all that wait for it."""
    for child_id in sorted(state.children.get(job_id, set()) & state.jobs.keys()):
        look(state, state.jobs[child_id])


def _answer_one(state: State, record: JobRecord, dependency: Dependency) -> Answer:
    if dependency.kind is DependencyKind.SINGLETON:
        return Answer.WAITING if any(job_id < record.job_id for job_id in state.owned.rivals(record)) else Answer.MET
    parent = state.find(dependency.job_id)
    if parent is None:
        return _answer_forgotten(state, dependency)
    match dependency.kind:
        case DependencyKind.AFTER:
            return Answer.WAITING if parent.ready or parent.blocked or _any_staging(parent) else Answer.MET
        case DependencyKind.AFTERANY:
            return Answer.MET if parent.is_finished else Answer.WAITING
        case DependencyKind.AFTEROK:
            if parent.has_failed:
                return Answer.NEVER
            return Answer.MET if parent.is_finished else Answer.WAITING
        case DependencyKind.AFTERNOTOK:
            if not parent.is_finished:
                return Answer.WAITING
            return Answer.MET if parent.has_failed else Answer.NEVER
        case _:
            return Answer.MET


def _any_staging(parent: JobRecord) -> bool:
    return any(activity.start_time_s is None for activity in parent.active.values())


def _answer_forgotten(state: State, dependency: Dependency) -> Answer:
    """The parent ended so long ago that only its outcome is kept."""
    has_completed = dependency.job_id in state.completed_ids
    match dependency.kind:
        case DependencyKind.AFTEROK | DependencyKind.AFTERCORR:
            return Answer.MET if has_completed else Answer.NEVER
        case DependencyKind.AFTERNOTOK:
            return Answer.NEVER if has_completed else Answer.MET
        case _:
            return Answer.MET


def corresponding(state: State, record: JobRecord) -> tuple[Ranges, Ranges, Ranges]:
    """Split a job's blocked elements by its aftercorr dependencies into (free to start, waiting, never)."""
    pending = record.blocked.ranges()
    free, never = RangeSet(pending), RangeSet()
    waiting = RangeSet()
    for dependency in record.spec.dependencies:
        if dependency.kind is not DependencyKind.AFTERCORR:
            continue
        parent = state.find(dependency.job_id)
        if parent is None:
            continue
        completed = parent.ended.get(JobState.COMPLETED, RangeSet())
        still = parent.ready.copy()
        still.update(parent.blocked.ranges())
        for index in parent.active:
            still.add(index)
        waiting.update(still.intersection(pending))
        lost = RangeSet(pending)
        lost.difference_update(still.ranges())
        lost.difference_update(completed.ranges())
        never.update(lost.ranges())
    waiting.difference_update(never.ranges())
    free.difference_update(waiting.ranges())
    free.difference_update(never.ranges())
    return free.ranges(), waiting.ranges(), never.ranges()
