"""Promises of a pool of CPUs, carried from one plan to the next: the same plan as conservative.py's, without making the
profile anew and without looking at promises that cannot have become earlier.

That a plan made so is equal to one made from nothing is a property test (tests/properties/test_plans_go_on.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter

from hal_core import Ask, CpuProfile, Packing, PendingJob, Plan, Reserve, Snapshot, Start

EXPECTED_AHEAD_S = 1.0
"""What is expected to end sooner than that is treated as overdue, which the profile was not made for."""

_start_time_s = attrgetter("start_time_s")


class Waiting:
    """A job that was promised a start."""

    __slots__ = ("expected_s", "job_id", "need", "reserve", "start_s")

    def __init__(self, job: PendingJob, ask: Ask, reserve: Reserve) -> None:
        self.job_id = job.job_id
        self.expected_s = job.expected_s
        self.need = ask.pool_need
        self.reserve = reserve
        self.start_s = reserve.start_time_s


class Memo:
    """The profile with all promises in it, and who waits, in the order of the queue."""

    def __init__(self, profile: CpuProfile, waiting: list[Waiting]) -> None:
        self._profile = profile
        self._waiting = waiting
        self._wake_s = min((each.start_s for each in waiting), default=math.inf)

    def can_go_on(self, snapshot: Snapshot, promise_max: int) -> bool:
        """Whether nothing happened but what this can deal with."""
        changes = snapshot.changes
        if changes is None or self._wake_s < snapshot.now_s or snapshot.holds or snapshot.quota is not None:
            return False
        if len(self._waiting) + len(changes.arrived) > promise_max or any(
            job.element_count > 1 or job.inputs for job in changes.arrived
        ):
            return False
        first = next(iter(snapshot.running()), None)
        return first is None or first.expected_end_s >= snapshot.now_s + EXPECTED_AHEAD_S

    def go_on(self, snapshot: Snapshot) -> Plan:
        """The plan; this memo belongs to the next one then."""
        changes, now_s, profile = snapshot.changes, snapshot.now_s, self._profile
        assert changes is not None
        packing = snapshot.room().packing
        profile.advance(now_s, [(job.expected_end_s, packing.ask(job.shape).pool_need) for job in changes.ended])
        starts: list[Start] = []
        is_settled = True
        if snapshot.has_released:
            is_settled = self._look_again(now_s)
        if self._wake_s <= now_s:
            due = [each for each in self._waiting if each.start_s <= now_s]
            starts += [Start(each.job_id, each.reserve.node_numbers) for each in due]
            self._waiting = [each for each in self._waiting if each.start_s > now_s]
        is_whole = self._place(changes.arrived, packing, now_s, starts)
        reserves = tuple([each.reserve for each in self._waiting])
        self._wake_s = min(map(_start_time_s, reserves), default=math.inf)
        depth = len(reserves) + len(starts)
        return Plan(tuple(starts), reserves, depth, self._wake_s, is_settled, self if is_whole else None)

    def _look_again(self, now_s: float) -> bool:
        """Each job in the order of the queue takes the earliest start. False if any could."""
        improved, most_before = self._profile.improved, self._profile.look().before
        is_settled = True
        for each in self._waiting:
            if each.start_s > now_s and most_before(each.start_s) >= each.need:
                start_s = improved(each.start_s, each.expected_s, each.need)
                if start_s is not None:
                    is_settled = False
                    each.reserve = Reserve(each.job_id, start_s, each.reserve.node_numbers)
                    each.start_s = start_s
                    self._wake_s = min(self._wake_s, start_s)
        return is_settled

    def _place(self, jobs: Iterable[PendingJob], packing: Packing, now_s: float, starts: list[Start]) -> bool:
        """Promise those who arrived a start, or start them. False if one can never start."""
        profile = self._profile
        is_whole = True
        for job in jobs:
            ask = packing.ask(job.shape)
            found = profile.earliest(ask, job.expected_s)
            if found is None:
                is_whole = False
                continue
            start_s, numbers = found
            profile.take(start_s, job.expected_s, ask, numbers)
            if start_s > now_s:
                self._waiting.append(Waiting(job, ask, Reserve(job.job_id, start_s, numbers)))
            else:
                starts.append(Start(job.job_id, numbers))
        return is_whole
