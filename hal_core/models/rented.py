"""Nodes that are rented, as an engine sees them: until when each is paid for, and which jobs may start there."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from hal_core.models.job import JobId

EVERYWHERE = -1
"""Every node, as bits."""


@attrs.frozen
class Admission:
    """Where a job that was admitted to a pool may start. A gang is not torn: it has all its nodes in the pool."""

    nodes: int
    """As bits."""
    is_only: bool
    """On no others."""


@attrs.frozen
class Rented:
    """Of all pools together. False if there is nothing to be looked at."""

    leases: tuple[tuple[float, int], ...] = ()
    """(by when a job must have ended, the nodes as bits), the nodes that can be given work only."""
    admissions: Mapping[JobId, Admission] = attrs.field(factory=dict)

    @property
    def nodes(self) -> int:
        return sum(nodes for _, nodes in self.leases)

    def __bool__(self) -> bool:
        return bool(self.leases or self.admissions)

    def allowed(self, job_id: JobId | None, end_s: float) -> int:
        """The nodes, rented or not, on which that job may run until then, as bits. None: a job that nobody admitted."""
        admission = None if job_id is None else self.admissions.get(job_id)
        if admission is None:
            return EVERYWHERE & ~self.nodes
        paid = sum(nodes for until_s, nodes in self.leases if end_s <= until_s)
        within = paid & admission.nodes
        return within if admission.is_only else (EVERYWHERE & ~self.nodes) | within


NOTHING_RENTED = Rented()
