"""The wall clock, and whether somebody has set it: after that, two times do not tell how long something lasted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

STEP_S_MIN: Final = 0.1
"""Adjusting a clock's speed moves both clocks alike, so the smallest difference is a step. This is for slow reading."""


class WallClock:
    """`now_s`: seconds since the epoch, which anybody may set; `steady_s`: seconds that only pass."""

    def __init__(self, now_s: Callable[[], float], steady_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._steady_s = steady_s
        self._ahead_s = now_s() - steady_s()

    def look(self) -> tuple[float, float]:
        """Seconds since the epoch, and by how much the clock was set since the last look: almost always by 0."""
        now_s = self._now_s()
        step_s = now_s - self._steady_s() - self._ahead_s
        if abs(step_s) < STEP_S_MIN:
            return now_s, 0.0
        self._ahead_s += step_s
        return now_s, step_s
