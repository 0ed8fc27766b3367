"""The room of a cluster that is a single node: one row, and no choice. The replay of a trace lives in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hal_core.models.node_rows import NodeRows
from hal_core.models.packing import FIELD_MASK, Ask, Packing
from hal_core.models.room import Room

if TYPE_CHECKING:
    from hal_core.models.plan import RunningJob


class Pool(Room):
    """The room of a cluster that is a single node: one row, and no choice."""

    __slots__ = ("_row_now",)

    def __init__(self, packing: Packing, rows: NodeRows) -> None:
        super().__init__(packing, rows)
        self._row_now = rows.row(0)

    def copy(self, packing: Packing | None = None) -> Room:
        twin = Pool.__new__(Pool)
        twin._packing, twin._rows, twin._row_now = packing or self._packing, self._rows, self._row_now
        return twin

    @property
    def row_count(self) -> int:
        return 1

    def most_cpus(self, nodes: int = -1) -> int:
        return self._row_now & FIELD_MASK if nodes & 1 else 0

    def fitting(self, ask: Ask) -> int:
        guards = self._packing.guards
        return 1 if (self._row_now | guards) - ask.pool_need & guards == guards else 0

    def fits_on(self, numbers: Sequence[int], ask: Ask, count: int = 1) -> bool:
        return bool(self.fitting(ask)) if count == 1 else super().fits_on(numbers, ask, count)

    def choose(self, ask: Ask, nodes: int = -1, beside: Room | None = None) -> tuple[int, ...]:
        is_free = nodes & 1 and self.fitting(ask) and (beside is None or beside.fitting(ask))
        return (0,) if is_free else ()

    def take(self, numbers: Sequence[int], ask: Ask, count: int = 1) -> None:
        for _ in numbers:
            self._row_now -= ask.pool_need * count

    def give(self, numbers: Sequence[int], ask: Ask) -> None:
        for _ in numbers:
            self._row_now += ask.pool_need

    def settle(self) -> None:
        """It is its own beginning."""

    def wait_for(self, ask: Ask, running: Iterable[RunningJob], now_s: float) -> float | None:
        ask_of, guards, need = self._packing.ask, self._packing.guards, ask.pool_need
        row = self._row_now
        time_s = now_s
        fits = (row | guards) - need & guards == guards
        for job in running:
            if fits and job.expected_end_s > time_s:
                break
            if job.expected_end_s > time_s:
                time_s = job.expected_end_s
            row += ask_of(job.shape).pool_need
            fits = (row | guards) - need & guards == guards
        self._row_now = row
        return time_s if fits else None

    def row_of(self, number: int) -> int:
        return self._row_now
