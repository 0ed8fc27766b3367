"""Fragmentation gradient descent: take nodes where the GPUs that nobody can use any more are expected to grow least.

For a request, the free GPUs of a node that it cannot use are fragments: all of them if the node lacks anything that it
needs, else the rests of devices that are too small for it. Expected over the distribution of recent requests, that is
the node's fragmentation; a placement harms by how much it grows. Computed once for each row, whatever has it.
What was asked for lately says little of what is rare. So a small part of the demand is for all of a node, of each kind
that there is: of two nodes that are equally good for the typical request the one that is still whole is left so.
Weng et al., Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent, ATC'23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hal_core.models.demand import Demand, GpuRequest
from hal_core.models.gpu_parts import MILLI, GpuParts
from hal_core.models.row_fields import FIELD_BITS, FIELD_MASK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hal_core.models.job import Shape

KEPT_MAX = 200_000
UNSEEN_SHARE = 0.05
"""Of the demand, for whole nodes: as if so much were not known yet."""
STEP_MILLI = 60
"""Less than this is no reason to leave a node that is filled better: what is expected is not known so well."""


class Fragmentation:
    """Remembers what it computed until the demand changes."""

    def __init__(
        self, demand: Demand, parts: GpuParts, shift_of: Mapping[str, int], wholes: Sequence[GpuRequest] = ()
    ) -> None:
        """`wholes`: for each kind of node with GPUs the request for all of it."""
        self._demand = demand
        self._parts = parts
        self._shift_of = shift_of
        self._wholes = wholes
        self._anticipated: tuple[tuple[GpuRequest, float], ...] = ()
        self._version = -1
        self._of_row: dict[int, float] = {}
        self._harms: dict[Shape, dict[int, int]] = {}
        self._kept = 0

    def harms(self, shape: Shape) -> dict[int, int]:
        """What is known of the harms of one shape, by row; to be filled by who computes them."""
        if self._version != self._demand.version or self._kept > KEPT_MAX:
            self._version = self._demand.version
            self._anticipated = self._anticipate()
            self._of_row.clear()
            self._harms.clear()
            self._kept = 0
        return self._harms.setdefault(shape, {})

    def _anticipate(self) -> tuple[tuple[GpuRequest, float], ...]:
        """What is typical, and all of a node of each kind, by its GPUs; nothing if nothing is known."""
        typical, wholes = self._demand.typical, self._wholes
        if not typical or not wholes:
            return typical
        gpus = sum(each.gpus for each in wholes)
        seen = [(request, share * (1 - UNSEEN_SHARE)) for request, share in typical]
        return (*seen, *((each, UNSEEN_SHARE * each.gpus / gpus) for each in wholes))

    def harm(self, before: int, after: int) -> int:
        """By how many steps the expected fragments grow from one row to another."""
        self._kept += 1
        return round((self.expected(after) - self.expected(before)) / STEP_MILLI)

    def expected(self, row: int) -> float:
        """The expected fragments in a row, in thousandths of a GPU."""
        found = self._of_row.get(row)
        if found is None:
            self._kept += 1
            found = self._of_row[row] = self._expect(row)
        return found

    def _expect(self, row: int) -> float:
        shift_of = self._shift_of
        cpus, memory = row & FIELD_MASK, row >> FIELD_BITS & FIELD_MASK
        whole = row >> shift_of["gpus"] & FIELD_MASK
        parts = self._parts.of(row)
        rests = sum(free for _, free in parts)
        total = whole * MILLI + rests
        if not total:
            return 0.0
        expected = 0.0
        for request, share in self._anticipated:
            if cpus < request.cpus or memory < request.memory_bytes:
                expected += share * total
            elif request.gpu_type:
                expected += share * self._lost_to_type(row, request, total)
            elif request.gpu_milli:
                lost = sum([free for _, free in parts if free < request.gpu_milli])
                expected += share * (lost if whole or lost < rests else total)
            else:
                expected += share * (rests if whole >= request.gpus else total)
        return expected

    def _lost_to_type(self, row: int, request: GpuRequest, total: int) -> int:
        """The same for a request of one type: devices of other types are lost to it."""
        shift = self._shift_of.get(f"gpu:{request.gpu_type}")
        whole = 0 if shift is None else row >> shift & FIELD_MASK
        rests = [free for kind, free in self._parts.of(row) if kind == request.gpu_type]
        if request.gpu_milli:
            usable = whole * MILLI + sum(free for free in rests if free >= request.gpu_milli)
        else:
            usable = whole * MILLI if whole >= request.gpus else 0
        return total - usable
