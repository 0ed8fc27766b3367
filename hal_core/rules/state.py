"""The state: a fold of the events, and nothing else. `State.apply` is its only writer.

Records (jobs, activities) are kept for questions about one job; what the engine scans (the queue, the node columns,
the allocations) is kept beside them, incrementally. Time is not read here: it comes with the events.
"""

from __future__ import annotations

from typing import assert_never

from hal_core.models.demand import Demand
from hal_core.models.event import (
    AccessChanged,
    BookingsChanged,
    ClusterDefined,
    CopiesChanged,
    DatasetAdded,
    DatasetPinned,
    DatasetRemoved,
    Event,
    EvictionOrdered,
    IdleFound,
    InputsStaged,
    JobCancelRequested,
    JobEnded,
    JobHeld,
    JobPlaced,
    JobReleased,
    JobRequeued,
    JobResumed,
    JobResumeRequested,
    JobSubmitted,
    JobSuspended,
    NodeDrained,
    NodeJoined,
    NodeResumed,
    NodeSuspected,
    NodeWentDown,
    ObserverDisabled,
    OrphanFound,
    OutputRefused,
    PartEnded,
    PartStarted,
    Planned,
    PolicyChanged,
    PriorityChanged,
    ReservationAdded,
    ReservationRemoved,
    RunTimesPredicted,
    SessionChanged,
    SiteEvent,
    VariantChosen,
    WeightChanged,
)
from hal_core.models.job import JobId, JobState
from hal_core.models.node import Cluster, Partition, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.placement import AttemptKey, Grant
from hal_core.models.plan import Reserve, promised
from hal_core.models.pool_event import PoolEvent
from hal_core.models.ranges import RangeSet, count_of, members
from hal_core.rules import allocations, dependencies, suspension
from hal_core.rules.begin_times import BeginTimes
from hal_core.rules.bookings import BookingBook
from hal_core.rules.catalogue import Catalogue
from hal_core.rules.client_ids import ClientIds, remember
from hal_core.rules.fair_share import FairShares, fair_shares
from hal_core.rules.job_record import Activity, JobRecord
from hal_core.rules.limits import LimitBook
from hal_core.rules.live_room import LiveRoom
from hal_core.rules.node_table import NodeTable, split_share
from hal_core.rules.owned_jobs import OwnedJobs
from hal_core.rules.pending_queue import PendingQueue
from hal_core.rules.pool_book import PoolBook
from hal_core.rules.reservations import Reservations
from hal_core.rules.session_lives import SessionLives
from hal_core.rules.shared_parts import SharedParts
from hal_core.rules.snapshot import StateSnapshot
from hal_core.rules.usage import Ledger

RECENT_MAX = 10_000
"""Ended jobs whose records stay in memory; older ones are in the journal's history."""


