"""Elastic jobs: they run in what all others leave, and give it back on time. A layer on top of any engine; pure.

The engine plans as if there were none: it sees neither those that wait nor those that run, and the room of the latter
is free for it. So what it starts and promises does not depend on them. Then:

1. A start that needs room of elastic jobs waits until they have ended. They are asked at once, and no more than needed.
   So does one that needs what they hold of a limit.
2. A promise is kept: elastic jobs leave its nodes as long before its time as the slowest of them may take to end.
3. What is left is filled with elastic jobs: those of larger priority first, then owners in proportion to their shares
   (as for fair share, among those who have elastic jobs), an owner's jobs in proportion to their weights, an element at
   a time to who has fewest CPUs by that. Nothing is started where a promise is due soon. So an owner lends what it does
   not use.
4. Elastic jobs give way to those of larger priority that find no room, and who has more than its part to who has less:
   an owner that comes back has its share after the others' grace. How much one may borrow is a limit of its account.

A start that waits so is a grant, and part of the plan that is journalled: for the engine it runs from then on, so that
later passes decide nothing else about it, although a hole before a promise would be too narrow a moment later.

Guarantee: a job that is not elastic waits for elastic ones at most as long as they may take to end. Weighted division
by the least served: Demers, Keshav and Shenker, SIGCOMM 1989, with CPUs in the place of bits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from hal_core.models.job import JobId
from hal_core.models.masks import mask_of
from hal_core.models.placement import Grant
from hal_core.models.plan import PendingJob, Plan, Preempt, Reserve, RunningJob, Snapshot, Start
from hal_core.models.room import Room
from hal_core.rules.allowance import Allowance
from hal_core.rules.elastic_jobs import Elastic, Key
from hal_core.rules.fair_share import Who
from hal_core.rules.permit import Permits
from hal_core.rules.victims import give_back
from hal_core.rules.without_elastic import Others

if TYPE_CHECKING:
    from hal_core.models.packing import Ask

SOON_S: Final = 10.0
"""Before a promise: an elastic job that started now would hardly begin to work before it had to leave."""
MARGIN_S: Final = 1.0
"""So much sooner than they must elastic jobs leave a promise, for messages to travel and nodes to clean up."""
STARTS_MAX: Final = 1000
"""Elastic elements that are started in one pass."""
MOVES_MAX: Final = 100
"""Times that elastic elements give way to another elastic one in one pass, for each job that waits."""


class Engine(Protocol):
    """planes.Engine, as far as rules may know it."""

    def plan(self, snapshot: Snapshot) -> Plan: ...


def plan(engine: Engine, snapshot: Snapshot, elastic: Elastic) -> Plan:
    """The engine's plan, and what becomes of the elastic jobs."""
    if not elastic.weights and not elastic.grants:
        return engine.plan(snapshot)
    running = [job for job in snapshot.running() if job.job_id in elastic.weights]
    others = Others(snapshot, elastic, running)
    planned = engine.plan(others)
    turn = _Turn(snapshot, elastic, running)
    begun_ids = {start.job_id for start in planned.starts} | {grant.job_id for grant in others.grants}
    begun_ids |= {each.job_id for each in planned.preempts}
    turn.look_up(begun_ids | {reserve.job_id for reserve in planned.reserves})
    begun = turn.begin(others.grants) + turn.begin(turn.grants_of(planned.starts))
    preempts = turn.suspend(planned.preempts)
    turn.keep_promises(planned.reserves)
    filled = turn.fill([job for job in snapshot.pending() if job.job_id in elastic.weights])
    turn.divide()
    return attrs.evolve(
        planned,
        starts=(*begun, *filled),
        preempts=(*preempts, *turn.preempts),
        wake_s=min(planned.wake_s, turn.wake_s),
        grants=tuple(turn.grants),
        memo=None,
    )


