"""How soon an agent reports what has changed: at once, unless it changes all the time. Pure.

A report costs the same whether it tells of one job or of ten: a record on the wire, a wake and a cycle of the daemon, a
sync of its disk. Whoever runs jobs now and then is told of each at once; in a steady stream reports are PERIOD_S apart,
and each tells of all that happened meanwhile. A token bucket: so many at once, so many a second.
"""

from __future__ import annotations

from typing import Final

BURST_COUNT: Final = 6.0
PERIOD_S: Final = 0.025


class ReportPace:
    """Times are of any clock that does not go back."""

    def __init__(self) -> None:
        self._spare = BURST_COUNT
        self._time_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """How long to wait before the next report, which is counted: 0 while there are few."""
        self._spare = min(BURST_COUNT, self._spare + (now_s - self._time_s) / PERIOD_S) - 1.0
        self._time_s = now_s
        return max(0.0, -self._spare) * PERIOD_S
