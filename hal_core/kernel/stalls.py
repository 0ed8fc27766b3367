"""How long the daemon's one thread does not get round to its tasks: the best single figure of its health.

A task asks to be woken every 10 ms and records how late it was. Whatever holds the loop up, holds this up.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

import trio

from hal_core.kernel.exposition import family

INTERVAL_S: Final = 0.01
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
RECENT_S: Final = 60.0


class StallMeter:
    """A histogram of lateness, and the worst: ever, and of the last minute or two."""

    def __init__(self, cpu_s: Callable[[], float] = time.thread_time) -> None:
        self._cpu_s = cpu_s
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.late_s_sum = 0.0
        self.late_s_max = 0.0
        self.busy_s_max = 0.0
        """The most CPU time of ours between two wakings: lateness beyond it is the machine's, which had other work."""
        self._recent_s_max = [0.0, 0.0]
        """Of the minute before this one, and of this one."""
        self._minute = 0

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due_s, busy_s = trio.current_time() + INTERVAL_S, self._cpu_s()
            await trio.sleep_until(due_s)
            now_s = trio.current_time()
            self.record(now_s - due_s, now_s)
            self.busy_s_max = max(self.busy_s_max, self._cpu_s() - busy_s)

    def record(self, late_s: float, now_s: float) -> None:
        minute = int(now_s / RECENT_S)
        if minute != self._minute:
            before = self._recent_s_max[1] if minute == self._minute + 1 else 0.0
            self._minute, self._recent_s_max = minute, [before, 0.0]
        self.counts[bisect_left(BOUNDS_S, late_s)] += 1
        self.late_s_sum += late_s
        self.late_s_max = max(self.late_s_max, late_s)
        self._recent_s_max[1] = max(self._recent_s_max[1], late_s)

    @property
    def recent_s_max(self) -> float:
        return max(self._recent_s_max)

    def render(self) -> bytes:
        """In the Prometheus text format."""
        name = "hal_loop_late_seconds"
        lines = [
            f"# HELP {name} How late a task of the daemon ran that is due every 10 ms.",
            f"# TYPE {name} histogram",
        ]
        total = 0
        for bound_s, count in zip((*BOUNDS_S, None), self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{"+Inf" if bound_s is None else bound_s}"}} {total}')
        lines += [f"{name}_sum {self.late_s_sum:.6f}", f"{name}_count {total}"]
        text = "\n".join(lines) + "\n"
        for suffix, about, value in (
            ("max", "The latest since the daemon started.", self.late_s_max),
            ("cpu_max", "The most CPU time used between two wakings since the daemon started.", self.busy_s_max),
            ("recent_max", "The latest in the last minute or two.", self.recent_s_max),
        ):
            text += family(f"{name}_{suffix}", "gauge", about, [("", value)])
        return text.encode("ascii")