class State:
    """All that HAL knows. Two states that applied the same events are equal (see `dump`)."""

    def __init__(self) -> None:
        self.sequence, self.time_s = 0, 0.0  # the number of events applied: that of the last one, and its time
        self.cluster, self.table = Cluster("", (), ()), NodeTable()
        self.partitions: dict[PartitionName, Partition] = {}
        self.partition_numbers: dict[PartitionName, list[int]] = {}
        self.packing, self.live_room, self.demand = Packing((), {}), LiveRoom(), Demand()
        self.jobs: dict[JobId, JobRecord] = {}  # jobs that are not finished, by ascending id
        self.recent: dict[JobId, JobRecord] = {}  # the latest finished jobs, in the order of their ends
        self.completed_ids, self.failed_ids = RangeSet(), RangeSet()
        # Outcomes of all finished jobs, for dependencies on jobs whose record is gone.
        self.next_job_id, self.queue = 1, PendingQueue()
        self.allocations: dict[tuple[JobId, int], Activity] = {}
        self.on_node: dict[str, dict[tuple[JobId, int], Activity]] = {}
        self.suspended: dict[tuple[JobId, int], Activity] = {}  # in the order in which they were
        self.children: dict[JobId, set[JobId]] = {}  # unfinished jobs that wait for the key
        self.owned = OwnedJobs()
        self.doomed: set[JobId] = set()
        """Jobs with (elements with) a dependency that can never be satisfied: the core ends them next."""
        self.client_ids: ClientIds = {}
        self.reserves: tuple[tuple[JobId, float], ...] = ()  # the latest plan's promises
        self.promises: dict[JobId, Reserve] = {}  # and the same with their nodes
        self.grants: tuple[Grant, ...] = ()
        self.has_released = True  # whether an allocation ended since the last plan that is in the journal
        self.disabled_observers: dict[str, str] = {}
        self.policy_changes: tuple[PolicyChanged, ...] = ()  # the latest
        self.ended_counts, self.pending_count = dict[JobState, int](), 0  # elements that ended, and that wait
        self.begins, self._shared_parts = BeginTimes(), SharedParts()
        self.reservations, self.pools, self.bookings = Reservations(), PoolBook(), BookingBook()
        self.catalogue, self.ledger, self.limits, self.sessions = Catalogue(), Ledger(), LimitBook(), SessionLives()

    # -- questions ---------------------------------------------------------------------------------------------------

    def find(self, job_id: JobId) -> JobRecord | None:
        """The record of an unfinished or recently finished job."""
        return self.jobs.get(job_id) or self.recent.get(job_id)

    def activity(self, key: AttemptKey) -> Activity | None:
        """The activity of exactly this attempt, if it is in force."""
        activity = self.allocations.get((key.job_id, key.index))
        return activity if activity is not None and activity.attempt == key.attempt else None

    def snapshot(self, now_s: float) -> StateSnapshot:
        """The engine's view, for which the queue is put in order. Shares the columns: valid until the next `apply`."""
        shares = self.fair_shares(now_s) if self.queue.order.needs_shares else None
        self.queue.move_to(now_s, shares, self.jobs)
        return StateSnapshot(self, now_s)

    def fair_shares(self, now_s: float) -> FairShares:
        """Where everybody stands at that moment."""
        return fair_shares(self.cluster, self.ledger, now_s)

    # -- the fold ----------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Fold one event into the state."""
        self.time_s = event.time_s
        if isinstance(event, PoolEvent):
            self.pools.apply(event)
        else:
            self._apply(event)
        self.reservations.rent(self.pools.rented)
        self.sequence += 1

    def _apply(self, event: SiteEvent) -> None:
        """Total: a forgotten kind of event is a type error."""
        match event:
            case JobSubmitted():
                self._submitted(event)
            case JobPlaced():
                self._placed(event)
            case PartStarted():
                self._part_started(event)
            case JobEnded():
                self._ended(event)
            case PartEnded():
                self._part_ended(event)
            case JobRequeued():
                self._requeued(event)
            case JobCancelRequested():
                self._cancel_requested(event)
            case JobSuspended() | JobResumed() | JobResumeRequested():
                suspension.apply(self, event)
            case InputsStaged(key=key):
                self._known(key).is_launched = True
                self.catalogue.learn(event.bytes_read, event.read_s, self.cluster.stage_bytes_per_s)
            case VariantChosen():
                self._chosen(event)
            case JobHeld() | JobReleased() | PriorityChanged():
                self.queue.change(self.jobs[event.job_id], event)
            case WeightChanged():
                self.jobs[event.job_id].elastic_weight = event.weight
            case ClusterDefined():
                self._defined(event.cluster)
            case NodeJoined() | NodeSuspected() | NodeWentDown() | NodeDrained() | NodeResumed() | OrphanFound():
                self.table.apply(event)
            case Planned():
                self.reserves, self.grants, self.has_released = event.reserves, event.grants, False
                self.promises = promised(event.reserves, event.promised_nodes)
            case RunTimesPredicted():
                for job_id, prediction in event.predictions:
                    self.jobs[job_id].expect(prediction)
            case ObserverDisabled():
                self.disabled_observers[event.observer] = event.detail
            case PolicyChanged():
                self.policy_changes = (*self.policy_changes[-99:], event)
            case ReservationAdded() | ReservationRemoved():
                self.has_released = True
                self.reservations.apply(event)
            case DatasetAdded() | DatasetPinned() | DatasetRemoved() | CopiesChanged():
                self.catalogue.apply(event)
            case BookingsChanged():
                self.bookings.apply(event, self.allocations)
            case SessionChanged():
                self.sessions.apply(event)
            case AccessChanged() | EvictionOrdered() | IdleFound() | OutputRefused():
                pass
            case _:
                assert_never(event)

    def _submitted(self, event: JobSubmitted) -> None:
        spec = self._shared_parts.share(event.spec)
        record = JobRecord(event.job_id, event.client_id, event.owner, spec, event.time_s)
        self.next_job_id = record.job_id + 1
        self.link(record)
        for shape in record.shape.parts:
            self.demand.add(shape, record.element_count)
        if event.client_id:
            remember(self.client_ids, record, self.jobs)
        if spec.dependencies:
            dependencies.look(self, record)
        self.queue.update(record)

    def link(self, record: JobRecord) -> None:
        """Make an unfinished job known to everything that looks jobs up. Also used when a dump is loaded."""
        record.shape = self._shared_parts.share_shape(record.shape)
        self.jobs[record.job_id] = record
        self.pending_count += self.limits.count_pending(record, record.pending_count)
        self.owned.add(record)
        self.ledger.add_job(record)
        self.begins.add(record)
        dependencies.wait_for_parents(self, record)
        self.queue.set_priority(record, record.priority)

    def _placed(self, event: JobPlaced) -> None:
        record = self.jobs[event.job_id]
        count = count_of(event.elements)
        per_share = [split_share(share, count) for share in event.shares]
        for position, index in enumerate(members(event.elements)):
            assert index in record.ready, f"{record.job_id}.{index} placed, but it does not wait"
            shares = tuple(split[position] for split in per_share)
            allocations.hold(self, Activity(record, index, event.attempt, shares, event.time_s))
        record.ready.difference_update(event.elements)
        self.pending_count += self.limits.count_pending(record, -count)
        self.pools.placed(record, event.time_s)
        self.queue.update(record)

    def _chosen(self, event: VariantChosen) -> None:
        """Its partition may be another then, and with it which limits it counts in."""
        record = self.jobs[event.job_id]
        self.limits.count_pending(record, -record.pending_count)
        self.ledger.remove_job(record)
        self.queue.change(record, event)
        self.ledger.add_job(record)
        self.limits.count_pending(record, record.pending_count)

    def _known(self, key: AttemptKey) -> Activity:
        activity = self.activity(key)
        assert activity is not None, f"event about {key}, which holds no allocation"
        return activity

    def _part_started(self, event: PartStarted) -> None:
        activity = self._known(event.key)
        activity.parts_started.add(event.node)
        if activity.start_time_s is None:
            activity.start_time_s, activity.row = event.start_time_s, None
            dependencies.look_at_children(self, activity.record.job_id)

    def _part_ended(self, event: PartEnded) -> None:
        activity = self._known(event.key)
        activity.parts_left.discard(event.node)
        activity.end = event.end.after(activity.end)

    def _cancel_requested(self, event: JobCancelRequested) -> None:
        for index in members(event.elements):
            self.jobs[event.job_id].active[index].ask_to_end(event)
        is_seen = event.preempted_for is not None and not self.jobs[event.job_id].spec.elastic_weight
        self.has_released = self.has_released or is_seen

    def _ended(self, event: JobEnded) -> None:
        record = self.jobs[event.job_id]
        state = event.end.state
        waiting_before = record.pending_count
        for index in record.active_among(event.elements):
            activity = record.active[index]
            allocations.release(self, activity)
            record.keep_end(index, event, activity)
        record.mark_ended(state, event.elements)
        if not record.is_array and not record.ends:
            record.keep_end(0, event, None)
        self.pending_count += self.limits.count_pending(record, record.pending_count - waiting_before)
        self.ended_counts[state] = self.ended_counts.get(state, 0) + count_of(event.elements)
        self.pools.left(record)
        if record.is_finished:
            self._finish(record, event.time_s)
        self.queue.update(record)
        dependencies.look_at_children(self, record.job_id)
        if record.is_finished:
            self.children.pop(record.job_id, None)

    def _finish(self, record: JobRecord, time_s: float) -> None:
        record.finish_time_s = time_s
        del self.jobs[record.job_id]
        self.recent[record.job_id] = record
        self.ledger.remove_job(record)
        (self.failed_ids if record.has_failed else self.completed_ids).add(record.job_id)
        if len(self.recent) > RECENT_MAX:
            del self.recent[next(iter(self.recent))]
        self.begins.remove(record)
        self.doomed.discard(record.job_id)
        self.owned.remove(record)
        singleton = self.owned.next_singleton(record)
        if singleton is not None:
            dependencies.look(self, self.jobs[singleton])

    def _requeued(self, event: JobRequeued) -> None:
        job_id, index, attempt = event.key
        record = self.jobs.get(job_id) or self.recent[job_id]
        if record.is_finished:
            self._revive(record)
        if index in record.active:
            allocations.release(self, record.active[index])
        for state, indices in record.ended.items():
            if index in indices:
                indices.discard(index)
                self.ended_counts[state] -= 1
        record.queue_again(index, attempt, event.end)
        self.pending_count += self.limits.count_pending(record, 1)
        dependencies.look(self, record)

    def _revive(self, record: JobRecord) -> None:
        """A finished job is queued again."""
        del self.recent[record.job_id]
        self.completed_ids.discard(record.job_id)
        self.failed_ids.discard(record.job_id)
        record.finish_time_s = None
        self.link(record)
        self.jobs = dict(sorted(self.jobs.items()))
        for child in self.jobs.values():
            dependencies.wait_for_parents(self, child)

    def _defined(self, cluster: Cluster) -> None:
        for record in self.jobs.values():
            self.queue.remove(record)
        self.set_cluster(cluster)
        for record in self.jobs.values():
            self.queue.update(record)
            self.limits.add(record)

    def set_cluster(self, cluster: Cluster) -> None:
        """Nodes and partitions are these from now on. Also used when a dump is loaded."""
        self.cluster = cluster
        self.table.define(cluster)
        self.partitions = {partition.name: partition for partition in cluster.partitions}
        number_of = self.table.number_of
        numbers = {each.name: sorted(number_of[name] for name in each.nodes) for each in cluster.partitions}
        self.partition_numbers = numbers
        others = (cluster.topology, cluster.licences, self.demand)
        self.packing = Packing(self.table.nodes, numbers, *others)
        self.reservations.define(cluster.reservations, number_of)
        self.pools.define(cluster.pools, self.table)
        self.catalogue.define(cluster.datasets)
        self.queue.define(cluster)
        self.limits.define(cluster)
        self.ledger.set_half_life(cluster.priorities.half_life_s, self.time_s)

    def dump(self) -> bytes:
        """The whole state, for a snapshot of the journal. Equal states have equal dumps."""
        from hal_core.rules.dump import dump_state

        return dump_state(self)

    @classmethod
    def load(cls, content: bytes) -> State:
        """The inverse of `dump`. Raises ValueError for a dump of another version."""
        from hal_core.rules.dump import load_state

        return load_state(content)
