"""The snapshot as an engine sees it that plans as if there were no elastic jobs (rules/elastic.py). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from hal_core.models.job import JobId
from hal_core.models.placement import Grant
from hal_core.models.plan import PendingJob, RunningJob, Snapshot, Victim
from hal_core.models.room import Room
from hal_core.models.snapshot_view import SnapshotView
from hal_core.rules.elastic_jobs import Elastic

GRANTED_INDEX: Final = 1 << 40
"""From here on are the indices of what does not run yet, and of which the engine is told that it does."""


class Others(SnapshotView):
    """The snapshot without elastic jobs."""

    def __init__(self, snapshot: Snapshot, elastic: Elastic, running: Iterable[RunningJob]) -> None:
        super().__init__(snapshot)
        self.quota = None if snapshot.quota is None else snapshot.quota.fresh()  # What starts is looked up afterwards.
        self._hidden = elastic.weights
        self._room = snapshot.room()
        for job in running:
            self._room.give(job.node_numbers, self._room.packing.ask(job.shape))
        self.grants: list[Grant] = []
        """Those of the last plan that still hold."""
        self._granted: Counter[JobId] = Counter()
        self._rows: list[RunningJob] = []
        self._hold(elastic.grants)

    def pending(self) -> Iterator[PendingJob]:
        for job in self._snapshot.pending():
            left = job.element_count - self._granted[job.job_id] if self._granted else job.element_count
            if job.job_id not in self._hidden and left > 0:
                yield job if left == job.element_count else attrs.evolve(job, element_count=left)

    def running(self) -> Iterable[RunningJob]:
        rows = [job for job in self._snapshot.running() if job.job_id not in self._hidden]
        return sorted(rows + self._rows, key=_end_order) if self._rows else rows

    def room(self) -> Room:
        return self._room.copy()

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        return [each for each in self._snapshot.victims(job) if each.job.job_id not in self._hidden]

    def ending(self) -> Sequence[RunningJob]:
        return [job for job in self._snapshot.ending() if job.job_id not in self._hidden]

    def _hold(self, grants: Sequence[Grant]) -> None:
        """For the engine these run since they were decided."""
        wanted = {grant.job_id for grant in grants}
        jobs: dict[JobId, PendingJob] = {}
        for job in self._snapshot.pending() if wanted else ():
            if job.job_id in wanted:
                jobs[job.job_id] = job
                if len(jobs) == len(wanted):
                    break
        for grant in grants:
            waiting = jobs.get(grant.job_id)
            if waiting is None or waiting.element_count < self._granted[grant.job_id] + grant.element_count:
                continue  # It was cancelled, or is held.
            ask = self._room.packing.ask(waiting.shape)
            known = len(self._snapshot.columns.nodes)
            is_known = all(number < known for number in grant.node_numbers)
            if not is_known or not self._room.fits_on(grant.node_numbers, ask, grant.element_count):
                continue
            self._room.take(grant.node_numbers, ask, grant.element_count)
            if self.quota is not None:
                self.quota.take(grant.job_id, grant.element_count)
            for index in range(grant.element_count):
                end_s, soon_s = grant.time_s + waiting.walltime_s, grant.time_s + waiting.expected_s
                number = GRANTED_INDEX + self._granted[grant.job_id] + index
                row = RunningJob(grant.job_id, number, waiting.shape, grant.node_numbers, end_s, soon_s)
                self._rows.append(row)
            self._granted[grant.job_id] += grant.element_count
            self.grants.append(grant)


def _end_order(job: RunningJob) -> tuple[float, int, int]:
    return job.expected_end_s, job.job_id, job.index
