"""What reservations (models/node.py) keep from whom, as an engine sees it.

It all comes down to one question (`Holds.nodes`): on which nodes may a job start then, if it may run for so long? Nodes
that are rented (models/rented.py) are a part of the answer: they are for some jobs, until their leases end. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from hal_core.models.job import JobId
from hal_core.models.node import NodeName, Reservation
from hal_core.models.rented import NOTHING_RENTED, Admission, Rented

ALL_NODES = -1
"""Every node, as bits."""


def first_conflict(first: Reservation, second: Reservation, from_s: float, count_max: int = 1000) -> float | None:
    """When two reservations first hold a node together, looking at so many windows of the first from then on."""
    if not set(first.nodes) & set(second.nodes):
        return None
    time_s = from_s
    for _ in range(count_max):
        mine = first.window_at(time_s)
        if mine is None:
            return None
        other = second.window_at(max(mine[0], from_s))
        if other is None:
            return None
        if other[0] < mine[1]:
            return max(mine[0], other[0], from_s)
        if not first.every_s:
            return None
        time_s = mine[1]
    return None


class Holds:
    """All reservations of a cluster, as an engine sees them, and what is rented. True if there is anything.

    Changes only by being made anew.
    """

    __slots__ = ("_masks", "_reservations", "rented")

    def __init__(
        self,
        reservations: Iterable[Reservation],
        number_of: Mapping[NodeName, int],
        rented: Rented = NOTHING_RENTED,
    ) -> None:
        self.rented = rented
        self._reservations = {each.name: each for each in reservations}
        self._masks = {
            name: sum(1 << number_of[node] for node in set(each.nodes) if node in number_of)
            for name, each in self._reservations.items()
        }

    def __bool__(self) -> bool:
        return bool(self._reservations) or bool(self.rented)

    def __len__(self) -> int:
        return len(self._reservations)

    def nodes(self, reservation: str, limit_s: float, start_s: float, job_id: JobId | None = None) -> int:
        """The nodes (as bits) on which a job may start then that names this reservation (or none: "") and may run for
        `limit_s`: all that no other reservation holds until its limit, and inside its own one. Of rented ones, those
        that the job `job_id` was admitted to and whose leases last."""
        end_s = start_s + limit_s
        allowed = self.rented.allowed(job_id, end_s) if self.rented else ALL_NODES
        for name, each in self._reservations.items():
            window = each.window_at(start_s)
            if name == reservation:
                is_inside = window is not None and window[0] <= start_s and end_s <= window[1]
                allowed &= self._masks[name] if is_inside else 0
            elif window is not None and window[0] < end_s:
                allowed &= ~self._masks[name]
        return allowed if not reservation or reservation in self._reservations else 0

    def admission(self, job_id: JobId) -> Admission | None:
        """To which rented nodes the job was admitted: what of the answers depends on the job itself."""
        return self.rented.admissions.get(job_id)

    def next_edge_s(self, after_s: float) -> float:
        """When the next window begins or ends after that moment; infinity: never."""
        return min((edge for each in self._reservations.values() for edge in _edges(each, after_s)), default=math.inf)

    def in_the_way(self, limit_s: float, start_s: float, nodes: int) -> list[str]:
        """Names of the reservations that keep a job of such a limit from starting then on some of the nodes."""
        return [
            name
            for name, each in self._reservations.items()
            if self._masks[name] & nodes
            and (window := each.window_at(start_s)) is not None
            and window[0] < start_s + limit_s
        ]


def _edges(reservation: Reservation, after_s: float) -> Iterable[float]:
    window = reservation.window_at(after_s)
    if window is not None:
        yield from (edge for edge in window if edge > after_s)


NO_HOLDS = Holds((), {})
