"""What limits still let start, while an engine makes its plan. Commit counts again by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from hal_core.models.job import JobId
    from hal_core.models.plan import PendingJob


class Quota(Protocol):
    """Counts down as the engine starts jobs. A job of which nothing is left waits for a limit and holds nobody up."""

    def left(self, job_id: JobId) -> int:
        """How many elements of the job limits let start now."""
        ...

    def take(self, job_id: JobId, count: int) -> None:
        """So many of its elements are started by this plan; below 0: will have ended when it counts."""
        ...

    def fresh(self) -> Quota:
        """One for another plan of the same moment, which has started nothing yet."""
        ...

    def without(self, ended: Mapping[JobId, int]) -> Quota:
        """The same, as if so many running elements of these jobs, and of no others, had ended."""
        ...


def within(quota: Quota | None, job: PendingJob) -> PendingJob | None:
    """The job with the elements that may still start; None if there are none. No quota: there are no limits."""
    if quota is None:
        return job
    left = quota.left(job.job_id)
    if left >= job.element_count:
        return job
    return attrs.evolve(job, element_count=left) if left > 0 else None
