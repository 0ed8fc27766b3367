"""The state as bytes, for the journal's snapshots: msgpack of plain values, versioned, without anything derivable.

Free amounts, the queue, children and the like are rebuilt on loading, so a dump cannot contradict itself.
"""

from __future__ import annotations

import attrs
import msgspec

from hal_core.models.booking import NodeBookings, QueuedStart
from hal_core.models.dataset import Dataset, DatasetId
from hal_core.models.demand import Demand, GpuRequest
from hal_core.models.event import PolicyChanged, VariantChosen
from hal_core.models.job import End, JobId, JobSpec, JobState, Owner
from hal_core.models.node import Cluster, Node, NodeName, NodeStatus, Reservation
from hal_core.models.placement import AttemptKey, Grant, Share
from hal_core.models.plan import promised
from hal_core.models.pool_event import JobAdmitted
from hal_core.models.prediction import Prediction
from hal_core.models.ranges import Ranges, RangeSet, runs_of
from hal_core.rules import allocations
from hal_core.rules.job_record import Activity, ElementEnd, JobRecord
from hal_core.rules.pool_book import PoolContent
from hal_core.rules.session_lives import SessionLife, UserSpent
from hal_core.rules.state import State
from hal_core.rules.usage import Payer

DUMP_VERSION = 1


@attrs.frozen
class DumpedActivity:
    job_id: JobId
    index: int
    attempt: int
    shares: tuple[Share, ...]
    place_time_s: float
    start_time_s: float | None
    is_launched: bool
    parts_started: tuple[NodeName, ...]
    parts_left: tuple[NodeName, ...]
    end: End | None
    cancel: tuple[str, bool, str] | None
    grace_s: float | None = None
    preempted_for: JobId | None = None
    due_s: float | None = None
    queued_start_s: float | None = None
    suspend_time_s: float | None = None
    suspended_for: JobId | None = None
    suspended_s: float = 0.0
    suspended_by: str = ""
    is_aside: bool = False


@attrs.frozen
class DumpedEnd:
    index: int
    attempt: int
    end: End
    start_time_s: float | None
    end_time_s: float
    node_names: tuple[NodeName, ...]


@attrs.frozen
class DumpedJob:
    job_id: JobId
    client_id: str
    owner: Owner
    spec: JobSpec
    submit_time_s: float
    finish_time_s: float | None
    priority: int
    held_by: str
    is_met: bool
    ready: Ranges
    blocked: Ranges
    attempts: tuple[tuple[int, int], ...]
    ended: tuple[tuple[JobState, Ranges], ...]
    ends: tuple[DumpedEnd, ...]
    prediction: Prediction | None = None
    preempted_by: JobId | None = None
    choice: VariantChosen | None = None
    has_outgrown: bool = False
    elastic_weight: int | None = None
    """None: as its spec says; of an older HAL."""


@attrs.frozen
class DumpedNode:
    node: Node
    status: NodeStatus
    status_time_s: float
    boot_id: str
    missing: tuple[str, ...]
    detail: str
    drain: tuple[str, str] | None
    orphans: tuple[AttemptKey, ...] = ()


@attrs.frozen
class DumpedDemand:
    weights: tuple[tuple[GpuRequest, int], ...]
    typical: tuple[tuple[GpuRequest, float], ...]
    seen: int
    next_look: int
    version: int


@attrs.frozen
class DumpedState:
    sequence: int
    time_s: float
    cluster: Cluster
    nodes: tuple[DumpedNode, ...]
    jobs: tuple[DumpedJob, ...]
    recent: tuple[DumpedJob, ...]
    activities: tuple[DumpedActivity, ...]
    """In the order of their placements."""
    completed_ids: Ranges
    failed_ids: Ranges
    next_job_id: int
    client_ids: tuple[tuple[int, str, JobId, float], ...]
    reserves: tuple[tuple[JobId, float], ...]
    disabled_observers: tuple[tuple[str, str], ...]
    ended_counts: tuple[tuple[JobState, int], ...]
    promised_nodes: tuple[Ranges, ...] = ()
    """Of each of `reserves`, if the last plan's event had them."""
    grants: tuple[Grant, ...] = ()
    has_released: bool = True
    usage: tuple[tuple[Payer, float, float, float], ...] = ()
    """(who, CPU-seconds, GPU-seconds, when they were that much)."""
    version: int = DUMP_VERSION
    reservations: tuple[Reservation, ...] = ()
    """Those that operators made."""
    demand: DumpedDemand | None = None
    datasets: tuple[Dataset, ...] = ()
    """Those that people added."""
    copies: tuple[tuple[DatasetId, tuple[NodeName, ...]], ...] = ()
    """Which nodes have them in their stores."""
    policy_changes: tuple[PolicyChanged, ...] = ()
    pace: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pools: tuple[PoolContent, ...] = ()
    admitted: tuple[JobAdmitted, ...] = ()
    bookings: tuple[NodeBookings, ...] = ()
    queued_starts: tuple[tuple[str, tuple[QueuedStart, ...]], ...] = ()
    bookings_seen: tuple[tuple[str, float], ...] = ()
    sessions: tuple[SessionLife, ...] = ()
    sessions_spent: tuple[UserSpent, ...] = ()


