"""Preemption on top of any engine: a waiting job that may preempt gets room from the jobs that lose least by it.

The engine plans first. For what it leaves waiting at the front of the queue, victims are chosen (`least_loss`). Then
the engine plans again over a copy of the snapshot in which they have ended and wait behind all others: what it does not
start there costs nobody anything. So nobody makes room for a job that then cannot start, whatever rules the engine has.
A job has victims only if nothing that competes with it waits before it, but others that have theirs: what becomes free
is its own next, and a promise of the engine is never touched. Only jobs of lower rank are preempted to wait again, so
nobody comes back before the job that it made room for.

Who can be suspended loses nothing, so these come first: if what they lend is enough, the job starts with that at once,
in room that the engine's plan leaves over. A job gets its room from suspended victims or from those that end, never
from both.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import attrs

from hal_core import (
    Ask,
    Engine,
    JobId,
    PendingJob,
    Permits,
    Plan,
    Preempt,
    Room,
    RunningJob,
    Snapshot,
    SnapshotView,
    Start,
    Victim,
    give_back,
    least_loss,
    lend,
)

SCAN_MAX = 20_000
"""Pending jobs looked at in one pass."""
LOOKED_MAX = 100
"""Waiting elements for which victims are looked for in one pass."""
TRIES_MAX = 3
OVERDUE_S = 1.0
"""What is due now is expected to end so soon (see the profile)."""


class Preempting:
    """An engine, and victims for those that it leaves waiting."""

    def __init__(self, engine: Engine, is_one_by_one: bool = False) -> None:
        """`is_one_by_one`: only for the first that waits, because the engine does not keep the order of the others."""
        self._engine = engine
        self._is_one_by_one = is_one_by_one

    def plan(self, snapshot: Snapshot) -> Plan:
        if not snapshot.has_preemption:
            return self._engine.plan(snapshot)
        queue = tuple(itertools.islice(snapshot.pending(), SCAN_MAX))
        plan = attrs.evolve(self._engine.plan(snapshot), memo=None)
        search = _Search(snapshot, queue, plan)
        plan = search.without_thieves()
        if self._is_one_by_one:
            proposed = [] if search.ending_keys else search.proposals(1)
        else:
            proposed = search.proposals(LOOKED_MAX)
        for _ in range(TRIES_MAX):
            if not proposed:
                break
            good = self._that_start(search, plan, proposed)
            if good == proposed:
                at_once = tuple(each for each in proposed if each.node_numbers)
                if at_once:  # the others are looked at again when these have started
                    return attrs.evolve(plan, preempts=at_once)
                planned = self._engine.plan(search.ending_soon(proposed))
                good = search.that_are_in_time(planned, proposed)
                if good == proposed:
                    return attrs.evolve(planned, preempts=tuple(proposed), memo=None)
            proposed = good
        return plan

    def _that_start(self, search: _Search, plan: Plan, proposed: list[Preempt]) -> list[Preempt]:
        """Those whose job the engine would start if all victims had ended."""
        started = _started(self._engine.plan(search.after(proposed)).starts)
        started.subtract(_started(plan.starts))
        good = []
        for preempt in proposed:
            started[preempt.job_id] -= 1
            if started[preempt.job_id] >= 0:
                good.append(preempt)
        return good


def _started(starts: Iterable[Start]) -> Counter[JobId]:
    counts: Counter[JobId] = Counter()
    for start in starts:
        counts[start.job_id] += start.element_count
    return counts


class _Search:
    """Who waits and may preempt, and what there is of room when all that was started has started."""

    def __init__(self, snapshot: Snapshot, queue: Sequence[PendingJob], plan: Plan) -> None:
        self._snapshot = snapshot
        self._queue = queue
        self._plan = plan
        self._idle: Room | None = None
        self._room = room = snapshot.room()
        self._permits = Permits(snapshot.holds, room.packing, snapshot.now_s)
        started = _started(plan.starts)
        self._waiting: list[PendingJob] = []
        """What is left of the first jobs of the queue."""
        self._asks: dict[JobId, Ask] = {}
        """Of what was started, in the order of the queue."""
        self._behind: list[JobId] = []
        """What was started although it stands behind one that waits."""
        for job in queue:
            if job.job_id in started:
                self._asks[job.job_id] = room.packing.ask(job.shape)
                if self._waiting:
                    self._behind.append(job.job_id)
            elif len(self._asks) == len(started) and len(self._waiting) >= LOOKED_MAX:
                break
            left = job.element_count - started[job.job_id]
            if left and len(self._waiting) < LOOKED_MAX:
                self._waiting.append(attrs.evolve(job, element_count=left))
        for start in plan.starts:
            room.take(start.node_numbers, self._asks[start.job_id], start.element_count)
        ending = snapshot.ending()
        self.ending_keys = {(job.job_id, job.index) for job in ending}
        self._ending_s = max((job.expected_end_s for job in ending), default=-math.inf)
        self._victims: dict[tuple[JobId, int], Victim] = {}
        self._now = room.copy()
        """Without what is ending: what is suspended must be enough beside that."""
        give_back(room, ending)

    def without_thieves(self) -> Plan:
        """While victims end for the first one that waits, no later job may start in the room that they leave."""
        if not self.ending_keys or not self._waiting:
            return self._plan
        ask, trial, now = self._permits.ask(self._waiting[0]), self._room.copy(), self._now.copy()
        starts = list(self._plan.starts)
        for job_id in reversed(self._behind):
            if trial.has_room(ask):
                break
            for start in [start for start in starts if start.job_id == job_id]:
                starts.remove(start)
                for _ in range(start.element_count):
                    trial.give(start.node_numbers, self._asks[job_id])
                    now.give(start.node_numbers, self._asks[job_id])
        if trial.has_room(ask):
            self._room, self._now = trial, now
            return attrs.evolve(self._plan, starts=tuple(starts))
        return self._plan

    def proposals(self, count_max: int) -> list[Preempt]:
        """Victims for those that wait at the front of the queue, in its order."""
        found: list[Preempt] = []
        taken: set[tuple[JobId, int]] = set()
        blocked: set[str | None] = set()
        for job in self._waiting:
            ask, group = self._permits.ask(job), self._permits.group(job)
            if group in blocked or not self._can_ever(job):
                continue
            victims = self._snapshot.victims(job)
            for _ in range(job.element_count):
                if len(found) == count_max:
                    return found
                left = [each for each in victims if (each.job.job_id, each.job.index) not in taken]
                chosen, numbers = self._suspended(ask, [each for each in left if each.is_suspended])
                if not numbers:
                    chosen = least_loss(self._room, ask, [each for each in left if not each.is_suspended])
                    if chosen is None:
                        blocked.add(group)
                        break
                    give_back(self._room, [victim.job for victim in chosen])
                    self._room.take(self._room.choose(ask), ask)
                if chosen:
                    keys = tuple((victim.job.job_id, victim.job.index) for victim in chosen)
                    self._victims.update(zip(keys, chosen, strict=True))
                    taken.update(keys)
                    found.append(Preempt(job.job_id, keys, numbers))
        return found

    def _suspended(self, ask: Ask, victims: Sequence[Victim]) -> tuple[tuple[Victim, ...] | None, tuple[int, ...]]:
        """Victims that are enough, beside what is free now, to start with what they lend; and where. That is taken."""
        chosen = least_loss(self._now, ask, victims) if victims and not ask.parts else None
        if not chosen:
            return None, ()
        now, room = self._now.copy(), self._room.copy()
        for each in (now, room):
            give_back(each, [victim.job for victim in chosen])
        numbers = now.choose(ask, beside=room)
        if numbers:
            now.take(numbers, ask)
            room.take(numbers, ask)
            self._now, self._room = now, room
        return chosen, numbers

    def _can_ever(self, job: PendingJob) -> bool:
        """Whether the cluster could hold it if nothing ran."""
        if self._idle is None:
            packing = self._room.packing
            rows = [packing.idle_row(number) for number in range(len(packing.class_of))]
            self._idle = Room.of_rows(packing, rows)
        ask = self._room.packing.ask(job.shape)
        return self._idle.has_room(ask)

    def after(self, proposed: Sequence[Preempt]) -> Snapshot:
        """As it will be when these victims, and what is ending already, have ended."""
        victims = self._victims_of(proposed)
        lends = {(each.job.job_id, each.job.index): each.job for each in victims if each.is_suspended}
        gone = {(each.job.job_id, each.job.index) for each in victims} - lends.keys() | self.ending_keys
        again = [each.again for each in victims if each.again is not None]
        after = _Seen(self._snapshot, self._plan, [*self._queue, *again])
        give_back(after.free, [job for job in after.rows if (job.job_id, job.index) in gone])
        if lends:
            after.free = lend(after.free, lends.values())
        after.rows = [
            _without(job, lends.get((job.job_id, job.index)))
            for job in after.rows
            if (job.job_id, job.index) not in gone
        ]
        return after

    def ending_soon(self, proposed: Sequence[Preempt]) -> Snapshot:
        """As it is now, but that these victims are expected to end when their grace is over."""
        soon = _Seen(self._snapshot, self._plan, self._queue)
        due_s = {
            (each.job.job_id, each.job.index): self._snapshot.now_s + each.grace_s
            for each in self._victims_of(proposed)
        }
        rows = [
            attrs.evolve(job, expected_end_s=min(job.expected_end_s, due_s.get((job.job_id, job.index), math.inf)))
            for job in soon.rows
        ]
        soon.rows = sorted(rows, key=lambda job: (job.expected_end_s, job.job_id, job.index))
        return soon

    def that_are_in_time(self, plan: Plan, proposed: Sequence[Preempt]) -> list[Preempt]:
        """Without those whose job is promised a start after its victims have left: something else is in its way."""
        promised = {reserve.job_id: reserve.start_time_s for reserve in plan.reserves}
        good = []
        for preempt in proposed:
            grace_s = max(self._victims[key].grace_s for key in preempt.victims)
            due_s = max(self._snapshot.now_s + grace_s, self._ending_s) + OVERDUE_S
            if promised.get(preempt.job_id, -math.inf) <= due_s:
                good.append(preempt)
        return good

    def _victims_of(self, proposed: Sequence[Preempt]) -> list[Victim]:
        return [self._victims[key] for preempt in proposed for key in preempt.victims]


def _without(job: RunningJob, lent: RunningJob | None) -> RunningJob:
    """What it gives back at its end, if it has lent so much."""
    if lent is None or job.shape.is_exclusive:
        return job
    return attrs.evolve(job, shape=attrs.evolve(job.shape, cpus=max(job.shape.cpus - lent.shape.cpus, 0)))


class _Seen(SnapshotView):
    """A snapshot that differs from another in what runs, and in who waits at the end of the queue."""

    def __init__(self, snapshot: Snapshot, plan: Plan, queue: Sequence[PendingJob]) -> None:
        super().__init__(snapshot)
        self._queue = queue
        self.rows = list(snapshot.running())
        self.free = snapshot.room()
        self.quota = None if snapshot.quota is None else snapshot.quota.fresh()
        self.has_preemption = False
        self.has_released = True
        self.promises = {reserve.job_id: reserve for reserve in plan.reserves}

    def pending(self) -> Iterator[PendingJob]:
        return iter(self._queue)

    def running(self) -> Iterable[RunningJob]:
        return self.rows

    def room(self) -> Room:
        return self.free.copy()

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        return ()

    def ending(self) -> Sequence[RunningJob]:
        return ()
