"""How many elements wait, are prepared and run: a small fold of the events. No metrics library, no clock.

Its memory is bounded by what waits (one number for each job) and what is active (one entry for each element).
It begins with what there was before; events of jobs that it knows nothing of are passed over.
"""

from __future__ import annotations

from hal_core import (
    JobEnded,
    JobId,
    JobPlaced,
    JobRequeued,
    JobSubmitted,
    PartStarted,
    Standing,
    count_of,
    members,
)


class Tracker:
    """Counts elements by phase. One method for each kind of event that matters."""

    def __init__(self) -> None:
        self.pending_count = 0
        self.staging_count = 0
        self.running_count = 0
        self._waits_since_s: dict[JobId, float] = {}
        self._unfinished: dict[JobId, int] = {}
        self._active: dict[tuple[JobId, int], bool] = {}
        """(job, index) of each allocation in force -> whether it has started."""

    def begin(self, standing: Standing) -> None:
        for job_id, count, since_s in standing.waiting:
            self.pending_count += count
            self._unfinished[job_id] = count
            self._waits_since_s[job_id] = since_s
        for job_id, index, has_started in standing.active:
            self._active[job_id, index] = has_started
            self._unfinished[job_id] += 1
            if has_started:
                self.running_count += 1
            else:
                self.staging_count += 1

    def submitted(self, event: JobSubmitted) -> int:
        """How many elements came in."""
        count = count_of(event.spec.array.indices) if event.spec.array else 1
        self._waits_since_s[event.job_id] = max(event.time_s, event.spec.begin_time_s)
        self._unfinished[event.job_id] = count
        self.pending_count += count
        return count

    def placed(self, event: JobPlaced) -> None:
        if event.job_id not in self._unfinished:
            return
        for index in members(event.elements):
            self._active[event.job_id, index] = False
            self.staging_count += 1
            self.pending_count -= 1

    def started(self, event: PartStarted) -> float | None:
        """How long the element waited that starts with it. None if none does: it is another part of a gang that runs
        already, or unknown."""
        job_id, index, _ = event.key
        if self._active.get((job_id, index), True):
            return None
        self._active[job_id, index] = True
        self.staging_count -= 1
        self.running_count += 1
        return max(0.0, event.time_s - self._waits_since_s[job_id])

    def requeued(self, event: JobRequeued) -> None:
        key = event.key
        if not self._leave(key.job_id, key.index):  # it had ended
            self._unfinished[key.job_id] = self._unfinished.get(key.job_id, 0) + 1
            self.pending_count += 1
        self._waits_since_s[key.job_id] = event.time_s

    def ended(self, event: JobEnded) -> int:
        """How many elements ended."""
        count = count_of(event.elements)
        left = self._unfinished.get(event.job_id)
        if left is None:
            return count
        if count == 1:
            self._leave(event.job_id, event.elements[0][0])
        self.pending_count -= count
        if left > count:
            self._unfinished[event.job_id] = left - count
        else:
            del self._unfinished[event.job_id]
            del self._waits_since_s[event.job_id]
        return count

    def _leave(self, job_id: JobId, index: int) -> bool:
        """The element holds no allocation any more. False if it held none."""
        has_started = self._active.pop((job_id, index), None)
        if has_started is None:
            return False
        if has_started:
            self.running_count -= 1
        else:
            self.staging_count -= 1
        self.pending_count += 1
        return True
