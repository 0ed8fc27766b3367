"""Jobs that may run with several amounts (`--nodes=2-8`, `--or`): which of them each is planned with. A layer on top of
any engine; pure.

The engine sees every job with one set of amounts. When it has made its plan, it is looked for jobs that would be
expected to end sooner in another variant: started with that in the room which the plan leaves, or promised a start.
Then the engine plans once more with those jobs changed, and that is the plan if it bears out what was expected.
Guarantee: whoever changes is one of the variants that it asked for, and is expected to end sooner by it; no other job
loses its start, or is promised a later one. So a job waits, although it could start, only for a start that it was
promised and with which it ends sooner. An array goes as a whole, by when its last element would end (array_ends.py).
Choosing the size by the predicted end, when the state of the machine is known: Cirne and Berman, Journal of Parallel
and Distributed Computing 62(10), 2002. What a number of nodes does to the run time is said by the job (Variant).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from hal_core.models.job import JobId, Shape
from hal_core.models.plan import Choice, Plan, RunningJob, Start
from hal_core.rules import elastic
from hal_core.rules.array_ends import ArrayEnds
from hal_core.rules.elastic_jobs import elastic_of
from hal_core.rules.limits import RunningQuota
from hal_core.rules.permit import Permits
from hal_core.rules.snapshot import StateSnapshot
from hal_core.rules.timeline import earliest_start

if TYPE_CHECKING:
    from hal_core.rules.elastic import Engine
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.pending_queue import Rank
    from hal_core.rules.state import State

JOBS_MAX: Final = 100
"""Jobs with variants, the first in the queue, that are looked at in one pass."""
LATER_MAX: Final = 50
"""Different sets of amounts of which it is worked out when there will be room, in one pass."""
TRIES_MAX: Final = 5
"""Plans that are made to find one that bears out what was expected."""
ROUNDED_S: Final = 1e-6
"""Promises that differ by less are the same."""


def plan(engine: Engine, state: State, snapshot: StateSnapshot) -> Plan:
    """The engine's plan, with elastic jobs, and with each job in the variant that it is best off in."""
    elastic_jobs = elastic_of(state)
    first = elastic.plan(engine, snapshot, elastic_jobs)
    snapshot.life.check()
    if not state.owned.varied or _has_moves(first):
        return first
    ends = ArrayEnds(state, snapshot.now_s)
    before = _Outlook(first, state, snapshot.now_s, ends)
    proposed = _Search(state, snapshot.now_s, first, before).proposals()
    for _ in range(TRIES_MAX):
        if not proposed:
            break
        changed = {each.record.job_id: each.record for each in proposed}
        second = elastic.plan(engine, StateSnapshot(state, snapshot.now_s, changed, snapshot.life), elastic_jobs)
        after = _Outlook(second, state, snapshot.now_s, ends)
        borne_out = [each for each in proposed if after.bears_out(each, before.of(state.jobs[each.job_id]))]
        if len(borne_out) < len(proposed):
            proposed = borne_out + [now for each in proposed if each not in borne_out for now in each.at_once()]
        elif _has_moves(second) or before.is_worse_in(after, {*changed, *elastic_jobs.weights}):
            more_modest = [now for each in proposed for now in (each.at_once() if each.does_wait else (each,))]
            proposed = more_modest if any(each.does_wait for each in proposed) else proposed[: len(proposed) // 2]
        else:
            choices = tuple(_choice(each.record, after, before.of(state.jobs[each.job_id])) for each in proposed)
            return attrs.evolve(second, choices=choices, memo=None)
    return first


def _has_moves(planned: Plan) -> bool:
    """Others are asked to end for some jobs, for which these were planned as they are."""
    return bool(planned.preempts or planned.grants)


def _choice(record: JobRecord, after: _Outlook, otherwise: Prospect) -> Choice:
    return Choice(record.job_id, record.spec.variant, after.of(record).end_s, otherwise.end_s)


@attrs.frozen(eq=False)
class Proposal:
    """A job as it would be in a variant that seems better."""

    record: JobRecord
    does_wait: bool = False
    instead: JobRecord | None = None
    """It may be promised nothing, or be in the way of others: then the best variant in which it would start now."""

    @property
    def job_id(self) -> JobId:
        return self.record.job_id

    def at_once(self) -> tuple[Proposal, ...]:
        return () if self.instead is None else (Proposal(self.instead),)


class Prospect(NamedTuple):
    """How a job is off in a plan; less is better."""

    end_s: float
    """When it is expected to end; infinity: nobody knows."""
    start_s: float
    run_ratio: float
    """As in Variant: of those without a time limit, which all end at infinity, who starts takes what runs fastest."""


class _Outlook:
    """What a plan means for each job."""

    def __init__(self, planned: Plan, state: State, now_s: float, ends: ArrayEnds) -> None:
        self._state, self._now_s = state, now_s
        self._counts: dict[JobId, int] = {}
        self._stages_s: dict[JobId, float] = {}
        self._ends = ends
        for start in planned.starts:
            self._counts[start.job_id] = self._counts.get(start.job_id, 0) + start.element_count
            self._stages_s[start.job_id] = start.stage_s
        self.promises_s = {reserve.job_id: reserve.start_time_s for reserve in planned.reserves}

    def of(self, record: JobRecord) -> Prospect:
        job_id = record.job_id
        if job_id in self._counts:
            return self.prospect(record, self._now_s, self._stages_s[job_id])
        return self.prospect(record, self.promises_s.get(job_id, math.inf))

    def prospect(self, record: JobRecord, start_s: float, stage_s: float = 0.0) -> Prospect:
        """If HAL started it then. Where another scheduler has the nodes it may wait there, too (rules/bookings.py)."""
        start_s = max(start_s, self._state.bookings.ready_s(self._state, record, self._now_s))
        left, run_s = self._ends.left_of(record), record.expected_s
        end_s = start_s + run_s if left is None else left.last_end_s(run_s, start_s)
        return Prospect(end_s + stage_s, start_s, record.spec.run_ratio)

    def bears_out(self, proposal: Proposal, before: Prospect) -> bool:
        """Whether the job starts, or is promised a start, and is better off by that than before and than at once."""
        found = self.of(proposal.record)
        return found.start_s < math.inf and all(
            found < each for each in (before, *map(self._if_started, proposal.at_once()))
        )

    def _if_started(self, proposal: Proposal) -> Prospect:
        return self.prospect(proposal.record, self._now_s)

    def is_worse_in(self, other: _Outlook, but: Collection[JobId]) -> bool:
        """Whether a job, but for those named, starts fewer elements in the other plan or is promised a later start."""
        if any(other._counts.get(each, 0) < count for each, count in self._counts.items() if each not in but):
            return True
        return any(
            other.promises_s.get(job_id, math.inf) > start_s + ROUNDED_S and job_id not in other._counts
            for job_id, start_s in self.promises_s.items()
            if job_id not in but and start_s < math.inf
        )


class _Search:
    """What the first plan leaves of room, and who would be better off in it."""

    def __init__(self, state: State, now_s: float, first: Plan, before: _Outlook) -> None:
        self._state = state
        self._now_s = now_s
        self._before = before
        snapshot = StateSnapshot(state, now_s)
        self._room = room = snapshot.room()
        self._permits = Permits(snapshot.holds, room.packing, now_s)
        self._starts: dict[JobId, list[Start]] = {}
        """Of jobs with variants that the plan starts."""
        self._running = list(snapshot.running())
        for start in first.starts:
            record = state.jobs[start.job_id]
            if record.spec.elastic_weight:
                continue
            room.take(start.node_numbers, room.packing.ask(record.shape), start.element_count)
            end_s = now_s + start.stage_s + record.expected_s
            row = RunningJob(record.job_id, 0, record.shape, start.node_numbers, end_s)
            self._running += [row] * start.element_count
            if record.spec.variants:
                self._starts.setdefault(record.job_id, []).append(start)
        self._running.sort(key=lambda job: (job.expected_end_s, job.job_id))
        self._later: dict[tuple[Shape, float | None, str], float] = {}
        ranks = [state.queue.rank_of(state.jobs[job_id]) for job_id in before.promises_s if job_id in state.jobs]
        self._first_promised = min((rank for rank in ranks if rank is not None), default=None)

    def proposals(self) -> list[Proposal]:
        """In the order of the queue."""
        state, room = self._state, self._room
        ranked = [
            (rank, record)
            for record in map(state.jobs.__getitem__, state.owned.varied)
            if record.spec.begin_time_s <= self._now_s
            and not record.is_bound
            and (rank := state.queue.rank_of(record)) is not None
        ]
        proposed: list[Proposal] = []
        for rank, record in sorted(ranked, key=lambda each: each[0])[:JOBS_MAX]:
            own = room.packing.ask(record.shape)
            starts = self._starts.get(record.job_id, ())
            for start in starts:
                for _ in range(start.element_count):
                    room.give(start.node_numbers, own)
            found = self._best(record, may_wait=self._may_wait(record, rank))
            if found is None:
                for start in starts:
                    room.take(start.node_numbers, own, start.element_count)
                continue
            proposal, nodes = found
            proposed.append(proposal)
            if nodes:
                room.take(nodes, room.packing.ask(proposal.record.shape))
        return proposed

    def _may_wait(self, record: JobRecord, rank: Rank) -> bool:
        """Whether the engine might promise it another start: nobody who was promised one stands before it, or as it is
        there is none to promise."""
        if record.job_id in self._before.promises_s or self._first_promised is None or rank < self._first_promised:
            return True
        return record.job_id not in self._starts and self._later_s(record) == math.inf

    def _best(self, record: JobRecord, may_wait: bool) -> tuple[Proposal, tuple[int, ...]] | None:
        """The best of its other variants, and the nodes where it would start in that now, if it does."""
        best = best_now = self._before.of(record)
        found: tuple[Proposal, tuple[int, ...]] | None = None
        instead: JobRecord | None = None
        for number in range(len(record.spec.variants)):
            if number == record.spec.variant:
                continue
            trial = record.with_spec(record.spec.in_variant(number))
            if self._now_s + trial.expected_s > best_now.end_s or self._is_barred(trial):
                continue
            ask = self._permits.ask(trial.pending_row())
            nodes = self._room.choose(ask)
            start_s = self._now_s if nodes else self._later_s(trial) if may_wait else math.inf
            prospect = self._before.prospect(trial, start_s)
            if nodes and prospect < best_now:
                best_now, instead = prospect, trial
            if start_s < math.inf and prospect < best:
                best, found = prospect, (Proposal(trial), nodes)
        if found is not None and not found[1]:
            found = Proposal(found[0].record, does_wait=True, instead=instead), ()
        return found

    def _later_s(self, trial: JobRecord) -> float:
        """When there will be room for it, if nobody else takes that."""
        key = (trial.shape, trial.spec.walltime_s, trial.spec.reservation)
        found = self._later.get(key)
        if found is None:
            if len(self._later) == LATER_MAX:
                return math.inf
            others = [job for job in self._running if job.job_id != trial.job_id]
            ask, permit = self._room.packing.ask(trial.shape), self._permits.of(trial.pending_row())
            promise = earliest_start(self._room, others, ask, self._now_s, permit)
            found = self._later[key] = math.inf if promise is None else promise.time_s
        return found

    def _is_barred(self, trial: JobRecord) -> bool:
        """A limit lets it not start as it would be."""
        limits = self._state.limits
        if not limits.is_active:
            return False
        jobs: Mapping[JobId, JobRecord] = {trial.job_id: trial}
        return not RunningQuota(limits, self._state.ledger, jobs, self._now_s).count(trial)
