"""What is free from now on, of a pool in which nothing but CPUs is ever short: at each step one plain number.

The same questions and answers as those of pool_profile.py, cheaper; and it can go on from one plan to the next, told
what ended, instead of being made anew. Whoever was promised a start can only gain by what came free since it was looked
at last: `gains` is the most that is free there before any moment, so that most promises need no search.
"""

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

COMPACT_MIN = 64
"""Steps between which nothing changes any more are taken out when there are twice as many as after the last time."""

Found = tuple[float, tuple[int, ...]]


class CpuProfile:
    """Steps of time, and how many CPUs are free from each on."""

    def __init__(self, room: Pool, running: Iterable[RunningJob], now_s: float) -> None:
        ask_of = room.packing.ask
        self.step_count = 0
        self.is_exact = True
        """No end was put off because it is overdue: what is told later of the ends fits what is assumed here."""
        self.gains: Gains | None = None
        """What came free since all promises were looked at; None: that is not known."""
        self._freed: list[tuple[float, float]] = []
        """The same that this pass itself gave back: promises that stand before have not seen it."""
        self._barren: dict[tuple[int, float], float] = {}
        """(need, duration) -> no start before that is possible. Equal jobs do not search the same steps again."""
        free = room.row_of(0)
        self._times, self._free = times, values = [now_s], [free]
        self._compact_at = COMPACT_MIN
        for end_s, job in expected_ends(running, now_s):
            if job.expected_end_s <= now_s:
                self.is_exact = False
            free += ask_of(job.shape).pool_need
            if end_s == times[-1]:
                values[-1] = free
            else:
                times.append(end_s)
                values.append(free)

    # -- from one plan to the next -------------------------------------------------------------------------------------

    def advance(self, now_s: float, ended: Iterable[tuple[float, int]]) -> None:
        """Time has passed, and these ended: (when they were expected to end, CPUs)."""
        times, free = self._times, self._free
        passed = bisect_right(times, now_s) - 1
        del times[:passed], free[:passed]
        times[0] = now_s
        self.step_count = 0
        for expected_end_s, cpus in ended:
            if expected_end_s > now_s:
                self._shift(now_s, expected_end_s, cpus)
                self._freed.append((now_s, expected_end_s))
                self._barren.clear()
        if len(times) > self._compact_at:
            self._compact()

    def look(self) -> Gains:
        """All promises are looked at now: what came free since they were last is told, and from now on what does."""
        self.gains = Gains()
        intervals, self._freed = _joined(self._freed), []
        for begin_s, end_s in intervals:
            self._gain(max(begin_s, self._times[0]), end_s)
        return self.gains

    def look_later(self) -> None:
        """This profile was made anew, and no promise is looked at: anything may have come free."""
        self._freed = [(self._times[0], math.inf)]

    def _gain(self, begin_s: float, end_s: float) -> None:
        if self.gains is not None:
            first = bisect_right(self._times, begin_s) - 1
            stop = bisect_left(self._times, end_s)
            self.gains.add(begin_s, self._times[first:stop], self._free[first:stop])

    def _compact(self) -> None:
        kept = [0, *(at for at in range(1, len(self._free)) if self._free[at] != self._free[at - 1])]
        self._times[:] = [self._times[at] for at in kept]
        self._free[:] = [self._free[at] for at in kept]
        self._compact_at = 2 * len(kept) + COMPACT_MIN

    # -- questions -----------------------------------------------------------------------------------------------------

    def earliest(self, ask: Ask, duration_s: float, permit: Permit | None = None) -> Found | None:
        key = (ask.pool_need, duration_s)
        first = bisect_left(self._times, self._barren.get(key, self._times[0]))
        start_s = self._first_room(ask.pool_need, duration_s, first, len(self._times))
        if start_s is None:
            return None
        self._barren[key] = start_s
        return start_s, (0,)

    def _first_room(self, need: int, duration_s: float, at: int, count: int) -> float | None:
        """The earliest start at one of the steps `at` to `count` with room for so long."""
        times, free, first = self._times, self._free, at
        while at < count:
            if free[at] < need:
                at += 1
                continue
            stop = bisect_left(times, times[at] + duration_s, at + 1)
            for ahead in range(at + 1, stop):
                if free[ahead] < need:
                    at = ahead + 1
                    break
            else:
                self.step_count += stop - first
                return times[at]
        self.step_count += at - first
        return None

    def improve(self, hold: Hold, permit: Permit | None = None) -> Found | None:
        start_s = self.improved(hold.start_s, hold.duration_s, hold.ask.pool_need)
        return None if start_s is None else (start_s, hold.node_numbers)

    def improved(self, held_s: float, duration_s: float, need: int) -> float | None:
        """A start so early that it ends before the hold begins, or one from which on room lasts until the hold."""
        times, key = self._times, (need, duration_s)
        held = bisect_left(times, held_s)
        barren_s = self._barren.get(key, times[0])
        start_s = None
        if barren_s + duration_s <= held_s:
            first, count = bisect_left(times, barren_s), bisect_right(times, held_s - duration_s)
            start_s = self._first_room(need, duration_s, first, count)
        if start_s is None:
            free, at = self._free, held
            while at and free[at - 1] >= need and times[at - 1] + duration_s > held_s:
                at -= 1
            self.step_count += held - at + 1
            if at == held:
                self._barren[key] = held_s
                return None
            start_s = times[at]
        self._exchange(held_s, start_s, duration_s, need)
        self._barren[key] = start_s
        return start_s

    def take(self, start_s: float, duration_s: float, ask: Ask, numbers: tuple[int, ...]) -> None:
        self._shift(start_s, start_s + duration_s, -ask.pool_need)

    def _exchange(self, held_s: float, start_s: float, duration_s: float, need: int) -> None:
        """Give back the one and take the other; where they overlap nothing changes."""
        end_s, held_end_s = start_s + duration_s, held_s + duration_s
        self._shift(start_s, min(end_s, held_s), -need)
        self._shift(max(end_s, held_s), held_end_s, need)
        begin_s = max(end_s, held_s)
        self._freed.append((begin_s, held_end_s))
        self._gain(begin_s, held_end_s)
        for key, barren_s in self._barren.items():
            if barren_s + key[1] > begin_s:
                self._barren[key] = begin_s - key[1]

    def steps_between(self, begin_s: float, end_s: float) -> list[float]:
        return steps_between(self._times, begin_s, end_s)

    def take_if_possible(self, holds: Sequence[Hold]) -> list[bool]:
        if len(holds) > 1 and self._take_all(holds):
            return [True] * len(holds)
        answers = []
        for hold in holds:
            start_s, end_s, need = hold.start_s, hold.start_s + hold.duration_s, hold.ask.pool_need
            first = bisect_right(self._times, start_s) - 1
            stop = max(bisect_left(self._times, end_s), first + 1)
            self.step_count += stop - first
            answers.append(min(self._free[first:stop]) >= need)
            if answers[-1]:
                self._shift(start_s, end_s, -need)
        return answers

    def _take_all(self, holds: Sequence[Hold]) -> bool:
        """All at once; nothing is changed if there is not room for all."""
        times, values = with_holds(self._times, self._free, holds)
        self.step_count += len(times)
        if min(values) < 0:
            return False
        self._times, self._free = times, values
        return True

    def _shift(self, begin_s: float, end_s: float, change: int) -> None:
        first = split(self._times, self._free, begin_s)
        stop = split(self._times, self._free, end_s) if end_s < math.inf else len(self._times)
        self._free[first:stop] = [value + change for value in self._free[first:stop]]
        self.step_count += stop - first


def _joined(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for begin_s, end_s in sorted(intervals):
        if joined and begin_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end_s, joined[-1][1]))
        else:
            joined.append((begin_s, end_s))
    return joined


class Gains:
    """Time that came free: before each moment, the most CPUs that are free in it. What is taken later is not seen."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.most: list[int] = []
        """A staircase: from each of the times on, and always growing."""

    def add(self, begin_s: float, times: Sequence[float], free: Sequence[int]) -> None:
        """Steps of the profile that came free, from that moment on."""
        most = 0
        for time_s, cpus in zip(times, free, strict=True):
            if cpus > most:
                most = cpus
                self._raise(max(time_s, begin_s), cpus)

    def _raise(self, time_s: float, cpus: int) -> None:
        at = bisect_right(self.times, time_s)
        if at and self.most[at - 1] >= cpus:
            return
        stop = at
        while stop < len(self.most) and self.most[stop] <= cpus:
            stop += 1
        self.times[at:stop] = [time_s]
        self.most[at:stop] = [cpus]

    def before(self, time_s: float) -> int:
        """The most CPUs of what came free that are free before that moment."""
        at = bisect_left(self.times, time_s)
        return self.most[at - 1] if at else 0
