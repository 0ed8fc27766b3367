"""Virtual time: a heap of what will happen. At one instant, what was put there first happens first."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

START_S = 1_700_000_000.0


class Timeline:
    """`now_s` moves only here, from one thing that happens to the next."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._heap, (max(time_s, self.now_s), self._count, act))

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        self.at(self.now_s + delay_s, act)

    def step(self) -> bool:
        """Let the next thing happen; False if there is none."""
        if not self._heap:
            return False
        self.now_s, _, act = heappop(self._heap)
        act()
        return True

    def run_until(self, time_s: float) -> None:
        """Up to that moment, and not beyond."""
        while self._heap and self._heap[0][0] <= time_s:
            self.step()
        self.now_s = max(self.now_s, time_s)
