"""Where and when a job may start beside the reservations: what an engine asks before it looks for room.

Without reservations nothing is asked and nothing is copied. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable

import attrs

from hal_core.models.job import JobId
from hal_core.models.node import PartitionName
from hal_core.models.packing import Ask, Packing
from hal_core.models.plan import PendingJob
from hal_core.models.reservation import Holds


@attrs.frozen
class Permit:
    """One job's leave to start: it depends on when that would be, for it must end outside of foreign reservations."""

    holds: Holds
    reservation: str
    limit_s: float
    job_id: JobId | None = None
    """None: as if no pool had admitted it."""

    def nodes(self, start_s: float) -> int:
        """The nodes, as bits, on which the job may start then."""
        return self.holds.nodes(self.reservation, self.limit_s, start_s, self.job_id)

    def next_s(self, after_s: float) -> float:
        """When that may next be more; infinity: never."""
        return self.holds.next_edge_s(after_s)


class Permits:
    """The permits of one pass."""

    def __init__(self, holds: Holds, packing: Packing, now_s: float) -> None:
        self._holds = holds
        self._packing = packing
        self._now_s = now_s
        self._asks: dict[tuple[int, int], Ask] = {}

    def of(self, job: PendingJob) -> Permit | None:
        """None: there are no reservations."""
        return Permit(self._holds, job.reservation, job.walltime_s, job.job_id) if self._holds else None

    def ask(self, job: PendingJob) -> Ask:
        """The job's shape in packed form, on the nodes where it may start now."""
        ask = self._packing.ask(job.shape)
        if not self._holds:
            return ask
        nodes = self._holds.nodes(job.reservation, job.walltime_s, self._now_s, job.job_id)
        if ask.nodes & ~nodes == 0:
            return ask
        key = (id(job.shape), nodes)
        found = self._asks.get(key)
        if found is None:
            found = self._asks[key] = ask.within(nodes)
        return found

    def group(self, job: PendingJob) -> PartitionName | None:
        """Whom the job competes with: those of partitions that share nodes with its own; in a reservation, the others
        in it. None: its partition is not known."""
        if job.reservation:
            return PartitionName(f"reservation {job.reservation}")
        return self._packing.group_of.get(job.shape.partition)

    def kind(self, job: PendingJob) -> Hashable:
        """Jobs of equal kind have the same answer, whatever is asked of room and reservations in this pass."""
        if not self._holds:
            return id(job.shape)
        return id(job.shape), job.walltime_s, job.reservation, self._holds.admission(job.job_id)
