"""EASY backfill, with the candidates in the order of the queue (`easy`, `slack`) or the shortest first (`easy-sjbf`).

The first blocked job gets a promise: the earliest time at which enough running jobs will have ended. A later job may
start now if it is expected to end before that time, or if it only takes what the promise leaves over.
Guarantee: the promised job never starts later because of a backfilled one, if no job runs longer than expected.
Partitions that share nodes, directly or through others, have one promise together; separate ones have one each.
Jobs without a limit, and of which nothing is known, end at infinity: they only get what the promise leaves over.
With slack the promise is later by a share of the time until the earliest start, told once and kept like any other: more
fits before it.
Mu'alem and Feitelson, IEEE TPDS 12(6), 2001; Lifka, JSSPP 1995; shortest first: Tsafrir, Etsion and Feitelson,
IEEE TPDS 18(6), 2007; slack: Talby and Feitelson, IPPS 1999.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Hashable, Iterable, Iterator, Set
from operator import attrgetter

import attrs

from hal_core import (
    Ask,
    JobId,
    Nearness,
    PartitionName,
    Patience,
    PendingJob,
    Permits,
    Plan,
    Promise,
    Reserve,
    Room,
    Snapshot,
    Start,
    Tiers,
    earliest_start,
    within,
)
from hal_engine_backfill.ends import Ends
from hal_engine_backfill.fcfs import start_elements
from hal_engine_backfill.groups import Blocked, changed_groups, kept_shadows, of_groups, with_the_others
from hal_engine_backfill.shadow import Shadow, can_be_kept

ALL_NODES = -1
_expected_s = attrgetter("expected_s")


class Easy:
    """Start in order; promise the first blocked job its time; fill the holes with later jobs that do not disturb it."""

    def __init__(
        self, depth_max: int = 1000, scan_max: int = 20_000, is_shortest_first: bool = False, slack: float = 0.0
    ) -> None:
        """`slack`: a promised start may be later than the earliest by so much of the time until that."""
        self._margin = Margin(slack, is_kept=True)
        self._depth_max = depth_max
        self._scan_max = scan_max
        self._is_shortest_first = is_shortest_first

    def plan(self, snapshot: Snapshot) -> Plan:
        groups = changed_groups(snapshot, self._depth_max)
        if groups is not None and not groups:
            return Plan((), tuple(snapshot.promises.values()), depth=1, memo=snapshot.memo)
        one_pass = Pass(snapshot, self._margin, groups=groups)
        waiting = snapshot.pending()
        queue = itertools.islice(waiting, self._scan_max)
        behind = one_pass.start_in_order(queue if groups is None else of_groups(queue, groups, snapshot))
        is_whole = True
        if behind:
            in_order = sorted(behind, key=_expected_s) if self._is_shortest_first else behind
            is_whole = one_pass.backfill(in_order, self._depth_max)
        is_whole = is_whole and (next(queue, None) is not None or next(waiting, None) is None)
        plan = one_pass.result()
        if not is_whole:  # who was not tried this time may be the next, with fewer before him
            plan = attrs.evolve(plan, memo=None)
        return plan if groups is None else with_the_others(plan, groups, snapshot)


@attrs.frozen
class Margin:
    """By how much later than at the earliest a job is promised its start: a share of the time until then."""

    share: float = 0.0
    is_kept: bool = False
    """What was promised to the same job before is not moved to a later time for the sake of a margin."""


NO_MARGIN = Margin()


class _Unfit:
    """What was found not to fit in one pass: shapes, and with each all wider ones, for room only shrinks."""

    __slots__ = ("_least", "kinds")

    def __init__(self) -> None:
        self.kinds: set[Hashable] = set()
        self._least: dict[object, int] = {}
        """By family, the fewest nodes that were too many."""

    def has(self, kind: Hashable, ask: Ask) -> bool:
        """Whether it does not fit either; noted, if so."""
        if ask.node_count < self._least.get(ask.family, sys.maxsize):
            return False
        self.kinds.add(kind)
        return True

    def add(self, kind: Hashable, ask: Ask) -> None:
        self.kinds.add(kind)
        self._least[ask.family] = ask.node_count


class Pass:
    """One pass over the queue: what is still free, what was promised, which shapes were found not to fit."""

    def __init__(
        self,
        snapshot: Snapshot,
        margin: Margin = NO_MARGIN,
        does_trust: bool = True,
        groups: Set[PartitionName] | None = None,
    ) -> None:
        """With `does_trust` False running jobs are expected to end at their limits, whatever was predicted. `groups`:
        all jobs of the queue are of these groups of partitions; None: of any."""
        self._snapshot = snapshot
        self._margin = margin
        self._now_s = snapshot.now_s
        self._room = room = snapshot.room()
        self._packing = room.packing
        group_nodes = room.packing.group_nodes
        self._group_nodes = group_nodes if groups is None else {group: group_nodes[group] for group in groups}
        self._quota = snapshot.quota
        self._permits = Permits(snapshot.holds, room.packing, self._now_s)
        self._ends = Ends(snapshot, does_trust)
        self._does_keep = does_trust and not margin.share
        """Promises: those of passes that see the ends of what runs in two ways would be mixed."""
        self._kept = kept_shadows(snapshot) if self._does_keep else {}
        self._shadows: dict[PartitionName, Shadow] = {}
        """By group: what the next plan may keep of its promise."""
        self._begun: set[PartitionName] = set()
        """Groups of which a job was started before the first one that is blocked."""
        self._never: set[Hashable] = set()
        """Kinds that can never start."""
        self._promise_of: dict[PartitionName, Promise] = {}
        """By group: what its first blocked job was promised. A job that can never start holds nobody up."""
        self.promised: list[tuple[JobId, Promise]] = []
        self.starts: list[Start] = []
        self.depth = 0
        self._patience = Patience(room, self._now_s, self._ends)
        self._nearness = Nearness(snapshot, room)

    def start_in_order(self, queue: Iterator[PendingJob]) -> Iterable[PendingJob]:
        """Until each group has a job that does not fit. Returns the jobs that stand behind those, if there are any: to
        be read once, for the queue is only read as far as somebody looks."""
        promise_of, permits, never = self._promise_of, self._permits, self._never
        group_count = len(self._group_nodes) + len(self._snapshot.holds)
        behind: list[PendingJob] = []
        for job in queue:
            group = permits.group(job)
            if group is None or permits.kind(job) in never:
                continue
            if group in promise_of:
                behind.append(job)
                continue
            if self._quota is not None:
                allowed = within(self._quota, job)  # the queue may have been read before others started
                if allowed is None:
                    continue
                job = allowed
            self.depth += 1
            promise = self._keep(job, group) or self._start_or_promise(job, group)
            if promise is not None:
                promise_of[group] = promise
                self.promised.append((job.job_id, promise))
                if len(promise_of) == group_count:
                    most = self._most_cpus()
                    if most:
                        return itertools.chain(behind, (job for job in queue if job.shape.cpus <= most))
                    break
        return behind

    def _keep(self, job: PendingJob, group: PartitionName) -> Promise | None:
        """The promise that the last plan made to the same job, if that is the same now."""
        shadow, changes = self._kept.get(group), self._snapshot.changes
        if shadow is None or changes is None or shadow.job_id != job.job_id or group in self._begun:
            return None
        group_of = self._packing.group_of
        promise = shadow.go_on(self._now_s, [each for each in changes.ended if group_of[each.shape.partition] == group])
        if promise is not None:
            self._shadows[group] = shadow
        return promise

    def _start_or_promise(self, job: PendingJob, group: PartitionName) -> Promise | None:
        """Start the elements of a job whose turn it is. A promise for those that are left, unless they want to wait or
        can never start."""
        ask = self._permits.ask(job)
        chosen = self._room.choose(ask) if ask.strict else ()
        promise = self._patience.better(ask, job.expected_s, self._permits.of(job), chosen)
        tiers = self._snapshot.stage_in(job.inputs) if job.inputs else ()
        before, left, does_wait = len(self.starts), job.element_count, False
        if tiers:
            left, does_wait = self._start_near(job, ask, tiers)
        elif promise is None:
            open_nodes = self._nearness.open_nodes(self._now_s + job.expected_s)
            ask = ask if open_nodes == ALL_NODES else ask.within(open_nodes)
            left = start_elements(self._room, ask, job, self.starts)
        if self._quota is not None:
            self._quota.take(job.job_id, job.element_count - left)
        self._ends.add(job, self.starts[before:])
        if len(self.starts) > before:
            self._begun.add(group)
        if does_wait or not left:
            return None
        if promise is None:
            whole = self._packing.ask(job.shape)
            promise = earliest_start(self._room, self._ends(), whole, self._now_s, self._permits.of(job))
            if promise is None:
                self._never.add(self._permits.kind(job))
                return None
            if self._does_keep and not self._snapshot.holds and can_be_kept(whole, promise):
                self._shadows[group] = Shadow(job.job_id, whole, promise, self._ends())
        return self._with_margin(job.job_id, promise)

    def _with_margin(self, job_id: JobId, promise: Promise) -> Promise:
        """What the promise leaves over stays as it is at the earliest, so it does so until the later time too."""
        margin = self._margin
        if not margin.share or promise.time_s == math.inf:
            return promise
        time_s = promise.time_s + margin.share * (promise.time_s - self._now_s)
        before = self._snapshot.promises.get(job_id) if margin.is_kept else None
        if before is not None:
            time_s = max(promise.time_s, min(time_s, before.start_time_s))
        return attrs.evolve(promise, time_s=time_s)

    def _most_cpus(self) -> int:
        """Free on one node: who asks for more cannot start behind the promises, however long the queue is."""
        return max(self._room.most_cpus(nodes) for nodes in self._group_nodes.values())

    def result(self, waiting: Iterable[PendingJob] = ()) -> Plan:
        """What was decided. `waiting`: of those who still wait, the first in order."""
        reserves = tuple(
            Reserve(job_id, promise.time_s, promise.node_numbers)
            for job_id, promise in self.promised
            if promise.time_s < math.inf
        )
        wake_s = self._nearness.wake_s
        first_of = {group: job_id for group, (job_id, _) in zip(self._promise_of, self.promised, strict=True)}
        memo = Blocked(first_of, self._shadows) if wake_s == math.inf else None
        return Plan(tuple(self.starts), reserves, self.depth, wake_s, memo=memo, waiting=tuple(waiting))

    def backfill(self, jobs: Iterable[PendingJob], depth_max: int) -> bool:
        """Start what disturbs no promise. A shape that did not fit is not tried again, for room only shrinks.

        False if somebody was not tried because so many were.
        """
        now_s, room, permits = self._now_s, self._room, self._permits
        unfit, unfit_beside = _Unfit(), _Unfit()
        nodes_of, group_of, has_holds = self._group_nodes, self._packing.group_of, bool(self._snapshot.holds)
        looked: dict[PartitionName, int] = {}
        """How many starts there were when it was looked how much is free."""
        most = {group: room.most_cpus(nodes_of.get(group, ALL_NODES)) for group in {**nodes_of, **self._promise_of}}
        most_beside = {
            group: promise.spare.most_cpus(nodes_of.get(group, ALL_NODES))
            for group, promise in self._promise_of.items()
        }
        for job in jobs:
            shape = job.shape
            kind = permits.kind(job) if has_holds else id(shape)
            group = self._permits.group(job) if has_holds else group_of[shape.partition]
            assert group is not None, "a job behind a promise is in a group"
            if shape.cpus > most[group] or kind in unfit.kinds:
                continue
            promise = self._promise_of[group]
            end_s = now_s + job.expected_s
            ends_before = end_s <= promise.time_s and end_s < math.inf
            if not ends_before and (shape.cpus > most_beside[group] or kind in unfit_beside.kinds):
                continue
            ask = permits.ask(job)
            if unfit.has(kind, ask) or (not ends_before and unfit_beside.has(kind, ask)):
                continue
            if self.depth >= depth_max:
                return False
            allowed = within(self._quota, job)
            if allowed is None:
                continue
            self.depth += 1
            tiers = self._snapshot.stage_in(job.inputs) if job.inputs else ()
            if tiers:
                if self._start_near_beside(allowed, tiers, promise):
                    continue
                ends_before = True
            elif self._start_beside(allowed, None if ends_before else promise.spare):
                continue
            (unfit if ends_before else unfit_beside).add(kind, ask)
            if looked.get(group) != len(self.starts):
                looked[group] = len(self.starts)
                most[group] = room.most_cpus(nodes_of.get(group, ALL_NODES))
                most_beside[group] = promise.spare.most_cpus(nodes_of.get(group, ALL_NODES))
                if not any(most.values()):
                    break
        return True

    def _start_beside(self, job: PendingJob, spare: Room | None) -> bool:
        """Start the job's elements where there is room now and, unless it ends in time, in `spare` too.

        False if some are left.
        """
        room, left = self._room, job.element_count
        ask = self._permits.ask(job)
        shadow = self._shadows.get(self._packing.group_of[job.shape.partition]) if self._shadows else None
        open_nodes = self._nearness.open_nodes(self._now_s + job.expected_s)
        chosen = room.choose(ask, open_nodes, spare)
        if ask.strict and self._patience.better(ask, job.expected_s, self._permits.of(job), chosen):
            return True  # it waits because it wants to
        while True:
            if not chosen:
                return False
            count = 1
            if left > 1 and len(chosen) == 1:
                count = min(left, room.count(chosen[0], ask))
                count = count if spare is None else min(count, spare.count(chosen[0], ask))
            room.take(chosen, ask, count)
            if spare is not None:
                spare.take(chosen, ask, count)
            self.starts.append(Start(job.job_id, chosen, count))
            if shadow is not None:
                shadow.start(chosen, ask, count, self._now_s + job.expected_s)
            if self._quota is not None:
                self._quota.take(job.job_id, count)
            left -= count
            if not left:
                return True
            chosen = room.choose(ask, open_nodes, spare)

    def _start_near(self, job: PendingJob, ask: Ask, tiers: Tiers, promise: Promise | None = None) -> tuple[int, bool]:
        """Start the elements of a job with inputs, near to them. How many are left, and whether those want to wait."""

        def beside(end_s: float) -> Room | None:
            return None if promise is None or (end_s <= promise.time_s and end_s < math.inf) else promise.spare

        self._shadows.clear()  # what is started here ends when its inputs have come, too
        found, does_wait = self._nearness.place(job, ask, tiers, beside)
        self.starts += found
        return job.element_count - len(found), does_wait

    def _start_near_beside(self, job: PendingJob, tiers: Tiers, promise: Promise) -> bool:
        """The same behind a promise. False if it fits nowhere, with or without a promise."""
        ask = self._permits.ask(job)
        left, does_wait = self._start_near(job, ask, tiers, promise)
        if self._quota is not None:
            self._quota.take(job.job_id, job.element_count - left)
        return does_wait or not left or bool(self._room.choose(ask))
