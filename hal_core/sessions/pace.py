"""How much a worker is given at a time: hundreds of tasks that take microseconds, one that takes long. Pure.

The window is what a worker may hold so that it always has something to do while its results travel: about
`WINDOW_NS` of work. It gets more when half of that is done, so its work comes in two batches that take turns.
"""

from __future__ import annotations

from typing import Final

import attrs

WINDOW_NS: Final = 200_000_000
"""Half of it is a batch, beside which the millisecond of CPU that its way there and back may cost is a hundredth."""
WINDOW_COUNT_MAX: Final = 2048
LONG_NS: Final = 50_000_000
"""Of tasks this long only one at a time: a next one ready would save nothing and might have to wait."""
BATCH_BYTES_MAX: Final = 256 << 10
GROWTH: Final = 16
"""One measurement raises the window at most so much: the first task of many may be the short one."""
WEIGHT: Final = 1 / 16
"""Of one task in the mean: a long one among many short ones, which comes alone, says little about the next hundred."""


@attrs.define
class Pace:
    """What is known of one function's tasks."""

    mean_ns: float = 0.0
    window: int = 1

    def learn(self, count: int, busy_ns: int) -> None:
        """A worker did `count` of them in `busy_ns`."""
        mean_ns = max(busy_ns, 1) / count
        weight = 1.0 if not self.mean_ns else 1.0 - (1.0 - WEIGHT) ** count
        self.mean_ns += weight * (mean_ns - self.mean_ns)
        least = 1 if self.mean_ns > LONG_NS else 2
        fitting = int(WINDOW_NS / self.mean_ns)
        self.window = max(least, min(fitting, self.window * GROWTH, WINDOW_COUNT_MAX))


SPAN_S: Final = 5.0
SPAN_S_MIN: Final = 0.5


@attrs.define
class Rate:
    """How many tasks a second are settled, over the last span or so."""

    begin_s: float
    count: int = 0
    before_per_s: float = 0.0

    def note(self, count: int, now_s: float) -> None:
        if now_s - self.begin_s > SPAN_S:
            self.before_per_s, self.begin_s, self.count = self.per_s(now_s), now_s, 0
        self.count += count

    def per_s(self, now_s: float) -> float:
        elapsed_s = now_s - self.begin_s
        return self.count / elapsed_s if elapsed_s > SPAN_S_MIN else self.before_per_s