def dump_state(state: State) -> bytes:
    """The whole state."""
    table = state.table
    nodes = tuple(
        DumpedNode(*row)
        for row in zip(
            table.nodes,
            table.status,
            table.status_time_s,
            table.boot_id,
            table.missing,
            table.detail,
            table.drain,
            map(tuple, map(sorted, table.orphans)),
            strict=True,
        )
    )
    dumped = DumpedState(
        sequence=state.sequence,
        time_s=state.time_s,
        cluster=state.cluster,
        nodes=nodes,
        jobs=tuple(_dump_job(record) for record in state.jobs.values()),
        recent=tuple(_dump_job(record) for record in state.recent.values()),
        activities=tuple(_dump_activity(activity) for activity in state.allocations.values()),
        completed_ids=state.completed_ids.ranges(),
        failed_ids=state.failed_ids.ranges(),
        next_job_id=state.next_job_id,
        client_ids=tuple((*key, *value) for key, value in state.client_ids.items()),
        reserves=state.reserves,
        grants=state.grants,
        disabled_observers=tuple(state.disabled_observers.items()),
        ended_counts=tuple(sorted(state.ended_counts.items(), key=lambda item: item[0].value)),
        promised_nodes=tuple(
            runs_of(state.promises[job_id].node_numbers) for job_id, _ in state.reserves if job_id in state.promises
        ),
        has_released=state.has_released,
        reservations=state.reservations.made,
        datasets=state.catalogue.made,
        copies=tuple((each, tuple(sorted(nodes))) for each, nodes in sorted(state.catalogue.copies.items())),
        pace=state.catalogue.pace.figures,
        pools=state.pools.content(),
        admitted=tuple(state.pools.admitted.values()),
        bookings=tuple(each for _, each in sorted(state.bookings.by_node.items())),
        queued_starts=tuple(sorted(state.bookings.starts.items())),
        bookings_seen=tuple(sorted(state.bookings.seen_time_s.items())),
        policy_changes=state.policy_changes,
        sessions=state.sessions.all(),
        sessions_spent=state.sessions.spent(),
        usage=state.ledger.rows(),
        demand=_dump_demand(state.demand),
    )
    return msgspec.msgpack.encode(dumped)


def _dump_demand(demand: Demand) -> DumpedDemand:
    weights = tuple(demand.weights.items())
    return DumpedDemand(weights, demand.typical, demand.seen, demand.next_look, demand.version)


def _dump_job(record: JobRecord) -> DumpedJob:
    return DumpedJob(
        job_id=record.job_id,
        client_id=record.client_id,
        owner=record.owner,
        spec=record.spec,
        submit_time_s=record.submit_time_s,
        finish_time_s=record.finish_time_s,
        priority=record.priority,
        held_by=record.held_by,
        is_met=record.is_met,
        ready=record.ready.ranges(),
        blocked=record.blocked.ranges(),
        attempts=tuple(sorted(record.attempts.items())),
        ended=tuple(
            (state, indices.ranges()) for state, indices in sorted(record.ended.items(), key=lambda item: item[0].value)
        ),
        ends=tuple(
            DumpedEnd(index, end.attempt, end.end, end.start_time_s, end.end_time_s, end.node_names)
            for index, end in record.ends.items()
        ),
        prediction=record.prediction,
        preempted_by=record.preempted_by,
        choice=record.choice,
        has_outgrown=record.has_outgrown,
        elastic_weight=record.elastic_weight,
    )


def _dump_activity(activity: Activity) -> DumpedActivity:
    return DumpedActivity(
        job_id=activity.record.job_id,
        index=activity.index,
        attempt=activity.attempt,
        shares=activity.shares,
        place_time_s=activity.place_time_s,
        start_time_s=activity.start_time_s,
        is_launched=activity.is_launched,
        parts_started=tuple(sorted(activity.parts_started)),
        parts_left=tuple(sorted(activity.parts_left)),
        end=activity.end,
        cancel=activity.cancel,
        grace_s=activity.grace_s,
        preempted_for=activity.preempted_for,
        due_s=activity.due_s,
        queued_start_s=activity.queued_start_s,
        suspend_time_s=activity.suspend_time_s,
        suspended_for=activity.suspended_for,
        suspended_s=activity.suspended_s,
        suspended_by=activity.suspended_by,
        is_aside=activity.is_aside,
    )


