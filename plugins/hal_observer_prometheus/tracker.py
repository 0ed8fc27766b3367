"""How many elements wait, are prepared and run: a small fold of the events. No metrics library, no clock.

Its memory is bounded by what waits (one number for each job) and what is active (one entry for each element).
It begins with what there was before; events of jobs that it knows nothing of are passed over.
"""

from __future__ import annotations

from hal_core import (
    AttemptKey,
    Event,
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
    """Counts elements by phase. `follow` returns the waiting times in seconds of the elements it started."""

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

    def follow(self, event: Event) -> list[float]:
        match event:
            case JobSubmitted():
                self._submit(event)
            case JobPlaced():
                self._place(event)
            case PartStarted():
                return self._start(event)
            case JobRequeued(key=key, time_s=time_s):
                if not self._leave(key):  # it had ended
                    self._unfinished[key.job_id] = self._unfinished.get(key.job_id, 0) + 1
                    self.pending_count += 1
                self._waits_since_s[key.job_id] = time_s
            case JobEnded():
                self._end(event)
            case _:
                pass
        return []

    def _submit(self, event: JobSubmitted) -> None:
        count = count_of(event.spec.array.indices) if event.spec.array else 1
        self._waits_since_s[event.job_id] = max(event.time_s, event.spec.begin_time_s)
        self._unfinished[event.job_id] = count
        self.pending_count += count

    def _place(self, event: JobPlaced) -> None:
        if event.job_id not in self._unfinished:
            return
        for index in members(event.elements):
            self._active[event.job_id, index] = False
            self.staging_count += 1
            self.pending_count -= 1

    def _start(self, event: PartStarted) -> list[float]:
        element = event.key.job_id, event.key.index
        if self._active.get(element, True):
            return []  # unknown, or another part of a gang that runs already
        self._active[element] = True
        self.staging_count -= 1
        self.running_count += 1
        return [max(0.0, event.time_s - self._waits_since_s[event.key.job_id])]

    def _leave(self, key: AttemptKey) -> bool:
        """The element holds no allocation any more. False if it held none."""
        has_started = self._active.pop((key.job_id, key.index), None)
        if has_started is None:
            return False
        if has_started:
            self.running_count -= 1
        else:
            self.staging_count -= 1
        self.pending_count += 1
        return True

    def _end(self, event: JobEnded) -> None:
        left = self._unfinished.get(event.job_id)
        if left is None:
            return
        count = count_of(event.elements)
        if count == 1:
            self._leave(AttemptKey(event.job_id, event.elements[0][0], event.attempt))
        self.pending_count -= count
        self._unfinished[event.job_id] = left - count
        if left <= count:
            del self._unfinished[event.job_id]
            del self._waits_since_s[event.job_id]
