"""What is free from now on, of a cluster that is a single node: at each step one packed row. See profile.py."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from hal_core.models.packing import Ask
from hal_core.models.plan import RunningJob
from hal_core.models.pool import Pool
from hal_core.rules.expected_ends import expected_ends
from hal_core.rules.permit import Permit
from hal_core.rules.steps import Hold, split, steps_between, with_holds


class PoolProfile:
    """The profile of a single node: at each step one row, with its guard bits set."""

    def __init__(self, room: Pool, running: Iterable[RunningJob], now_s: float) -> None:
        packing = room.packing
        self._guards = guards = packing.guards
        ask_of = packing.ask
        self.step_count = 0
        self._barren: dict[tuple[int, float], float] = {}
        """(need, duration) -> no start before that is possible. Equal jobs do not search the same steps again."""
        free = room.row_of(0) | guards
        self._times, self._free = times, values = [now_s], [free]
        for end_s, job in expected_ends(running, now_s):
            free += ask_of(job.shape).pool_need
            if end_s == times[-1]:
                values[-1] = free
            else:
                times.append(end_s)
                values.append(free)

    def earliest(
        self, ask: Ask, duration_s: float, permit: Permit | None = None
    ) -> tuple[float, tuple[int, ...]] | None:
        need = ask.pool_need
        guards, times, free = self._guards, self._times, self._free
        count, key = len(times), (need, duration_s)
        first = at = bisect_left(times, self._barren.get(key, times[0]))
        while at < count:
            if (free[at] - need) & guards != guards:
                at += 1
                continue
            end_s = times[at] + duration_s
            ahead = at + 1
            while ahead < count and times[ahead] < end_s and (free[ahead] - need) & guards == guards:
                ahead += 1
            if ahead == count or times[ahead] >= end_s:
                self.step_count += ahead - first
                self._barren[key] = times[at]
                return times[at], (0,)
            at = ahead + 1
        self.step_count += count - first
        return None

    def take(self, start_s: float, duration_s: float, ask: Ask, numbers: tuple[int, ...]) -> None:
        self._move(start_s, duration_s, -ask.pool_need)

    def improve(self, hold: Hold, permit: Permit | None = None) -> tuple[float, tuple[int, ...]] | None:
        """Where the hold itself is, it fits: what comes before that is searched, and what reaches into it again."""
        held_s, duration_s, need = hold.start_s, hold.duration_s, hold.ask.pool_need
        guards, times, free = self._guards, self._times, self._free
        key = (need, duration_s)
        first = at = bisect_left(times, min(self._barren.get(key, times[0]), held_s - duration_s))
        while times[at] < held_s:
            if (free[at] - need) & guards != guards:
                at += 1
                continue
            start_s = times[at]
            end_s = min(start_s + duration_s, held_s)
            ahead = at + 1
            while times[ahead] < end_s and (free[ahead] - need) & guards == guards:
                ahead += 1
            if times[ahead] >= end_s:
                self._move(held_s, duration_s, need)
                self._move(start_s, duration_s, -need)
                self._barren[key] = start_s
                self._forget_barren_from(held_s)
                return start_s, hold.node_numbers
            at = ahead + 1
        self._barren[key] = held_s
        self.step_count += at - first
        return None

    def _forget_barren_from(self, time_s: float) -> None:
        """There is more room from then on: whatever reaches into it may start earlier than it was found to."""
        for key, barren_s in self._barren.items():
            if barren_s + key[1] > time_s:
                self._barren[key] = time_s - key[1]

    def steps_between(self, begin_s: float, end_s: float) -> list[float]:
        return steps_between(self._times, begin_s, end_s)

    def take_if_possible(self, holds: Sequence[Hold]) -> list[bool]:
        if len(holds) > 1 and self._take_all(holds):
            return [True] * len(holds)
        answers = []
        for hold in holds:
            answers.append(self._can_take(hold))
            if answers[-1]:
                self.take(hold.start_s, hold.duration_s, hold.ask, hold.node_numbers)
        return answers

    def _take_all(self, holds: Sequence[Hold]) -> bool:
        """All at once; nothing is changed if there is not room for all."""
        guards = self._guards
        times, values = with_holds(self._times, self._free, holds)
        self.step_count += len(times)
        if any(value & guards != guards for value in values):
            return False
        self._times, self._free = times, values
        return True

    def _can_take(self, hold: Hold) -> bool:
        need, guards = hold.ask.pool_need, self._guards
        first = bisect_right(self._times, hold.start_s) - 1
        stop = bisect_left(self._times, hold.start_s + hold.duration_s)
        self.step_count += stop - first
        return all((self._free[at] - need) & guards == guards for at in range(first, max(stop, first + 1)))

    def _move(self, start_s: float, duration_s: float, change: int) -> None:
        first = split(self._times, self._free, start_s)
        end_s = start_s + duration_s
        stop = split(self._times, self._free, end_s) if end_s < math.inf else len(self._times)
        free = self._free
        for at in range(first, stop):
            free[at] += change
        self.step_count += stop - first
