"""Backfill with many promises: every examined job is promised a start (`conservative`), or the first N (`reserve`).

A job is promised the earliest time at which it fits without disturbing any promise made before. When room came free,
each job in the order of the queue gives its promise back and takes the earliest one, which is never later.
Guarantee: no job starts later than it was ever promised, if no job runs longer than expected and no node is lost.
A promise for whose moment somebody is late is kept for the moment when he has gone, if that is soon: what follows it
stays where it was, and nobody loses his place by a launch that took a moment or a kill at the limit.
A job beyond the promises (depth, or the budget of a pass) starts only where it fits at once beside all of them.
Mu'alem and Feitelson, IEEE TPDS 12(6), 2001; several promises: Talby and Feitelson, IPPS 1999.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from hal_core import (
    Ask,
    CpuProfile,
    Hold,
    JobId,
    PendingJob,
    Permit,
    Permits,
    Plan,
    Profile,
    Reserve,
    Snapshot,
    Start,
    is_later_better,
    mask_of,
    profile_of,
    within,
)
from hal_engine_backfill.promises import Memo, Waiting

LATE_S: Final = 2.0
"""So much later a promise may be kept than it was given for, before another is sought. Who should have ended already is
expected to be gone within a second."""


class Conservative:
    """Promises kept from plan to plan by the snapshot; the engine itself remembers nothing."""

    def __init__(self, promise_max: int = 5000, scan_max: int = 20_000, budget_steps: int = 2_000_000) -> None:
        self._promise_max = promise_max
        self._scan_max = scan_max
        self._budget_steps = budget_steps

    def plan(self, snapshot: Snapshot) -> Plan:
        memo = snapshot.memo
        if isinstance(memo, Memo) and memo.can_go_on(snapshot, self._promise_max):
            return memo.go_on(snapshot)
        one_pass = _Pass(snapshot, self._promise_max, self._budget_steps)
        one_pass.run(itertools.islice(snapshot.pending(), self._scan_max))
        reserves = tuple(one_pass.reserves)
        wake_s = min((reserve.start_time_s for reserve in reserves), default=math.inf)
        left = one_pass.memo()
        return Plan(tuple(one_pass.starts), reserves, one_pass.depth, wake_s, one_pass.is_settled, left)


class _Pass:
    """One pass: the profile with all promises in it, and what is decided so far."""

    def __init__(self, snapshot: Snapshot, promise_max: int, budget_steps: int) -> None:
        self._snapshot = snapshot
        self._now_s = snapshot.now_s
        self._packing = snapshot.room().packing
        self._quota = snapshot.quota
        self._profile = self._room_alone()
        self._permits = Permits(snapshot.holds, self._packing, self._now_s)
        self._promised = snapshot.promises
        self._promise_max = promise_max
        self._budget_steps = budget_steps
        self.starts: list[Start] = []
        self.reserves: list[Reserve] = []
        self.depth = 0
        self._order: dict[JobId, int] = {}
        self.is_settled = True
        """No promise was made earlier, so that trying again finds nothing until something ends early."""
        self._waiting: list[Waiting] | None = []
        """Who was promised a start; None: somebody who waits was not, or needs more than one."""

    def run(self, queue: Iterator[PendingJob]) -> None:
        jobs = list(queue)
        kept = self._take_promises(jobs)
        self.depth = len(jobs)
        self._order = {job.job_id: at for at, job in enumerate(jobs)}
        if not self._snapshot.has_released:
            jobs = self._keep_those_not_due(jobs, kept)
        for job in jobs:
            if self._profile.step_count > self._budget_steps:
                self._keep_rest(kept)
                self.is_settled = False
                self._waiting = None
                return
            promise = kept.pop(job.job_id, None)
            allowed = within(self._quota, job)
            if allowed is None:  # started others have brought it to a limit: it is promised nothing
                continue
            job = allowed
            if promise is not None:
                self._improve(job, *promise)
            else:
                self._place(job, self._packing.ask(job.shape), job.element_count)

    def _room_alone(self) -> Profile:
        """Without any promise."""
        snapshot = self._snapshot
        return profile_of(snapshot.room(), snapshot.running(), self._now_s, snapshot.holds)

    def _take_promises(self, jobs: list[PendingJob]) -> dict[JobId, tuple[Hold, Reserve]]:
        """Put into the profile what was promised and still holds."""
        promised, ask_of, now_s = self._promised, self._packing.ask, self._now_s
        if not promised:
            return {}
        kept: list[Reserve] = []
        holds: list[Hold] = []
        for job in jobs:
            reserve = promised.get(job.job_id)
            if reserve is not None and reserve.start_time_s >= now_s and self._is_permitted(job, reserve):
                run_s = job.expected_s + self._stage_s(job)
                kept.append(reserve)
                holds.append(Hold(reserve.start_time_s, run_s, ask_of(job.shape), reserve.node_numbers))
        taken = holds if all(self._profile.take_if_possible(holds)) else self._take_what_can_be(holds)
        rows = zip(kept, taken, strict=True)
        return {
            reserve.job_id: (hold, Reserve(reserve.job_id, hold.start_s, reserve.node_numbers))
            for reserve, hold in rows
            if hold is not None
        }

    def _take_what_can_be(self, holds: list[Hold]) -> Sequence[Hold | None]:
        """Not all fit any more. Who starts a moment late ends a moment late: so the last moment of each hold is taken
        when all others are there, and gives way to them. In the order of the queue."""
        self._profile = self._room_alone()
        briefs = [hold._replace(duration_s=hold.duration_s - _slack_s(hold)) for hold in holds]
        fitting = self._profile.take_if_possible(briefs)
        rows = zip(holds, briefs, fitting, strict=True)
        begun = [(hold, brief if fits else self._take_late(brief)) for hold, brief, fits in rows]
        taken = [brief and self._lengthen(brief, _slack_s(hold)) for hold, brief in begun]
        if any(each not in (None, hold) for each, hold in zip(taken, holds, strict=True)):
            self._waiting = None  # A next pass could not know how long a job runs by how long it is held.
        return taken

    def _lengthen(self, brief: Hold, more_s: float) -> Hold:
        """With its last moment, as far as there is room for that."""
        begin_s = brief.start_s + brief.duration_s
        ends_s = [*self._profile.steps_between(begin_s, begin_s + more_s), begin_s + more_s]
        for end_s in reversed(ends_s):
            if begin_s < end_s and self._profile.take_if_possible([_between(brief, begin_s, end_s)]) == [True]:
                return _between(brief, brief.start_s, end_s)
        return brief

    def _take_late(self, hold: Hold) -> Hold | None:
        """What is left of a hold when those who are late have gone: it ends when it would have ended."""
        profile, end_s = self._profile, hold.start_s + hold.duration_s
        for start_s in profile.steps_between(hold.start_s, min(hold.start_s + LATE_S, end_s - LATE_S)):
            late = _between(hold, start_s, end_s)
            if profile.step_count < self._budget_steps and profile.take_if_possible([late]) == [True]:
                return late
        return None

    def _is_permitted(self, job: PendingJob, reserve: Reserve) -> bool:
        """A reservation that came after the promise goes before it."""
        permit = self._permits.of(job)
        allowed = permit.nodes(reserve.start_time_s) if permit is not None else -1
        return all(allowed >> number & 1 for number in reserve.node_numbers)

    def _keep_those_not_due(self, jobs: list[PendingJob], kept: dict[JobId, tuple[Hold, Reserve]]) -> list[PendingJob]:
        """Where nothing ended, no promise can be made earlier. Returns the jobs that are still to be looked at."""
        if isinstance(self._profile, CpuProfile):
            self._profile.look_later()
        left: list[PendingJob] = []
        for job in jobs:
            promise = kept.get(job.job_id)
            if promise is None or promise[1].start_time_s <= self._now_s:
                left.append(job)
            else:
                del kept[job.job_id]
                self._promise(job, promise[0].ask, promise[1])
        return left

    def _improve(self, job: PendingJob, hold: Hold, reserve: Reserve) -> None:
        """Keep the promise, or exchange it for an earlier one; start the job if that is now."""
        if hold.start_s > self._now_s:
            found = self._profile.improve(hold, self._permits.of(job))
            if found is not None:
                self.is_settled = False
                reserve = Reserve(job.job_id, *found)
                self._take_rest(job, hold, found)
        if reserve.start_time_s > self._now_s:
            self._promise(job, hold.ask, reserve)
            return
        self._start(Start(job.job_id, reserve.node_numbers))
        if job.element_count > 1:
            self._place(job, hold.ask, job.element_count - 1)

    def _take_rest(self, job: PendingJob, hold: Hold, found: tuple[float, tuple[int, ...]]) -> None:
        """Of a promise that was late, what its hold lacked at its end: else others would be promised it for a pass."""
        run_s = job.expected_s + self._stage_s(job)
        begin_s, end_s = found[0] + hold.duration_s, min(found[0] + run_s, hold.start_s + hold.duration_s)
        if end_s > begin_s:
            self._profile.take_if_possible([Hold(begin_s, end_s - begin_s, hold.ask, found[1])])

    def _place(self, job: PendingJob, ask: Ask, left: int) -> None:
        """Start what can start; promise the first element that cannot, if promises are left."""
        profile, permit = self._profile, self._permits.of(job)
        while left:
            found, stage_s = self._earliest(job, ask, permit)
            if found is None:
                self._waiting = None
                return
            start_s, numbers = self._nearer(ask, job.expected_s, found, permit)
            run_s = job.expected_s + stage_s
            if start_s > self._now_s:
                if len(self.reserves) < self._promise_max:
                    profile.take(start_s, run_s, ask, numbers)
                    self._promise(job, ask, Reserve(job.job_id, start_s, numbers))
                else:
                    self._waiting = None
                return
            profile.take(start_s, run_s, ask, numbers)
            self._start(Start(job.job_id, numbers, 1, stage_s))
            left -= 1

    def _earliest(
        self, job: PendingJob, ask: Ask, permit: Permit | None
    ) -> tuple[tuple[float, tuple[int, ...]] | None, float]:
        """When and where the job ends soonest, and what stage-in takes there: near to its inputs, or elsewhere."""
        best = self._profile.earliest(ask, job.expected_s + self._stage_s(job), permit)
        tiers = self._snapshot.stage_in(job.inputs) if job.inputs else ()
        if best is None or not tiers:
            return best, 0.0
        best_tier = tiers[-1]
        for tier in tiers[:-1]:
            found = self._profile.earliest(ask.within(tier.nodes), job.expected_s + tier.stage_s, permit)
            if found is not None and found[0] + tier.cost_s < best[0] + best_tier.cost_s:
                best, best_tier = found, tier
        return best, best_tier.stage_s

    def _stage_s(self, job: PendingJob) -> float:
        """How long the job has its nodes without its inputs, at most."""
        tiers = self._snapshot.stage_in(job.inputs) if job.inputs else ()
        return tiers[-1].stage_s if tiers else 0.0

    def _nearer(
        self, ask: Ask, run_s: float, found: tuple[float, tuple[int, ...]], permit: Permit | None
    ) -> tuple[float, tuple[int, ...]]:
        """What was found; or a later start on nearer nodes, if the job prefers those and ends sooner that way."""
        strict = ask.strict
        if strict is None or strict.is_allowed(mask_of(found[1])):
            return found
        later = self._profile.earliest(strict, run_s, permit)
        if later is None:
            return found
        wait_s = later[0] - found[0]
        return later if is_later_better(ask, run_s, wait_s, mask_of(later[1]), mask_of(found[1])) else found

    def _start(self, start: Start) -> None:
        self.starts.append(start)
        if self._quota is not None:
            self._quota.take(start.job_id, start.element_count)

    def _promise(self, job: PendingJob, ask: Ask, reserve: Reserve) -> None:
        self.reserves.append(reserve)
        if job.element_count > 1 or job.inputs:
            self._waiting = None
        elif self._waiting is not None:
            self._waiting.append(Waiting(job, ask, reserve))

    def memo(self) -> Memo | None:
        """For the next pass, if that can do with what this one leaves."""
        profile, waiting = self._profile, self._waiting
        is_plain = self._quota is None and not self._snapshot.holds
        if waiting is None or not is_plain or not isinstance(profile, CpuProfile) or not profile.is_exact:
            return None
        waiting.sort(key=lambda each: self._order[each.job_id])  # who lost a promise was given another one last
        return Memo(profile, waiting)

    def _keep_rest(self, kept: dict[JobId, tuple[Hold, Reserve]]) -> None:
        """The budget is used up: promises that were not looked at again stay as they are; those due now are kept."""
        for job_id, (_, reserve) in kept.items():
            if reserve.start_time_s > self._now_s:
                self.reserves.append(reserve)
            else:
                self._start(Start(job_id, reserve.node_numbers))


def _slack_s(hold: Hold) -> float:
    """The last moment of a hold."""
    return min(LATE_S, hold.duration_s / 2) if hold.duration_s < math.inf else 0.0


def _between(hold: Hold, begin_s: float, end_s: float) -> Hold:
    return hold._replace(start_s=begin_s, duration_s=end_s - begin_s)