def load_state(content: bytes) -> State:
    """Raises ValueError (msgspec's errors are ValueErrors) if the content is not a dump of this version."""
    dumped = msgspec.msgpack.decode(content, type=DumpedState)
    if dumped.version != DUMP_VERSION:
        raise ValueError(f"a state dump of version {dumped.version}; this HAL reads version {DUMP_VERSION}")
    state = State()
    if dumped.demand is not None:
        kept = dumped.demand
        state.demand = Demand(dict(kept.weights), kept.typical, kept.seen, kept.next_look, kept.version)
    _load_nodes(state, dumped)
    state.ledger.load(dumped.usage)
    for job in dumped.jobs:
        state.link(_load_job(job))
    for job in dumped.recent:
        record = _load_job(job)
        state.recent[record.job_id] = record
    for row in dumped.activities:
        allocations.hold(state, _load_activity(state.jobs[row.job_id], row), is_restored=True)
    for record in state.jobs.values():
        state.queue.update(record)
    state.sequence, state.time_s = dumped.sequence, dumped.time_s
    state.next_job_id = dumped.next_job_id
    state.completed_ids, state.failed_ids = RangeSet(dumped.completed_ids), RangeSet(dumped.failed_ids)
    state.client_ids = {(uid, client_id): (job_id, time_s) for uid, client_id, job_id, time_s in dumped.client_ids}
    state.reserves, state.has_released = dumped.reserves, dumped.has_released
    state.grants = dumped.grants
    state.promises = promised(dumped.reserves, dumped.promised_nodes)
    state.reservations.restore(dumped.reservations)
    state.catalogue.restore(dumped.datasets, dumped.copies, dumped.pace)
    state.pools.restore(dumped.pools, dumped.admitted)
    state.bookings.by_node = {each.node: each for each in dumped.bookings}
    state.bookings.starts, state.bookings.seen_time_s = dict(dumped.queued_starts), dict(dumped.bookings_seen)
    state.reservations.rent(state.pools.rented)
    state.sessions.restore(dumped.sessions, dumped.sessions_spent)
    state.disabled_observers = dict(dumped.disabled_observers)
    state.policy_changes = dumped.policy_changes
    state.ended_counts = dict(dumped.ended_counts)
    return state


def _load_nodes(state: State, dumped: DumpedState) -> None:
    """Every row in its old place, also of nodes that the configuration does not name any more."""
    everything = tuple(row.node for row in dumped.nodes)
    state.table.define(attrs.evolve(dumped.cluster, nodes=everything))
    state.set_cluster(dumped.cluster)
    for number, row in enumerate(dumped.nodes):
        state.table.boot_id[number] = row.boot_id
        state.table.missing[number] = row.missing
        state.table.drain[number] = row.drain
        state.table.orphans[number] = set(row.orphans)
        state.table.set_status(number, row.status, row.status_time_s, row.detail)


def _load_job(job: DumpedJob) -> JobRecord:
    record = JobRecord(job.job_id, job.client_id, job.owner, job.spec, job.submit_time_s)
    record.finish_time_s = job.finish_time_s
    record.priority, record.held_by, record.is_met = job.priority, job.held_by, job.is_met
    record.prediction = job.prediction
    if job.elastic_weight is not None:
        record.elastic_weight = job.elastic_weight
    record.ready, record.blocked = RangeSet(job.ready), RangeSet(job.blocked)
    record.attempts = dict(job.attempts)
    record.preempted_by, record.choice = job.preempted_by, job.choice
    if job.has_outgrown:
        record.outgrow()
    record.ended = {state: RangeSet(ranges) for state, ranges in job.ended}
    record.ends = {
        row.index: ElementEnd(row.attempt, row.end, (row.start_time_s, row.end_time_s), row.node_names)
        for row in job.ends
    }
    return record


def _load_activity(record: JobRecord, row: DumpedActivity) -> Activity:
    activity = Activity(record, row.index, row.attempt, row.shares, row.place_time_s)
    activity.start_time_s = row.start_time_s
    activity.is_launched = row.is_launched
    activity.parts_started = set(row.parts_started)
    activity.parts_left = set(row.parts_left)
    activity.end = row.end
    activity.cancel = row.cancel
    activity.grace_s = activity.grace_s if row.grace_s is None else row.grace_s
    activity.preempted_for, activity.due_s = row.preempted_for, row.due_s
    activity.queued_start_s = row.queued_start_s
    activity.suspend_time_s, activity.suspended_for = row.suspend_time_s, row.suspended_for
    activity.suspended_s = row.suspended_s
    activity.suspended_by, activity.is_aside = row.suspended_by, row.is_aside
    return activity
