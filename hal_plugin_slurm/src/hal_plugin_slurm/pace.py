"""How often slurmctld is asked: soon after something changed, ever more seldom while nothing does, and not so often
that answering takes it more than a tenth of its time, as far as the longest interval allows. Pure."""

from __future__ import annotations

import attrs

GROWTH = 1.5
LOAD_MAX = 0.1
"""Of the time between two questions, for as long as an answer takes."""


@attrs.define
class Pace:
    s_min: float
    s_max: float
    took_s: float = attrs.field(default=0.0, init=False)
    interval_s: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.interval_s = self.s_min

    def quicken(self) -> None:
        """Something was ordered, or happened."""
        self.interval_s = self._bounded(self.s_min)

    def learn(self, did_change: bool, took_s: float) -> None:
        """A question was answered after `took_s`; with news, or without."""
        self.took_s = took_s
        longer_s = self.s_min if did_change else min(self.interval_s * GROWTH, self.s_max)
        self.interval_s = self._bounded(longer_s)

    def slow_down(self) -> None:
        """There was no answer."""
        self.interval_s = min(self.interval_s * 2, self.s_max)

    def _bounded(self, interval_s: float) -> float:
        """A slow Slurm is asked more seldom, but never more seldom than `s_max` promises."""
        return min(max(interval_s, self.took_s / LOAD_MAX), self.s_max)
