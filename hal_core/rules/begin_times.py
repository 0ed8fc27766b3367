"""Begin times: unfinished jobs that were submitted for later, by the moment from which on they may start."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from operator import itemgetter
from typing import TYPE_CHECKING

from hal_core.models.job import JobId

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord


class BeginTimes:
    """Sorted; also times that were over when the job was submitted: somebody may set the clock back."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: list[tuple[float, JobId]] = []

    def add(self, record: JobRecord) -> None:
        if record.spec.begin_time_s:
            insort(self._rows, (record.spec.begin_time_s, record.job_id))

    def remove(self, record: JobRecord) -> None:
        if record.spec.begin_time_s:
            del self._rows[bisect_left(self._rows, (record.spec.begin_time_s, record.job_id))]

    def next_after(self, time_s: float) -> float | None:
        """The earliest after that moment."""
        at = bisect_right(self._rows, time_s, key=itemgetter(0))
        return self._rows[at][0] if at < len(self._rows) else None
