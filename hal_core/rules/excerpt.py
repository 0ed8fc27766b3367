"""The part of the state that decides when one job starts, as values that nobody changes.

It is made while the state stands still, and costs a few milliseconds however much waits and runs: rows are frozen and
shared, and the room is a copy. What is done with it (forecast.py) can run anywhere, for as long as it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

import attrs

from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.node import Node, Partition, PartitionName
from hal_core.models.plan import PendingJob, Reserve, RunningJob
from hal_core.models.prediction import Prediction
from hal_core.models.reservation import Holds
from hal_core.models.room import Room
from hal_core.models.staging import Tiers
from hal_core.rules.foreseen_quota import Claim, Standings, claim_of
from hal_core.rules.job_record import JobRecord
from hal_core.rules.victims import give_back

if TYPE_CHECKING:
    from hal_core.rules.pending_queue import Rank
    from hal_core.rules.state import State

_rank = itemgetter(0)
QUEUE_MAX = 400
"""So many jobs at the front of the queue are taken along."""
ELASTIC = "it runs in what other jobs leave"


@attrs.frozen
class Asked:
    """The job that is asked about, as it is or as it would be, and where it stands."""

    row: PendingJob
    rank: Rank
    before_count: int
    """So many jobs stand before it."""
    claim: Claim
    begin_s: float
    array: ArrayLeft | None = None
    ready_s: float = 0.0
    """Not before then, however soon HAL starts it: it would wait in the queue of another scheduler."""


@attrs.frozen
class ArrayLeft:
    """Of a job array: elements that wait, elements that run, and how many may run at once."""

    ready: int
    active: int
    throttle: int | None

    @property
    def startable_count(self) -> int:
        return self.ready if self.throttle is None else min(self.ready, max(0, self.throttle - self.active))


@attrs.frozen(eq=False)
class Excerpt:
    """Nothing in it changes, and nothing in it is the state's own."""

    nodes: Sequence[Node]
    partitions: Mapping[PartitionName, Partition]
    partition_numbers: Mapping[PartitionName, Sequence[int]]
    room: Room
    running: Sequence[RunningJob]
    queue: Sequence[PendingJob]
    """The first of the queue, without the job that is asked about; and arrays that will come back into it when one of
    their elements ends."""
    ranks: Sequence[Rank]
    """Where each of them stands."""
    is_whole: bool
    """Nobody that waits was left out."""
    begins_s: Mapping[JobId, float]
    """Of those that may not begin yet."""
    arrays: Mapping[JobId, ArrayLeft]
    claims: Mapping[JobId, Claim]
    standings: Standings | None
    """None: there are no limits."""
    holds: Holds
    promises: Mapping[JobId, Reserve]
    has_released: bool
    tiers: Mapping[tuple[str, ...], Tiers]
    """What bringing inputs takes, of those that wait."""
    asked: Asked | None
    why_not: str
    """Why nothing can be said of the job that is asked about."""
    aside: frozenset[JobId] = frozenset()
    """Jobs of which a person has suspended elements: nobody knows when these go on, and end."""


def excerpt(state: State, job_id: JobId, now_s: float) -> Excerpt:
    """With the job that is asked about, if it waits."""
    record = state.jobs.get(job_id)
    asked, why_not = None, ""
    if record is None:
        why_not = "it has ended"
    elif record.held_by:
        why_not = f"it is held by {record.held_by}"
    elif not record.is_met:
        why_not = "it waits for other jobs"
    elif not record.startable_count:
        why_not = "no more of its elements may start now"
    elif record.spec.elastic_weight:
        why_not = ELASTIC
    else:
        asked = as_it_would_be(state, record, now_s)
    return _excerpt(state, asked, why_not, now_s)


def record_of(
    state: State, owner: Owner, spec: JobSpec, now_s: float, prediction: Prediction | None = None
) -> JobRecord:
    """As if the job had just been submitted, and this were said of its run time: for a dry run."""
    record = JobRecord(JobId(state.next_job_id), "", owner, spec, now_s)
    record.prediction = prediction
    return record


def excerpt_of(state: State, record: JobRecord, now_s: float) -> Excerpt:
    """The same with that job, which nobody else knows of."""
    why_not = f"it is held by {record.held_by}" if record.held_by else ""
    why_not = why_not or ("" if record.is_met else "it waits for other jobs")
    why_not = why_not or (ELASTIC if record.spec.elastic_weight else "")
    return _excerpt(state, None if why_not else as_it_would_be(state, record, now_s), why_not, now_s)


