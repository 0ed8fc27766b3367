"""Asks in a replay when jobs will start, and sees how long they did wait. A thousand of them tell as much as all."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hal_core.models.job import JobId
from hal_core.rules.start_times import Watched, planned_starts

if TYPE_CHECKING:
    from hal_core.models.plan import Snapshot

FORECAST_COUNT = 1000
"""About so many jobs are asked about, evenly spread; only those that do not start when they come."""


class StartWatch:
    """Forecasts of one run."""

    def __init__(self, job_count: int) -> None:
        self._stride = max(1, job_count // FORECAST_COUNT)
        self._half = job_count // 2
        self._random = Random(job_count)  # noqa: S311  repeatable, nothing secret
        self._watched = Watched()
        self._asked: list[JobId] = []
        self._late = [0, 0]
        """Of the later half of the jobs: how many started, and how many of them by their p90."""

    def submitted(self, job_id: JobId) -> None:
        if job_id % self._stride == 0:
            self._asked.append(job_id)

    def planned(self, snapshot: Snapshot) -> None:
        """After each pass: who still waits of those that have just come."""
        if not self._asked:
            return
        waiting = {job.job_id: job for job in snapshot.pending()}
        for job_id in self._asked:
            job = waiting.get(job_id)
            planned = None if job is None else planned_starts(snapshot, job, self._random)
            if planned is not None:
                self._watched.asked(job_id, snapshot.now_s, planned)
        self._asked.clear()

    def started(self, job_id: JobId, now_s: float) -> None:
        is_covered = self._watched.started(job_id, now_s)
        if is_covered is not None and job_id >= self._half:
            self._late[0] += 1
            self._late[1] += is_covered

    @property
    def p90_coverage(self) -> float | None:
        """The share of the later half of the jobs that started by their p90; None if nobody had to wait."""
        count, covered_count = self._late
        return covered_count / count if count else None
