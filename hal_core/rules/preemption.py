"""Preemption as the state sees it: who may be ended or suspended for whom, and what holds of a proposal.

An engine proposes; here it is checked as everything is that an engine says: no job is ended for one that may not
preempt it, that is not waiting, or that would not fit afterwards. Pure; reads the state only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from hal_core.models.event import JobCancelRequested
from hal_core.models.job import JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Partition, PartitionName
from hal_core.models.packing import Ask
from hal_core.models.plan import PendingJob, Preempt, Victim
from hal_core.models.policy import PreemptMode, Qos, QueueOrder
from hal_core.rules.piles import Piles
from hal_core.rules.suspension import lent_shape
from hal_core.rules.victims import give_back

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity, JobRecord
    from hal_core.rules.state import State

PREEMPTED_BY = "hal"
NO_PARTITION, NO_QOS = Partition(PartitionName(""), ()), Qos("")


@attrs.frozen
class Terms:
    """How one job is preempted: its quality of service says so, or its partition where that says nothing."""

    mode: PreemptMode
    exempt_s: float
    grace_s: float


class Victims:
    """Who may be ended for whom at one moment. Valid until the state changes."""

    def __init__(self, state: State, now_s: float) -> None:
        self._state = state
        self._now_s = now_s
        self._qos = {each.name: each for each in state.cluster.qos}
        self._rank = state.queue.order.rank
        self._is_strict = state.cluster.priorities.order is not QueueOrder.WEIGHTED
        self._below: dict[tuple[PartitionName, str], list[tuple[int, Victim]]] = {}
        self._elastic: list[Victim] | None = None
        self._piles = Piles(state)

    def of(self, record: JobRecord) -> list[Victim]:
        """What the job may preempt now, in the order of placement. Who would wait again must be of lower rank, and
        ranks must decide: otherwise it might come first again."""
        key = (record.spec.partition, record.spec.qos)
        found = self._below.get(key)
        if found is None:
            found = self._below[key] = list(self._look(*key))
        rank = self._rank(record)
        victims = [victim for its, victim in found if victim.again is None or (self._is_strict and its < rank)]
        if record.shape.is_exclusive:  # who lends its CPUs stays on the node
            victims = [each for each in victims if not each.is_suspended]
        if self._state.reservations.holds:
            victims = [each for each in victims if not each.is_suspended or self.may_lend(self._activity(each), record)]
        return victims + [victim for victim in self.elastic() if victim.job.job_id != record.job_id]

    def _activity(self, victim: Victim) -> Activity:
        return self._state.allocations[victim.job.job_id, victim.job.index]

    def _would_hit_a_reservation(self, activity: Activity, record: JobRecord) -> bool:
        """Whether it might still run when its nodes are kept for others, if it stood still as long as that job may
        run."""
        holds = self._state.reservations.holds
        if not holds:
            return False
        limit_s = math.inf if record.spec.walltime_s is None else record.spec.walltime_s
        left_s = limit_s + activity.running_row(self._now_s).end_time_s - self._now_s
        permitted = holds.nodes(activity.record.spec.reservation, left_s, self._now_s, activity.record.job_id)
        return bool(mask_of(activity.node_numbers) & ~permitted)

    def terms(self, record: JobRecord) -> Terms:
        """How the job is preempted, if it is."""
        if record.spec.elastic_weight:
            return Terms(PreemptMode.REQUEUE, 0.0, record.spec.kill_grace_s)
        partition = self._state.partitions[record.spec.partition]
        level = self._qos.get(record.spec.qos, NO_QOS)
        mode = partition.preempt_mode if level.preempt_mode is None else level.preempt_mode
        if mode is PreemptMode.SUSPEND and record.spec.components:
            mode = PreemptMode.REQUEUE  # CPUs are lent in equal parts
        return Terms(
            mode,
            max(partition.preempt_exempt_s, level.preempt_exempt_s),
            max(partition.preempt_grace_s, level.preempt_grace_s, record.spec.kill_grace_s),
        )

    def _look(self, partition: PartitionName, qos: str) -> Iterator[tuple[int, Victim]]:
        """Running jobs of lower partitions and levels that may be preempted, with their ranks."""
        mine, level = self._state.partitions.get(partition, NO_PARTITION), self._qos.get(qos, NO_QOS)
        if not mine.preempts and not level.preempts:
            return
        for activity in self._state.allocations.values():
            if self._is_below(activity.record, mine, level) and self._may_make_room(activity):
                yield self._rank(activity.record), self._victim(activity)

    def _is_below(self, record: JobRecord, partition: Partition, level: Qos) -> bool:
        """Whether jobs of that partition and level may preempt it."""
        other = self._state.partitions.get(record.spec.partition)
        its = self._qos.get(record.spec.qos, NO_QOS)
        return other is not None and (
            (other.name in partition.preempts and other.priority < partition.priority)
            or (its.name in level.preempts and its.priority < level.priority)
        )

    def may_lend(self, activity: Activity, record: JobRecord) -> bool:
        """Whether the element may be suspended for that job."""
        partition = self._state.partitions.get(record.spec.partition, NO_PARTITION)
        return (
            self.terms(activity.record).mode is PreemptMode.SUSPEND
            and self._is_below(activity.record, partition, self._qos.get(record.spec.qos, NO_QOS))
            and self._may_make_room(activity)
            and not self._would_hit_a_reservation(activity, record)
        )

    def _may_make_room(self, activity: Activity) -> bool:
        terms = self.terms(activity.record)
        if terms.mode is not PreemptMode.SUSPEND:
            return activity.suspend_time_s is None and _may_be_ended(activity, terms, self._now_s)
        return (
            _may_be_ended(activity, terms, self._now_s)
            and activity.parts_left <= activity.parts_started  # none of it is on its way to a node
            and lent_shape(activity, self._piles) is not None
        )

    def elastic(self) -> list[Victim]:
        """Elements of elastic jobs: they give way to all others, whoever may preempt whom."""
        if self._elastic is None:
            jobs = (self._state.jobs[job_id] for job_id in self._state.owned.elastic)
            running = [activity for job in jobs for activity in job.active.values()]
            may_be = [each for each in running if _may_be_ended(each, self.terms(each.record), self._now_s)]
            self._elastic = [self._victim(each) for each in may_be]
        return self._elastic

    def _victim(self, activity: Activity) -> Victim:
        record, terms = activity.record, self.terms(activity.record)
        row = activity.running_row(self._now_s)
        if terms.mode is PreemptMode.SUSPEND:
            shape = lent_shape(activity, self._piles)
            assert shape is not None, f"{activity.key} has nothing to lend"
            return Victim(attrs.evolve(row, shape=shape), 0.0, is_suspended=True)
        if self._state.suspended and (own := self._piles.own_cpus(activity)):
            # What it has borrowed goes back when it ends, to whom it is from.
            row = attrs.evolve(row, shape=_of_its_own(record.shape, activity.node_numbers, own))
        again: PendingJob | None = None
        if terms.mode is PreemptMode.REQUEUE:
            again = attrs.evolve(record.pending_row(), element_count=1, rank=self._rank(record))
        lost = _lost(self._state, activity, self._now_s)
        return Victim(row, lost, again, terms.grace_s)


def _may_be_ended(activity: Activity, terms: Terms, now_s: float) -> bool:
    """It runs, nobody asked for its end yet, and its first while is over."""
    is_running = activity.is_launched and activity.cancel is None and activity.end is None and not activity.is_aside
    return is_running and now_s - activity.begin_time_s >= terms.exempt_s


def _of_its_own(shape: Shape, numbers: Sequence[int], own: Mapping[int, int]) -> Shape:
    """With as many CPUs as each component has not borrowed on any of its nodes. `own`: where it has borrowed some."""
    first, *also = (
        attrs.evolve(part, cpus=min([own.get(number, part.cpus) for number in its]))
        for part, its in shape.assigned(numbers)
    )
    return attrs.evolve(first, also=tuple(also), licences=shape.licences)


def _lost(state: State, activity: Activity, now_s: float) -> float:
    """In node-seconds (see Victim)."""
    run_s = max(0.0, now_s - activity.begin_time_s)
    checkpoint_s = activity.record.spec.checkpoint_s
    parts = activity.record.shape.assigned(activity.node_numbers)
    share = sum(_share(state, number, part) for part, numbers in parts for number in numbers)
    return (run_s % checkpoint_s if checkpoint_s else run_s) * share


def _share(state: State, number: int, shape: Shape) -> float:
    """Of a node, by the resource of which it has most."""
    node = state.table.nodes[number]
    if shape.is_exclusive:
        return 1.0
    gpus = shape.gpus / len(node.gpus) if node.gpus else 0.0
    memory = shape.memory_bytes / node.memory_bytes if node.memory_bytes else 0.0
    return min(1.0, max(shape.cpus / node.cpu_count, memory, gpus))


class PreemptionCheck:
    """Checks the proposals of one plan one after the other; what one takes is not there for the next."""

    def __init__(self, state: State, now_s: float) -> None:
        self._state = state
        self._now_s = now_s
        self._victims = Victims(state, now_s)
        snapshot = state.snapshot(now_s)
        self._room = snapshot.room()
        give_back(self._room, snapshot.ending())
        give_back(self._room, (victim.job for victim in self._victims.elastic()))
        self._taken: set[tuple[JobId, int]] = set()

    def refusal(self, preempt: Preempt, nodes: int) -> str:
        """Why it cannot be; the empty string, and the room is taken, if it can. `nodes`: where the job may start."""
        record = self._state.jobs.get(preempt.job_id)
        if record is None or not record.startable_count or record.spec.begin_time_s > self._now_s:
            return f"job {preempt.job_id} does not wait for room"
        if not preempt.victims:
            return f"nobody is named who would make room for job {preempt.job_id}"
        victims = (each for each in self._victims.of(record) if not each.is_suspended)
        allowed = {(victim.job.job_id, victim.job.index): victim for victim in victims}
        for key in preempt.victims:
            if key not in allowed or key in self._taken:
                return f"job {key[0]} may not be preempted for job {preempt.job_id}"
        if all(self._state.jobs[job_id].spec.elastic_weight for job_id, _ in preempt.victims):
            self._taken.update(preempt.victims)
            return ""  # Their work is of the kind that may always be ended.
        ask: Ask = self._state.packing.ask(record.shape).within(nodes)
        trial = self._room.copy()
        give_back(trial, (allowed[key].job for key in preempt.victims))
        chosen = trial.choose(ask)
        if not chosen:
            return f"job {preempt.job_id} would not fit in the room of its victims"
        trial.take(chosen, ask)
        self._room = trial
        self._taken.update(preempt.victims)
        return ""

    def events(self, preempt: Preempt) -> Iterator[JobCancelRequested]:
        for job_id, index in preempt.victims:
            activity = self._state.allocations[job_id, index]
            terms = self._victims.terms(activity.record)
            yield JobCancelRequested(
                self._now_s,
                job_id,
                ((index, index + 1),),
                PREEMPTED_BY,
                does_requeue=terms.mode is PreemptMode.REQUEUE,
                detail=f"preempted for job {preempt.job_id}",
                grace_s=terms.grace_s,
                preempted_for=preempt.job_id,
            )