def excerpt_of_queue(state: State, now_s: float) -> Excerpt:
    """The same, asking about no job."""
    return _excerpt(state, None, "", now_s)


def as_it_would_be(state: State, record: JobRecord, now_s: float, spec: JobSpec | None = None) -> Asked:
    """A record as it is, or as it would be if the job asked for something else."""
    if spec is not None:
        record = record.with_spec(spec)
    order = state.queue.order
    row = attrs.evolve(record.pending_row(), rank=order.rank(record))
    shares = state.fair_shares(now_s) if order.needs_shares else None
    rank, before = state.queue.rank_at(record, now_s, shares), state.queue.count_before(record, now_s, shares)
    ready_s = state.bookings.ready_s(state, record, now_s)
    return Asked(row, rank, before, claim_of(state, record), record.spec.begin_time_s, _array_left(record), ready_s)


def _array_left(record: JobRecord) -> ArrayLeft | None:
    array = record.spec.array
    return None if array is None else ArrayLeft(len(record.ready), len(record.active), array.throttle)


def _excerpt(state: State, asked: Asked | None, why_not: str, now_s: float) -> Excerpt:
    snapshot = state.snapshot(now_s)
    ranked = [(rank, state.jobs[rank[2]]) for rank in islice(state.queue.ranks(), QUEUE_MAX + 1)]
    is_whole = len(ranked) <= QUEUE_MAX
    shares = state.fair_shares(now_s) if state.queue.order.needs_shares else None
    back = {activity.record for activity in state.allocations.values() if _comes_back(activity.record)}
    ranked += [(state.queue.rank_at(record, now_s, shares), record) for record in back]
    ranked = sorted(ranked, key=_rank)[:QUEUE_MAX]
    ranked = [(rank, record) for rank, record in ranked if asked is None or record.job_id != asked.row.job_id]
    ranked = [(rank, record) for rank, record in ranked if not record.spec.elastic_weight]
    others = [record for _, record in ranked]
    room, elastic = snapshot.room(), state.owned.elastic
    give_back(room, (job for job in snapshot.running() if job.job_id in elastic) if elastic else ())
    arrays = {record.job_id: left for record in others if (left := _array_left(record)) is not None}
    claims: dict[JobId, Claim] = {}
    if state.limits.is_active:
        claims = {record.job_id: claim_of(state, record) for record in others}
        for (job_id, _), activity in state.allocations.items():
            tallies, amounts = claim_of(state, activity.record)
            held = amounts._replace(cpus=activity.cpu_count, gpus=activity.gpu_count)
            claims.setdefault(job_id, Claim(tallies, held))
    queue = [record.pending_row() for record in others]
    rows = queue if asked is None else [*queue, asked.row]
    return Excerpt(
        nodes=tuple(state.table.nodes),
        partitions=state.partitions,
        partition_numbers=state.partition_numbers,
        room=room.copy(state.packing.twin()),
        running=[job for job in snapshot.running() if job.job_id not in elastic],
        queue=queue,
        ranks=[rank for rank, _ in ranked],
        is_whole=is_whole,
        begins_s={record.job_id: begin for record in others if (begin := record.spec.begin_time_s) > now_s},
        arrays=arrays,
        claims=claims,
        standings=_standings(state, claims, now_s) if state.limits.is_active else None,
        holds=state.reservations.holds,
        promises=state.promises,
        has_released=state.has_released,
        tiers={row.inputs: snapshot.stage_in(row.inputs) for row in rows if row.inputs},
        asked=asked,
        why_not=why_not,
        aside=frozenset(job_id for (job_id, _), activity in state.suspended.items() if activity.is_aside),
    )


def _standings(state: State, claims: Mapping[JobId, Claim], now_s: float) -> Standings:
    """As the room: what elastic jobs hold is free for all others."""
    found, elastic = Standings.of(state, now_s), state.owned.elastic
    for job_id, _ in state.allocations if elastic else ():
        if job_id in elastic:
            found.end(claims[job_id])
    return found


def _comes_back(record: JobRecord) -> bool:
    """An array that runs as many elements as it may, with more that wait."""
    return record.is_array and not record.is_queued and record.is_met and not record.held_by and bool(record.ready)


def is_foreseeable(asked: Asked) -> bool:
    """All that stand before it were taken along."""
    return asked.before_count < QUEUE_MAX
