"""What happens in the life of a session, numbered. What follows quickly is told as one. Pure; no clock.

Guarantee: whatever a session does, of each kind at most `BURST_COUNT` changes are numbered at once and then one in
`AGAIN_S`, but for the last ones at its end; and nothing that was noted is missing in what they count. Only the latest
`KEPT_MAX` are kept.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Final

import attrs

from hal_core.models.session import DETAIL_LETTERS_MAX, SessionChange, SessionChangeKind
from hal_core.wire.sessions import Figures

KEPT_MAX: Final = 100
SETTLE_S: Final = 0.5
"""What comes within it is told as one: sixty workers that join."""
BURST_COUNT: Final = 8
AGAIN_S: Final = 600.0


@attrs.define
class _Noted:
    """What will be one change. `due_s` is from the first of it, all but the count are of the last."""

    due_s: float
    noted_s: float
    count: int
    detail: str
    worker_count: int | None


@attrs.frozen
class _Spent:
    """So much of a burst was used up then."""

    count: float
    at_s: float

    def at(self, now_s: float) -> float:
        return max(0.0, self.count - (now_s - self.at_s) / AGAIN_S)


class Life:
    """`before`: those of a broker that went, the latest last."""

    def __init__(self, before: Iterable[SessionChange] = ()) -> None:
        self.kept: deque[SessionChange] = deque(before, maxlen=KEPT_MAX)
        self._noted: dict[SessionChangeKind, _Noted] = {}
        self._spent: dict[SessionChangeKind, _Spent] = {}

    def note(
        self, kind: SessionChangeKind, now_s: float, detail: str = "", count: int = 1, worker_count: int | None = None
    ) -> None:
        """It happened, so many times. `worker_count`: the session's then, if that is known; when it is told, a short
        session has none any more."""
        known = self._noted.pop(kind, None)
        due_s = now_s + SETTLE_S if known is None else known.due_s
        before = 0 if known is None else known.count
        self._noted[kind] = _Noted(due_s, now_s, before + count, detail[:DETAIL_LETTERS_MAX], worker_count)

    def due_s(self) -> float:
        """When `take` gives something; infinity: when something was noted."""
        return min((self._ready_s(kind, noted) for kind, noted in self._noted.items()), default=math.inf)

    def take(self, now_s: float, time_s: float, figures: Figures, is_end: bool = False) -> list[SessionChange]:
        """What is due, or all `is_end`, in the order in which it was noted. `time_s` is `now_s` on the wall clock."""
        taken = []
        for kind, noted in list(self._noted.items()):
            if not is_end and self._ready_s(kind, noted) > now_s:
                continue
            del self._noted[kind]
            self._spent[kind] = _Spent(self._spent_at(kind, now_s) + 1.0, now_s)
            change = SessionChange(
                number=self.kept[-1].number + 1 if self.kept else 1,
                time_s=time_s - (now_s - noted.noted_s),
                kind=kind,
                count=noted.count,
                detail=noted.detail,
                worker_count=figures.worker_count if noted.worker_count is None else noted.worker_count,
                done_count=figures.done_count,
                failed_count=figures.failed_count,
                dropped_count=figures.dropped_count,
            )
            self.kept.append(change)
            taken.append(change)
        return taken

    def after(self, number: int) -> list[SessionChange]:
        """Those that are kept with a larger number."""
        return [change for change in self.kept if change.number > number]

    def _ready_s(self, kind: SessionChangeKind, noted: _Noted) -> float:
        over = self._spent_at(kind, noted.due_s) - (BURST_COUNT - 1)
        return noted.due_s + max(0.0, over) * AGAIN_S

    def _spent_at(self, kind: SessionChangeKind, now_s: float) -> float:
        spent = self._spent.get(kind)
        return 0.0 if spent is None else spent.at(now_s)
