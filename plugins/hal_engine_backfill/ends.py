"""What runs, and what starts in one pass, in the order of expected ends."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

import attrs

from hal_core import PendingJob, RunningJob, Snapshot, Start

_expected_end_s = attrgetter("expected_end_s")


class Ends:
    """Called for all of it. Apart from the pass, so that whoever asks for ends does not keep the whole pass alive."""

    def __init__(self, snapshot: Snapshot, does_trust: bool) -> None:
        """With `does_trust` False running jobs are expected to end at their limits, whatever was predicted."""
        self._snapshot = snapshot
        self._does_trust = does_trust
        self._started: list[tuple[PendingJob, list[Start]]] = []

    def add(self, job: PendingJob, starts: list[Start]) -> None:
        """The job was started, as a whole or in part."""
        if starts:
            self._started.append((job, starts))

    def __call__(self) -> Iterable[RunningJob]:
        running = self._snapshot.running()
        if not self._does_trust:
            running = [attrs.evolve(job, expected_end_s=job.end_time_s) for job in running]
        if not self._started:
            return running if self._does_trust else sorted(running, key=_expected_end_s)
        now_s = self._snapshot.now_s
        started = [
            RunningJob(job.job_id, 0, job.shape, start.node_numbers, now_s + start.stage_s + job.expected_s)
            for job, starts in self._started
            for start in starts
            for _ in range(start.element_count)
        ]
        return sorted([*running, *started], key=_expected_end_s)
