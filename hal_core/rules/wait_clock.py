"""How long the waiting elements of one job have waited, by cause. Pure; time comes with the events.

Of several causes at a moment the first of this list is told, as `Waiting.reason` does:

    held         somebody holds the job
    begin_time   it asked not to begin earlier
    dependency   another job had to start or end first
    throttle     its array may not run more elements at once
    priority     jobs before it came first, or limits, licences and reservations left nothing
    resources    the same, since the engine promised it a start for the first time: it stood at the head

Times are whole numbers of ticks of 2^-22 s. A double of this century's seconds since the epoch can tell no less apart,
so nothing is rounded and sums are exact.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

TICKS_PER_S: Final = 1 << 22
NEVER: Final = 1 << 62
"""In ticks, later than any time."""


def ticks_of(time_s: float) -> int:
    """A time or duration in ticks; infinity is NEVER."""
    return NEVER if time_s >= NEVER / TICKS_PER_S else round(time_s * TICKS_PER_S)


def seconds_of(ticks: int) -> float:
    return ticks / TICKS_PER_S


@attrs.frozen
class Gates:
    """What other events than the job's own say about it, in seconds since the epoch."""

    met_time_s: float = -math.inf
    """When its dependencies were met; infinity: not yet, minus infinity: it has none."""
    promise_time_s: float = math.inf
    """When the engine first promised it a start."""


class WaitClock:
    """Runs from the submission on. What one element waited is the difference between two readings."""

    def __init__(self, submit_time_s: float, begin_time_s: float, gates: Gates) -> None:
        self._now = ticks_of(submit_time_s)
        self._begin = ticks_of(begin_time_s)
        self._met = 0 if gates.met_time_s == -math.inf else ticks_of(gates.met_time_s)
        self._promised = ticks_of(gates.promise_time_s)
        self._totals: dict[str, int] = {}
        self.is_held = False
        self.is_throttled = False

    def advance(self, time_s: float) -> int:
        """Run until then and give it in ticks; a clock that was set back stands still."""
        now = ticks_of(time_s)
        while self._now < now:
            edges = [edge for edge in (self._begin, self._met, self._promised) if self._now < edge < now]
            until = min(edges, default=now)
            cause = self._cause()
            self._totals[cause] = self._totals.get(cause, 0) + until - self._now
            self._now = until
        return self._now

    def reading(self) -> dict[str, int]:
        """Ticks by cause, of an element that has waited all the time."""
        return dict(self._totals)

    def _cause(self) -> str:
        if self.is_held:
            return "held"
        if self._now < self._begin:
            return "begin_time"
        if self._now < self._met:
            return "dependency"
        if self.is_throttled:
            return "throttle"
        return "priority" if self._now < self._promised else "resources"
