"""What it is worth that a job starts within the goal: learned, so that as many do as the goal says, and no more.

A pool could serve every job at once; to serve nine in ten costs much less, if the tenth are those that cost most: few
jobs are most of the work. So there is a price above which a job is left to wait, and it moves after every job: up when
one is late, down when one is not, in such a proportion that it stays where it is when the goal is just met. Whatever
comes, the share that is late tends to what the goal allows (Gibbs and Candès, Adaptive conformal inference under
distribution shift, NeurIPS 2021; the learning rate is theirs in the logarithm, since costs spread over decades). Pure.
"""

from __future__ import annotations

import math

import attrs

STEP = 0.1
"""Of the logarithm of the price, for one job that is late."""
SPREAD_MAX = 4.0
"""The price falls no further below the highest cost that was asked for lately than by this, in logarithms: after a
quiet time it need not be learned anew."""
FORGET = 1e-3
"""How much of that highest cost is forgotten with each job."""
SPARE = 0.9
"""Of the jobs that the goal lets be late, so many are: the rest is for those that are late by surprise."""


@attrs.frozen
class Worth:
    """`price`: what one start within the goal may cost now. `highest`: what one would have cost at most, lately."""

    price: float = 0.0
    highest: float = 0.0

    def late(self, share: float, cost: float = 0.0) -> Worth:
        """A job misses the goal, of which `share` is to reach it; it would have cost so much not to."""
        known = self._asked(cost)
        factor = math.exp(STEP * _aim(share))
        return known._bounded(known.price * factor if known.price else cost)

    def on_time(self, share: float, cost: float = 0.0) -> Worth:
        known = self._asked(cost)
        return known._bounded(known.price * math.exp(-STEP * (1.0 - _aim(share))))

    def _asked(self, cost: float) -> Worth:
        return Worth(self.price, max(cost, self.highest * (1.0 - FORGET)))

    def _bounded(self, price: float) -> Worth:
        return Worth(min(max(price, self.highest * math.exp(-SPREAD_MAX)), 2.0 * self.highest), self.highest)


def _aim(share: float) -> float:
    return 1.0 - SPARE * (1.0 - share)
