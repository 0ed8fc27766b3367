"""A policy on trial: the engine run forward on an excerpt of the state, in which jobs end when fate says, not when they
are expected to. The engine sees no more than it would see.

What is looked at is how long each job has waited by a certain time, whether it has started by then or not: so a policy
that starts nothing looks no better than it is, and a trial takes a bounded time. Nobody else comes in, unless it is
known who did. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from hal_core.rules.forecast import PASSES_MAX, Engine, Future, Placed
from hal_core.rules.start_times import sampled_left_s, sampled_run_s

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from hal_core.models.job import JobId
    from hal_core.models.plan import PendingJob, RunningJob
    from hal_core.rules.excerpt import Asked, Excerpt

SEEDS: Final = 1 << 32


class Fate(Protocol):
    """How long jobs really run in a trial."""

    def run_s(self, job: PendingJob) -> float: ...

    def left_s(self, job: RunningJob, now_s: float) -> float: ...


class Sampled:
    """What the predictions allow, drawn anew for each sample; the same in every trial of the same sample.

    `random` is seeded again for each job, so that its draw does not depend on who was asked about before.
    """

    def __init__(self, sample: int, random: Random) -> None:
        self._sample = sample
        self._random = random

    def run_s(self, job: PendingJob) -> float:
        return sampled_run_s(job, self._of(job.job_id))

    def left_s(self, job: RunningJob, now_s: float) -> float:
        return sampled_left_s(job, now_s, self._of(job.job_id))

    def _of(self, job_id: JobId) -> Random:
        self._random.seed(self._sample * SEEDS + job_id)
        return self._random


@attrs.frozen
class Span:
    """From when to when a trial lasts, and who comes in on the way, in that order."""

    from_s: float
    until_s: float
    arrivals: Sequence[Asked] = ()


@attrs.frozen
class Waited:
    """So many elements of a job had waited so long when they started, or when the trial was over."""

    job_id: JobId
    wait_s: float
    count: int


def waits(part: Excerpt, engine: Engine, fate: Fate, span: Span) -> list[Waited]:
    """How long everybody waited; of jobs whose waiting does not count from their submission, also the time before."""
    future = _Fated(part, fate, span)
    for _ in range(PASSES_MAX):
        plan = engine.plan(future)
        future.carry_out(plan)
        if not future.is_worth_going_on:
            break
        next_s = future.next_time_s()
        if next_s >= span.until_s:
            break
        future.move_to(next_s)
    return [*future.started, *future.left()]


class _Fated(Future):
    """A Future in which jobs end when fate says; who outlives what was expected is expected to end at the limit."""

    def __init__(self, part: Excerpt, fate: Fate, span: Span) -> None:
        self._fate = fate
        self._until_s = span.until_s
        self._submit_s = {row.job_id: row.submit_time_s for row in part.queue}
        self._begun: dict[JobId, PendingJob] = {}
        self._outlived: dict[tuple[JobId, int, tuple[int, ...]], RunningJob] = {}
        self._coming = list(reversed(span.arrivals))
        self.started: list[Waited] = []
        self.now_s = span.from_s
        super().__init__(part, None, span.from_s)

    def _placed(self, row: RunningJob) -> Placed:
        begun = self._begun.get(row.job_id) if row.index < 0 else None
        if begun is None:
            end_s = self.now_s + self._fate.left_s(row, self.now_s)
        else:
            stage_s = max(row.expected_end_s - self.now_s - begun.expected_s, 0.0)
            end_s = self.now_s + stage_s + self._fate.run_s(begun)
        return min(end_s, max(row.end_time_s, self.now_s)), row.job_id, row.index, row.node_numbers, row

    def running(self) -> Iterable[RunningJob]:
        rows = [self._as_expected(row) for *_, row in self._running]
        rows.sort(key=lambda row: (row.expected_end_s, row.job_id, row.index))
        return rows

    def _as_expected(self, row: RunningJob) -> RunningJob:
        if row.expected_end_s > self.now_s or row.expected_end_s >= row.end_time_s:
            return row
        key = row.job_id, row.index, row.node_numbers
        found = self._outlived.get(key)
        if found is None:
            found = self._outlived[key] = attrs.evolve(row, expected_end_s=row.end_time_s)
        return found

    @property
    def is_worth_going_on(self) -> bool:
        return bool(self.waiting or self._coming)

    def next_time_s(self) -> float:
        coming_s = self._coming[-1].row.submit_time_s if self._coming else math.inf
        return min(super().next_time_s(), coming_s)

    def move_to(self, time_s: float) -> None:
        while self._coming and self._coming[-1].row.submit_time_s <= time_s:
            asked = self._coming.pop()
            self._submit_s[asked.row.job_id] = asked.row.submit_time_s
            self._admit(asked, time_s)
            if asked.row.rank:
                self.waiting = dict(sorted(self.waiting.items(), key=lambda item: -item[1].rank))
        super().move_to(time_s)
        self.changes = None  # fate does not keep to what is expected

    def _begins(self, row: PendingJob, count: int) -> None:
        self._begun[row.job_id] = row
        self.started.append(Waited(row.job_id, max(self.now_s - row.submit_time_s, 0.0), count))

    def left(self) -> list[Waited]:
        """Who has not started. Of an array, all its elements that still wait."""
        left = []
        for job_id, row in self.waiting.items():
            array = self._arrays.get(job_id)
            count = row.element_count if array is None else array.ready
            since_s = max(row.submit_time_s, self._begins_s.get(job_id, 0.0))
            if count and since_s < self._until_s:
                left.append(Waited(job_id, self._until_s - since_s, count))
        return left
