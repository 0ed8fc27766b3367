"""Preemption as the state sees it: who may be ended for whom, what is ending already, and what holds of a proposal.

An engine proposes; here it is checked as everything is that an engine says: no job is ended for one that may not
preempt it, that is not waiting, or that would not fit afterwards. Pure; reads the state only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from hal_core.models.event import JobCancelRequested
from hal_core.models.job import JobId, Shape
from hal_core.models.node import Partition, PartitionName, PreemptMode
from hal_core.models.packing import Ask
from hal_core.models.plan import PendingJob, Preempt, RunningJob, Victim
from hal_core.models.policy import QueueOrder
from hal_core.rules.victims import give_back

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State

PREEMPTED_BY = "hal"


def victims_for(state: State, partition: PartitionName, now_s: float) -> list[Victim]:
    """What a job of the partition may preempt now, in the order of placement."""
    mine = state.partitions.get(partition)
    if mine is None or not mine.preempts:
        return []
    is_strict = state.cluster.priorities.order is not QueueOrder.WEIGHTED
    below = {
        name: other
        for name in mine.preempts
        if (other := state.partitions.get(name)) is not None
        and other.priority < mine.priority
        and (is_strict or other.preempt_mode is PreemptMode.CANCEL)  # who waits again might come first again
    }
    return [
        _victim(state, activity, each, now_s)
        for activity in state.allocations.values()
        if (each := below.get(activity.record.spec.partition)) is not None and _may_be_ended(activity, each, now_s)
    ]


def _grace_s(activity: Activity, partition: Partition) -> float:
    return max(partition.preempt_grace_s, activity.record.spec.kill_grace_s)


def _victim(state: State, activity: Activity, partition: Partition, now_s: float) -> Victim:
    again: PendingJob | None = None
    if partition.preempt_mode is PreemptMode.REQUEUE:
        again = attrs.evolve(activity.record.pending_row(), element_count=1)
    lost = _lost(state, activity, now_s)
    return Victim(activity.running_row(now_s), lost, again, _grace_s(activity, partition))


def ending(state: State, now_s: float) -> list[RunningJob]:
    """What was preempted already and still runs."""
    leaving = (activity for activity in state.allocations.values() if activity.preempted_for is not None)
    return [activity.running_row(now_s) for activity in leaving]


def _may_be_ended(activity: Activity, partition: Partition, now_s: float) -> bool:
    """It runs, nobody asked for its end yet, and its first while is over."""
    is_running = activity.is_launched and activity.cancel is None and activity.end is None
    return is_running and now_s - activity.begin_time_s >= partition.preempt_exempt_s


def _lost(state: State, activity: Activity, now_s: float) -> float:
    """In node-seconds (see Victim)."""
    run_s = max(0.0, now_s - activity.begin_time_s)
    checkpoint_s = activity.record.spec.checkpoint_s
    shape = activity.record.shape
    share = sum(_share(state, number, shape) for number in activity.node_numbers)
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
        self._room = state.snapshot(now_s).room()
        give_back(self._room, ending(state, now_s))
        self._taken: set[tuple[JobId, int]] = set()

    def refusal(self, preempt: Preempt, nodes: int) -> str:
        """Why it cannot be; the empty string, and the room is taken, if it can. `nodes`: where the job may start."""
        record = self._state.jobs.get(preempt.job_id)
        if record is None or not record.startable_count or record.spec.begin_time_s > self._now_s:
            return f"job {preempt.job_id} does not wait for room"
        allowed = {
            (victim.job.job_id, victim.job.index): victim
            for victim in victims_for(self._state, record.spec.partition, self._now_s)
        }
        for key in preempt.victims:
            if key not in allowed or key in self._taken:
                return f"job {key[0]} may not be preempted for job {preempt.job_id}"
        ask: Ask = self._state.packing.ask(record.shape).within(nodes)
        trial = self._room.copy()
        give_back(trial, (allowed[key].job for key in preempt.victims))
        chosen = trial.choose(ask)
        if not preempt.victims or not chosen:
            return f"job {preempt.job_id} would not fit in the room of its victims"
        trial.take(chosen, ask)
        self._room = trial
        self._taken.update(preempt.victims)
        return ""

    def events(self, preempt: Preempt) -> Iterator[JobCancelRequested]:
        for job_id, index in preempt.victims:
            activity = self._state.allocations[job_id, index]
            partition = self._state.partitions[activity.record.spec.partition]
            yield JobCancelRequested(
                self._now_s,
                job_id,
                ((index, index + 1),),
                PREEMPTED_BY,
                does_requeue=partition.preempt_mode is PreemptMode.REQUEUE,
                detail=f"preempted for job {preempt.job_id}",
                grace_s=_grace_s(activity, partition),
                preempted_for=preempt.job_id,
            )
