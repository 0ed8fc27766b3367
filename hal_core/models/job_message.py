"""Messages of people about jobs that were taken in; models/message.py has all."""

from __future__ import annotations

import attrs

from hal_core.models.job import JobId
from hal_core.models.ranges import Ranges


@attrs.frozen
class JobSelection:
    """A job, or some indices of an array. `indices` None means all of it."""

    job_id: JobId
    indices: Ranges | None = None


@attrs.frozen
class Cancel:
    """Answer: the number of elements that were asked to end. Final elements are left alone (0, no event)."""

    selection: JobSelection
    by: str


@attrs.frozen
class Hold:
    selection: JobSelection
    by: str


@attrs.frozen
class Release:
    selection: JobSelection
    by: str
    may_overrule: bool = True
    """Also a hold of somebody who is neither the caller nor the job's owner."""


@attrs.frozen
class Requeue:
    """End the running attempt if there is one and queue the job again, as a new numbered attempt."""

    selection: JobSelection
    by: str


@attrs.frozen
class Suspend:
    """What of it runs stands still until Resume. Answer: the number of elements that do now."""

    selection: JobSelection
    by: str
    executors: frozenset[str]
    """Those that can suspend what they run."""


@attrs.frozen
class Resume:
    """What a person suspended goes on as soon as nobody else runs on its CPUs. Answer: the number of elements."""

    selection: JobSelection
    by: str


@attrs.frozen
class SetPriority:
    job_id: JobId
    priority: int
    by: str


@attrs.frozen
class SetWeight:
    """Of an elastic job, among its owner's others."""

    job_id: JobId
    weight: int
    by: str
