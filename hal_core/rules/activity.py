"""One element of a job while it holds an allocation: a plain mutable record, changed only by State.apply."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hal_core.models.event import JobCancelRequested, JobSuspended
from hal_core.models.job import End, JobId, JobState
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey, Share
from hal_core.models.plan import RunningJob
from hal_core.rules.predictions import expected_end_s
from hal_core.rules.usage import held_by

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord


class Activity:
    """One element that holds an allocation, from placement to release."""

    __slots__ = (
        "attempt",
        "cancel",
        "cpu_count",
        "due_s",
        "end",
        "gpu_count",
        "grace_s",
        "index",
        "is_aside",
        "is_launched",
        "node_numbers",
        "parts_left",
        "parts_started",
        "place_time_s",
        "preempted_for",
        "queued_start_s",
        "record",
        "row",
        "shares",
        "start_time_s",
        "suspend_time_s",
        "suspended_by",
        "suspended_for",
        "suspended_s",
    )

    def __init__(self, record: JobRecord, index: int, attempt: int, shares: tuple[Share, ...], time_s: float) -> None:
        self.record = record
        self.index = index
        self.attempt = attempt
        self.shares = shares
        self.cpu_count, self.gpu_count = held_by(shares)
        self.node_numbers: tuple[int, ...] = ()
        self.place_time_s = time_s
        self.start_time_s: float | None = None
        self.is_launched = not record.spec.inputs
        """Inputs are there, so that the launch was ordered."""
        self.parts_started: set[NodeName] = set()
        self.parts_left: set[NodeName] = {share.node for share in shares if self.has_part(share.node)}
        self.end: End | None = None
        """The first bad end among the gang's parts, or a good one while there is none."""
        self.cancel: tuple[str, bool, str] | None = None
        """(by whom, whether to requeue, detail) once its end was asked for."""
        self.grace_s = record.spec.kill_grace_s
        self.preempted_for: JobId | None = None
        self.due_s: float | None = None
        """When it is over at the latest, if it was preempted."""
        self.suspend_time_s: float | None = None
        """Since when it stands still, if it does."""
        self.suspended_for: JobId | None = None
        """The job that it was suspended for last."""
        self.suspended_by = ""
        """Who suspended it last, if that was a person."""
        self.is_aside = False
        """A person suspended it and has not said that it is to go on: its CPUs are free for anybody."""
        self.suspended_s = 0.0
        """How long it stood still before."""
        self.queued_start_s: float | None = None
        """When it is expected to start, while it waits in the queue of another scheduler."""
        self.row: RunningJob | None = None
        """The engine's view of it, good until its expected end has come or something of it changes."""

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.record.job_id, self.index, self.attempt)

    def has_part(self, node: NodeName) -> bool:
        """Whether the attempt has, or had, processes on that node: a command run once per job has them on the first."""
        return self.record.spec.spread.value != "job" or node == self.shares[0].node

    @property
    def has_failed(self) -> bool:
        """A part ended badly, so the others are to end as well."""
        return self.end is not None and self.end.state is not JobState.COMPLETED

    @property
    def begin_time_s(self) -> float:
        """When it started; else when it is expected to in the queue where it waits, or when it was placed."""
        if self.start_time_s is not None:
            return self.start_time_s
        return self.place_time_s if self.queued_start_s is None else max(self.queued_start_s, self.place_time_s)

    @property
    def limit_time_s(self) -> float:
        """When it ends at the latest, unless it stands still; infinity without a limit."""
        walltime_s = self.record.spec.walltime_s
        end_s = math.inf if walltime_s is None else self.begin_time_s + self.suspended_s + walltime_s
        return end_s if self.due_s is None else min(end_s, self.due_s)

    def stood_still_s(self, now_s: float) -> float:
        """How long it was suspended, in all. A clock that was set back adds nothing."""
        since_s = now_s if self.suspend_time_s is None else self.suspend_time_s
        return self.suspended_s + max(0.0, now_s - since_s)

    @property
    def charged_cpu_count(self) -> int:
        """What it pays for: not for CPUs that it lends."""
        return self.cpu_count if self.suspend_time_s is None else 0

    def expected_end_s(self, now_s: float) -> float:
        """When it is expected to end, for planning only. As if it went on now, if it stands still."""
        begin_s = self.begin_time_s + self.stood_still_s(now_s)
        soon_s = expected_end_s(begin_s, self.record.expected_s, self.record.spec.walltime_s, now_s)
        return soon_s if self.due_s is None else max(min(soon_s, self.due_s), now_s)

    def running_row(self, now_s: float) -> RunningJob:
        """The engine's view of it."""
        record = self.record
        limit_s = self.limit_time_s + self.stood_still_s(now_s) - self.suspended_s
        end_s, soon_s = max(limit_s, now_s), self.expected_end_s(now_s)
        row = RunningJob(record.job_id, self.index, record.shape, self.node_numbers, end_s, soon_s)
        self.row = row if self.suspend_time_s is None else None
        return row

    def ask_to_end(self, event: JobCancelRequested) -> None:
        """Its end is asked for."""
        self.cancel, self.row = (event.by, event.does_requeue, event.detail), None
        if event.grace_s is not None:
            self.grace_s = event.grace_s
        if event.preempted_for is not None:
            self.preempted_for = self.record.preempted_by = event.preempted_for
            self.due_s = event.time_s + self.grace_s

    def suspend(self, event: JobSuspended) -> None:
        self.suspend_time_s, self.row = event.time_s, None
        self.is_aside = event.suspended_for is None
        self.suspended_by = event.by if self.is_aside else ""
        if event.suspended_for is not None:
            self.suspended_for = self.record.preempted_by = event.suspended_for

    def go_on(self, time_s: float) -> None:
        """It stands still no more, or is over."""
        self.suspended_s, self.suspend_time_s, self.row = self.stood_still_s(time_s), None, None
        self.is_aside = False

    @property
    def was_suspended(self) -> bool:
        """Once or more, be it still or not."""
        return self.suspended_for is not None or bool(self.suspended_by)

    @property
    def is_ending(self) -> bool:
        """Its end was asked for, or a part of it failed."""
        return self.cancel is not None or self.has_failed

    @property
    def can_stand_still(self) -> bool:
        """It runs, and none of it is on its way to a node."""
        is_there = self.is_launched and self.start_time_s is not None and self.parts_left <= self.parts_started
        return is_there and bool(self.parts_left) and not self.is_ending

    @property
    def is_cancelled(self) -> bool:
        """Its end was asked for, and not to queue it again."""
        return self.cancel is not None and not self.cancel[1]

    @property
    def state(self) -> JobState:
        if self.start_time_s is None:
            return JobState.STAGING
        return JobState.RUNNING if self.suspend_time_s is None else JobState.SUSPENDED
