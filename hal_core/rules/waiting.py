"""Why a pending job waits, as data: one kind from a short list, and a sentence for people. Pure; reads the state only.

It tells the nearest cause that the state itself shows. What the engine thought about a job is the engine's to explain.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from hal_core.models.job import DependencyKind, JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.mixed import are_enough
from hal_core.models.moment import moment
from hal_core.models.node import PartitionName
from hal_core.models.plural import named, plural
from hal_core.rules.limits import Hit, RunningQuota
from hal_core.rules.patience import slow_down
from hal_core.rules.pool_explain import waits_for
from hal_core.rules.suspension import holders

if TYPE_CHECKING:
    from hal_core.rules.activity import Activity
    from hal_core.rules.fair_share import FairShares
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State


VICTIMS_NAMED = 5
REASON_KINDS = (
    *("held", "begin_time", "dependency", "throttle", "limit", "licence", "reservation", "preemption", "suspended"),
    *("resources", "priority", "node_unavailable", "staging"),
)


@attrs.frozen
class Reason:
    """`kind` is one of REASON_KINDS."""

    kind: str
    text: str


class Waiting:
    """Answers for many jobs of one state at one moment; what they share is looked up once."""

    def __init__(self, state: State, now_s: float) -> None:
        self.state = self._state = state
        self._now_s = now_s
        self._promises = dict(state.reserves)
        self._has_nodes: dict[PartitionName, bool] = {}
        self._ending: dict[JobId, list[JobId]] | None = None
        self._held_up: dict[tuple[Shape, float], bool] = {}
        self._quota: RunningQuota | None = None
        if state.limits.is_active:
            self._quota = RunningQuota(state.limits, state.ledger, state.jobs, now_s)
        self._shares: FairShares | None = None
        self._head = state.queue.first()

    def expected_start_time_s(self, job_id: JobId) -> float | None:
        """The engine's promise, if there is one."""
        promise_s = self._promises.get(job_id)
        return promise_s if promise_s is None or math.isfinite(promise_s) else None

    def limit(self, record: JobRecord) -> Hit | None:
        """The limit that lets nothing of the job start."""
        return None if self._quota is None else self._quota.hit(record)

    def queue_priority(self, record: JobRecord) -> float:
        """The sum of the terms that order the queue."""
        order = self._state.queue.order
        if self._shares is None and order.needs_shares:
            self._shares = self._state.fair_shares(self._now_s)
        return order.priority(record, self._now_s, self._shares)

    def nearness(self, record: JobRecord) -> dict[str, Any]:
        """Span and predicted slow-down of the first element that runs; None without a topology, or if none runs."""
        packing = self._state.packing
        activity = next(iter(record.active.values()), None)
        if packing.domains is None or activity is None:
            return {"span": None, "slow_down": None}
        nodes = mask_of(activity.node_numbers)
        return {
            "span": packing.domains.span(nodes).name,
            "slow_down": round(slow_down(packing.ask(record.shape), nodes), 3),
        }

    def reason(self, record: JobRecord) -> Reason | None:
        """Why its pending elements wait (or an active one is not running yet); None if nothing waits."""
        if not record.pending_count:
            if any(not activity.is_launched for activity in record.active.values()):
                return Reason("staging", "its inputs are being staged")
            still = next((each for each in record.active.values() if each.suspend_time_s is not None), None)
            if still is not None:
                return Reason("suspended", self._still_text(still))
            return None
        spec = record.spec
        if record.held_by:
            return Reason("held", f"held by {record.held_by}")
        if spec.begin_time_s > self._now_s:
            return Reason("begin_time", f"not to begin before {moment(spec.begin_time_s)}")
        if not record.is_met or not record.ready:
            return Reason("dependency", self._dependency_text(record))
        if not record.startable_count:
            throttle = (spec.array.throttle if spec.array else None) or 0
            return Reason("throttle", f"its array may run {plural(throttle, 'element')} at once")
        hit = self.limit(record)
        if hit is not None and record.job_id not in self._victims():
            return Reason("limit", hit.text)
        admitted = self._state.pools.admitted.get(record.job_id)
        if admitted is not None:
            return Reason("resources", waits_for(self._state, admitted, self._now_s))
        if not self._partition_has_nodes(spec.partition):
            return Reason("node_unavailable", f"no node of partition {spec.partition} is up and not drained")
        victims = self._victims().get(record.job_id)
        if victims:
            names = ", ".join(str(job_id) for job_id in victims[:VICTIMS_NAMED])
            more = f" and {len(victims) - VICTIMS_NAMED} more" if len(victims) > VICTIMS_NAMED else ""
            return Reason("preemption", f"jobs that make room for it are ending: {names}{more}")
        reserved = self._reserved(record)
        if reserved:
            return Reason("reservation", reserved)
        lack = self._state.limits.licences.lack(record.shape)
        if lack:
            return Reason("licence", f"waits for {lack}")
        if record.job_id == self._head or record.job_id in self._promises:
            return Reason("resources", f"waits until enough resources are free{_preempted(record)}")
        return Reason("priority", f"jobs before it in the queue come first{_preempted(record)}")

    def _still_text(self, activity: Activity) -> str:
        others = [str(job_id) for job_id in holders(self._state, activity)]
        after = f"after {named('job', others)}, whose CPUs they are until then" if others else "in a moment"
        if not activity.suspended_by:
            return f"it stands still, and goes on {after}"
        assert activity.suspend_time_s is not None, f"{activity.key} is not suspended"
        since = f"suspended by {activity.suspended_by} since {moment(activity.suspend_time_s)}"
        resume = f"when an operator resumes it (`hal resume {activity.record.job_id}`)"
        return f"{since}; it goes on {resume if activity.is_aside else after}"

    def _victims(self) -> dict[JobId, list[JobId]]:
        """Who is ending for whom."""
        if self._ending is None:
            self._ending = {}
            for activity in self._state.allocations.values() if self._has_preemption else ():
                if activity.preempted_for is not None:
                    found = self._ending.setdefault(activity.preempted_for, [])
                    if activity.record.job_id not in found:
                        found.append(activity.record.job_id)
        return self._ending

    @property
    def _has_preemption(self) -> bool:
        return self._state.cluster.has_preemption or bool(self._state.owned.elastic)

    def _reserved(self, record: JobRecord) -> str:
        """What reservations have to do with its waiting; the empty string: nothing."""
        reservations, spec = self._state.reservations, record.spec
        own = reservations.by_name.get(spec.reservation)
        if spec.reservation and (own is None or own.is_over(self._now_s)):
            return f"its reservation {spec.reservation} is over or was removed"
        if own is None and not (reservations.holds and self._is_held_up(record)):
            return ""
        limit_s = math.inf if spec.walltime_s is None else spec.walltime_s
        nodes = self._state.packing.partition_nodes.get(spec.partition, 0)
        if own is None:
            names = reservations.holds.in_the_way(limit_s, self._now_s, nodes)
            limit = "no time limit" if spec.walltime_s is None else f"a time limit of {spec.walltime_s:.0f} s"
            return f"with {limit} it would run into {', '.join(names)} on nodes that have room for it now"
        window = own.window_at(self._now_s)
        assert window is not None, "a reservation that is not over has a window"
        if window[0] > self._now_s:
            return f"its reservation {own.name} begins at {moment(window[0])}"
        if self._now_s + limit_s > window[1]:
            return f"its time limit reaches beyond the end of its reservation {own.name}"
        return ""

    def _is_held_up(self, record: JobRecord) -> bool:
        """It would fit now, but for the reservations. Equal jobs are looked at once."""
        limit_s = math.inf if record.spec.walltime_s is None else record.spec.walltime_s
        key = (record.shape, limit_s)
        found = self._held_up.get(key)
        if found is None:
            table, holds = self._state.table, self._state.reservations.holds
            permitted, rented = holds.nodes("", limit_s, self._now_s), holds.rented.nodes
            parts, numbers = record.shape.parts, self._state.partition_numbers.get(record.shape.partition, ())
            open_nodes = [number for number in numbers if not rented >> number & 1]
            fitting = [mask_of([n for n in open_nodes if table.room_count(n, part)]) for part in parts]
            allowed = [nodes & permitted for nodes in fitting]
            found = self._held_up[key] = are_enough(parts, fitting) and not are_enough(parts, allowed)
        return found

    def _dependency_text(self, record: JobRecord) -> str:
        names = []
        for dependency in record.spec.dependencies:
            if dependency.kind is DependencyKind.SINGLETON:
                names.append(f"earlier jobs named {record.spec.name}")
            elif dependency.job_id in self._state.jobs:
                names.append(f"job {dependency.job_id} ({dependency.kind.value})")
        joint = " and " if record.spec.needs_all_dependencies else " or "
        return f"waits for {joint.join(names) or 'other jobs'}"

    def _partition_has_nodes(self, partition: PartitionName) -> bool:
        found = self._has_nodes.get(partition)
        if found is None:
            is_available = self._state.table.is_available
            found = any(is_available[number] for number in self._state.partition_numbers.get(partition, ()))
            self._has_nodes[partition] = found
        return found


def _preempted(record: JobRecord) -> str:
    return "" if record.preempted_by is None else f"; it made room for job {record.preempted_by} before"