class _Turn:
    """One pass: what is free now, and what will be when those that leave have left."""

    def __init__(self, snapshot: Snapshot, elastic: Elastic, running: Sequence[RunningJob]) -> None:
        self._snapshot = snapshot
        self._allowance = Allowance(snapshot.quota)
        self._elastic = elastic
        self._free = snapshot.room()
        """Now, without what was started in this pass."""
        self._soon = snapshot.room()
        """The same when those that leave have left, without what waits for that. What starts must fit in both."""
        self._permits = Permits(snapshot.holds, self._free.packing, snapshot.now_s)
        self._asks: dict[JobId, Ask] = {}
        self._wanted: dict[JobId, PendingJob] = {}
        self._left: dict[JobId, PendingJob] = {}
        """Elastic elements that wait."""
        self._served = Counter(job.job_id for job in running)
        """How many elements each elastic job has, or gets when others have left for it."""
        self._given: Counter[Who] = Counter()
        """Their CPUs, by owner."""
        self._on_node: dict[int, list[RunningJob]] = {}
        self._leaving_for: dict[JobId, dict[tuple[int, ...], list[JobId]]] = {}
        """For an elastic job: whose elements make room for it, by the nodes that they leave."""
        self._claimed: Counter[JobId] = Counter()
        """Of how many waiting elements of an elastic job the room is sure when those that leave have left."""
        self._closed = 0
        """Nodes where a promise is due soon, as bits."""
        self.preempts: list[Preempt] = []
        self.grants: list[Grant] = []
        """What waits for elastic jobs to leave."""
        self.wake_s = math.inf
        for job in running:
            self._given[elastic.owners[job.job_id]] += elastic.cpus[job.job_id]
            key = (job.job_id, job.index)
            if key not in elastic.leaving:
                for number in job.node_numbers:
                    self._on_node.setdefault(number, []).append(job)
                continue
            self._leave(job)
            successor = elastic.leaving[key]
            if successor is not None and successor in elastic.weights:
                self._leaving_for.setdefault(successor, {}).setdefault(job.node_numbers, []).append(job.job_id)

    def look_up(self, wanted: set[JobId]) -> None:
        """What these jobs ask for."""
        for job in self._snapshot.pending():
            if len(self._asks) == len(wanted):
                return
            if job.job_id in wanted:
                self._asks[job.job_id] = self._free.packing.ask(job.shape)
                self._wanted[job.job_id] = job

    def grants_of(self, starts: Iterable[Start]) -> list[Grant]:
        now_s = self._snapshot.now_s
        return [Grant(start.job_id, start.node_numbers, start.element_count, now_s) for start in starts]

    def begin(self, grants: Iterable[Grant]) -> list[Start]:
        """Those that need not wait for elastic jobs; the others' room is made."""
        begun = []
        for grant in grants:
            ask, numbers, count = self._asks[grant.job_id], grant.node_numbers, grant.element_count
            is_allowed = self._allowance.has(grant.job_id, count)
            if is_allowed and self._has_room(self._free, grant) and self._has_room(self._soon, grant):
                self._free.take(numbers, ask, count)
                begun.append(Start(grant.job_id, numbers, count))
            else:
                self._make_room(grant)
                if not self._has_room(self._soon, grant) or not self._allowance.will_have(grant.job_id, count):
                    continue  # A node has gone, or a limit is lower now: the engine will find another place.
                self.grants.append(grant)
                is_allowed = False
            self._soon.take(numbers, ask, count)
            self._allowance.take(grant.job_id, count, is_now=is_allowed)
        return begun

    def suspend(self, preempts: Iterable[Preempt]) -> list[Preempt]:
        """Those that need not wait for elastic jobs. For the others these leave; then they are proposed again."""
        kept = []
        for each in preempts:
            if each.node_numbers and each.job_id in self._wanted:
                victims = self._snapshot.victims(self._wanted[each.job_id])
                lent = [one.job for one in victims if (one.job.job_id, one.job.index) in each.victims]
                give_back(self._soon, lent)
                free = self._free.copy()
                give_back(free, lent)
                claim = Grant(each.job_id, each.node_numbers, 1, self._snapshot.now_s)
                if not (is_free := self._has_room(free, claim) and self._has_room(self._soon, claim)):
                    self._make_room(claim)
                if self._has_room(self._soon, claim):
                    self._soon.take(claim.node_numbers, self._asks[each.job_id])
                if not is_free:
                    continue
                self._free = free
                self._free.take(claim.node_numbers, self._asks[each.job_id])
            kept.append(each)
        return kept

    def keep_promises(self, reserves: Iterable[Reserve]) -> None:
        """Clear the nodes of those that come due, and see to being asked again for the others in time."""
        lead_s = max((self._elastic.graces_s[job_id] for job_id in self._served), default=0.0) + MARGIN_S
        for reserve in reserves:
            time_s = reserve.start_time_s
            claim = Grant(reserve.job_id, reserve.node_numbers, 1, time_s)
            left_s = time_s - self._snapshot.now_s
            if left_s > lead_s + SOON_S:
                self.wake_s = min(self.wake_s, time_s - lead_s - SOON_S)
                continue
            if left_s > lead_s:
                self.wake_s = min(self.wake_s, time_s - lead_s)
            else:
                self._make_room(claim)
            if self._has_room(self._soon, claim):
                self._soon.take(claim.node_numbers, self._asks[claim.job_id])
            else:
                self._closed |= mask_of(claim.node_numbers)

    def fill(self, waiting: Iterable[PendingJob]) -> list[Start]:
        """Elastic elements in what is left. Of equal priority the one that has least, by its weight, is next."""
        self._left = {job.job_id: job for job in waiting}
        self._claim()
        left = dict(self._left)
        starts: list[Start] = []
        while left and len(starts) < STARTS_MAX:
            job = left[min(left.values(), key=self._order).job_id]
            ask = self._permits.ask(job)
            chosen = self._free.choose(ask, ~self._closed, self._soon)
            if not chosen or not self._allowance.has(job.job_id):
                del left[job.job_id]
                continue
            self._free.take(chosen, ask)
            self._soon.take(chosen, ask)
            self._allowance.take(job.job_id)
            self._serve(job.job_id)
            starts.append(Start(job.job_id, chosen))
            if job.element_count == 1:
                del left[job.job_id], self._left[job.job_id]
            else:
                left[job.job_id] = self._left[job.job_id] = attrs.evolve(job, element_count=job.element_count - 1)
        return starts

    def _claim(self) -> None:
        """What leaves for one of them is for nobody else, also while the first of several small elements have left.

        What leaves is for at most as many as it would hold by itself, rounded up: one that has more than that free
        would have started.
        """
        cpus = self._elastic.cpus
        for job_id, places in self._leaving_for.items():
            if (job := self._left.get(job_id)) is None:
                continue
            for numbers, leaving in places.items():
                count = math.ceil(sum(cpus[each] for each in leaving) / cpus[job_id])
                for _ in range(min(count, job.element_count - self._claimed[job_id])):
                    if not self._take_soon(job, mask_of(numbers)):
                        break

    def _take_soon(self, job: PendingJob, nodes: int) -> bool:
        """Whether an element of it fits on these nodes when those that leave have left; then it has that room."""
        ask = self._permits.ask(job)
        chosen = self._soon.choose(ask, nodes) if self._allowance.will_have(job.job_id) else ()
        if chosen:
            self._soon.take(chosen, ask)
            self._allowance.take(job.job_id, is_now=False)
            self._serve(job.job_id)
            self._claimed[job.job_id] += 1
        return bool(chosen)

    def divide(self) -> None:
        """Elastic elements give way to another elastic job that will find no room: those of lower rank always, equals
        as long as it has less than its part. The next is who has least, as in `fill`."""
        left = dict(self._left)
        for _ in range(MOVES_MAX * len(left)):
            job = left[min(left.values(), key=self._order).job_id]
            if self._claimed[job.job_id] < job.element_count:
                if self._take_soon(job, ~self._closed):
                    continue
                if victims := self._richest(job):
                    for victim in victims:
                        self._leave(victim)
                    self._take_soon(job, mask_of(victims[0].node_numbers))
                    self.preempts.append(Preempt(job.job_id, tuple((each.job_id, each.index) for each in victims)))
                    continue
            del left[job.job_id]
            if not left:
                break

    def _richest(self, job: PendingJob) -> list[RunningJob]:
        """Who gives way to this job, where it would fit then: one element, or several smaller ones of one node. Of
        equals they are of the one that has most."""
        may = {other for other, count in self._served.items() if count > 0 and self._is_before(job, other)}
        found = {
            (each.job_id, each.index): each for jobs in self._on_node.values() for each in jobs if each.job_id in may
        }
        if not self._allowance.will_have(job.job_id):  # They must have the same limit, besides.
            helps = {each: self._allowance.would_have(job.job_id, each) for each in may}
            found = {key: each for key, each in found.items() if helps[each.job_id]}
        ordered = sorted(found.values(), key=self._cheapness)
        tried: set[tuple[JobId, tuple[int, ...]]] = set()
        for each in ordered:
            if (each.job_id, each.node_numbers) not in tried and (chosen := self._enough([each], job)):
                return chosen
            tried.add((each.job_id, each.node_numbers))
        on_node: dict[tuple[int, ...], list[RunningJob]] = {}
        for each in ordered:
            on_node.setdefault(each.node_numbers, []).append(each)
        for jobs in on_node.values():
            if len(jobs) > 1 and (chosen := self._enough(jobs, job)):
                return chosen
        return []

    def _enough(self, victims: Sequence[RunningJob], job: PendingJob) -> list[RunningJob]:
        """Those of these, all on the same nodes, in whose room the job fits, as long as they may have to give way."""
        ask, trial, chosen = self._permits.ask(job), self._soon.copy(), []
        numbers, fits = victims[0].node_numbers, False
        for each in victims:
            if self._is_before(job, each.job_id):
                self._serve(each.job_id, -1)
                chosen.append(each)
                give_back(trial, [each])
                if fits := trial.choose(ask, mask_of(numbers) & ~self._closed) == numbers:
                    break
        for each in chosen:
            self._serve(each.job_id)
        return chosen if fits else []

    def _is_before(self, job: PendingJob, other: JobId) -> bool:
        """Whether an element of the other gives way to the job: one of lower rank always, an equal if it has more."""
        rank, its_rank = self._elastic.ranks[job.job_id], self._elastic.ranks[other]
        return its_rank < rank or (its_rank == rank and self._has_more(other, job.job_id))

    def _make_room(self, start: Grant) -> None:
        """Ask elastic jobs on its nodes to end until it fits there when they have."""
        victims: list[Key] = []
        if not self._allowance.will_have(start.job_id, start.element_count):
            victims += self._make_allowance(start)
        for part, numbers in self._asks[start.job_id].assigned(start.node_numbers):
            for number in numbers:
                for job in sorted(self._on_node.get(number, ()), key=self._cheapness):
                    if self._soon.count(number, part) >= start.element_count:
                        break
                    self._leave(job)
                    victims.append((job.job_id, job.index))
        if victims:
            self.preempts.append(Preempt(start.job_id, tuple(victims)))

    def _make_allowance(self, start: Grant) -> list[Key]:
        """Elastic jobs that hold what the start needs of a limit leave, on its nodes first, and no more than needed."""
        jobs = {(each.job_id, each.index): each for jobs in self._on_node.values() for each in jobs}
        numbers = set(start.node_numbers)
        ordered = sorted(jobs.values(), key=lambda each: (numbers.isdisjoint(each.node_numbers), self._cheapness(each)))
        leaving = self._allowance.leavers(start.job_id, start.element_count, Counter(job.job_id for job in ordered))
        victims: list[Key] = []
        for job in ordered:
            if leaving.get(job.job_id, 0):
                leaving[job.job_id] -= 1
                self._leave(job)
                victims.append((job.job_id, job.index))
        return victims

    def _leave(self, job: RunningJob) -> None:
        """It leaves, or does already."""
        self._serve(job.job_id, -1)
        self._allowance.take(job.job_id, -1, is_now=False)
        self._soon.give(job.node_numbers, self._soon.packing.ask(job.shape))
        for number in job.node_numbers:
            if job in self._on_node.get(number, ()):
                self._on_node[number].remove(job)

    def _has_room(self, room: Room, start: Grant) -> bool:
        ask = self._asks[start.job_id]
        return room.fits_on(start.node_numbers, ask, start.element_count)

    def _serve(self, job_id: JobId, count: int = 1) -> None:
        self._served[job_id] += count
        self._given[self._elastic.owners[job_id]] += count * self._elastic.cpus[job_id]

    def _levels(self, job_id: JobId, more: int = 0) -> tuple[float, float]:
        """The CPUs of its owner by its share, and its own by its weight; or what they would be with so many more
        elements."""
        elastic, owner, cpus = self._elastic, self._elastic.owners[job_id], self._elastic.cpus[job_id]
        own = (self._served[job_id] + more) * cpus / elastic.weights[job_id]
        return (self._given[owner] + more * cpus) / elastic.shares[owner], own

    def _has_more(self, job_id: JobId, than: JobId) -> bool:
        """Whether it is no worse off without one element than the other with one: of owners, or within one of jobs."""
        level = self._elastic.owners[job_id] == self._elastic.owners[than]
        return self._levels(job_id, -1)[level] >= self._levels(than, 1)[level]

    def _order(self, job: PendingJob) -> tuple[int, float, float, float, JobId]:
        return -self._elastic.ranks[job.job_id], *self._levels(job.job_id), job.submit_time_s, job.job_id

    def _cheapness(self, job: RunningJob) -> tuple[int, float, float, int, int]:
        """Who goes first: of the lowest rank, of the owner that has most by its share, of the job that has most by its
        weight, the last element."""
        owner_level, level = self._levels(job.job_id)
        return self._elastic.ranks[job.job_id], -owner_level, -level, -job.job_id, -job.index
