"""How soon an agent reports what has changed: at once, unless it changes all the time. Pure.

A report costs the same whether it tells of one job or of ten: a record on the wire, a wake and a cycle of the daemon, a
sync of its disk. Where few jobs are on the node each is told at once, for somebody may wait for it and for nothing
else; in a steady stream of many, reports are PERIOD_S apart, and each tells of all that happened meanwhile. A token
bucket: so many at once, so many a second.
"""

from __future__ import annotations

from typing import Final

BURST_COUNT: Final = 6.0
PERIOD_S: Final = 0.025
MANY: Final = 8
"""So many jobs at once are no longer one person's."""


class ReportPace:
    """Times are of any clock that does not go back."""

    def __init__(self) -> None:
        self._spare = BURST_COUNT
        self._time_s = 0.0

    def wait_s(self, now_s: float, job_count: int) -> float:
        """How long to wait before the next report, which is counted: 0 while there are few, or few jobs."""
        self._spare = min(BURST_COUNT, self._spare + (now_s - self._time_s) / PERIOD_S) - 1.0
        self._time_s = now_s
        if job_count < MANY:
            self._spare = max(0.0, self._spare)
        return max(0.0, -self._spare) * PERIOD_S
