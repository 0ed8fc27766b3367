"""What is free from now on: room over time, for engines that promise many jobs their starts.

A profile is a row of steps; between two steps nothing is expected to change. One node is a row of integers; many nodes
are a row of rooms. Pure. Conservative backfill: Mu'alem and Feitelson, IEEE TPDS 12(6), 2001.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from hal_core.models.packing import Ask
from hal_core.models.plan import RunningJob
from hal_core.models.reservation import NO_HOLDS, Holds
from hal_core.models.room import Pool, Room
from hal_core.rules.permit import Permit
from hal_core.rules.timeline import EDGES_MAX

OVERDUE_S = 1.0
"""What has outlived everything that was expected of it is expected to end so soon."""


class Profile(Protocol):
    """Room over time. `step_count` grows with the work done, so that an engine can stop in bounded time."""

    step_count: int

    def earliest(
        self, ask: Ask, duration_s: float, permit: Permit | None = None
    ) -> tuple[float, tuple[int, ...]] | None:
        """When, and on which nodes, the ask fits for so long without a break. None: never."""
        ...

    def take(self, start_s: float, duration_s: float, ask: Ask, numbers: tuple[int, ...]) -> None: ...

    def improve(self, hold: Hold, permit: Permit | None = None) -> tuple[float, tuple[int, ...]] | None:
        """Exchange what is held for the earliest that fits. None, and nothing is changed, if that is not earlier."""
        ...

    def take_if_possible(self, holds: Sequence[Hold]) -> list[bool]:
        """Take them one after the other, each if there is room for it all the time. Says which were taken."""
        ...


class Hold(NamedTuple):
    """Nodes that are promised for a while."""

    start_s: float
    duration_s: float
    ask: Ask
    node_numbers: tuple[int, ...]


def profile_of(room: Room, running: Iterable[RunningJob], now_s: float, holds: Holds = NO_HOLDS) -> Profile:
    """`room` is what is free now; `running` is in the order of expected ends. With reservations, every `earliest` and
    `improve` needs the job's permit."""
    if isinstance(room, Pool) and not holds:
        return PoolProfile(room, running, now_s)
    profile = NodesProfile(room, running, now_s)
    edge_s = now_s
    for _ in range(EDGES_MAX if holds else 0):
        edge_s = holds.next_edge_s(edge_s)
        if edge_s == math.inf:
            break
        profile.step_at(edge_s)
    return profile


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
        soonest_s = now_s + OVERDUE_S
        for job in running:
            end_s = job.expected_end_s if job.expected_end_s > soonest_s else soonest_s
            if end_s == math.inf:
                break
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

    def take_if_possible(self, holds: Sequence[Hold]) -> list[bool]:
        if self._take_all(holds):
            return [True] * len(holds)
        answers = []
        for hold in holds:
            answers.append(self._can_take(hold))
            if answers[-1]:
                self.take(hold.start_s, hold.duration_s, hold.ask, hold.node_numbers)
        return answers

    def _take_all(self, holds: Sequence[Hold]) -> bool:
        """All at once, by one merge of times; nothing is changed if there is not room for all."""
        changes: dict[float, int] = {}
        for hold in holds:
            start_s, end_s = hold.start_s, hold.start_s + hold.duration_s
            need = hold.ask.pool_need
            changes[start_s] = changes.get(start_s, 0) - need
            if end_s < math.inf:
                changes[end_s] = changes.get(end_s, 0) + need
        guards, old = self._guards, dict(zip(self._times, self._free, strict=True))
        times = sorted({*old, *changes})
        values: list[int] = []
        free = shift = 0
        for time_s in times:
            free = old.get(time_s, free)
            shift += changes.get(time_s, 0)
            value = free + shift
            if value & guards != guards:
                return False
            values.append(value)
        self.step_count += len(times)
        self._times, self._free = times, values
        return True

    def _can_take(self, hold: Hold) -> bool:
        need, guards = hold.ask.pool_need, self._guards
        first = bisect_right(self._times, hold.start_s) - 1
        stop = bisect_left(self._times, hold.start_s + hold.duration_s)
        self.step_count += stop - first
        return all((self._free[at] - need) & guards == guards for at in range(first, max(stop, first + 1)))

    def _move(self, start_s: float, duration_s: float, change: int) -> None:
        first = self._split(start_s)
        end_s = start_s + duration_s
        stop = self._split(end_s) if end_s < math.inf else len(self._times)
        free = self._free
        for at in range(first, stop):
            free[at] += change
        self.step_count += stop - first

    def _split(self, time_s: float) -> int:
        """The position of the step that begins at that time; made if there is none."""
        times = self._times
        at = bisect_left(times, time_s)
        if at == len(times) or times[at] != time_s:
            times.insert(at, time_s)
            self._free.insert(at, self._free[at - 1])
        return at


class NodesProfile:
    """The profile of many nodes: at each step a room."""

    def __init__(self, room: Room, running: Iterable[RunningJob], now_s: float) -> None:
        packing = room.packing
        self.step_count = 0
        self._times, self._rooms = times, rooms = [now_s], [room.copy()]
        soonest_s = now_s + OVERDUE_S
        for job in running:
            end_s = job.expected_end_s if job.expected_end_s > soonest_s else soonest_s
            if end_s == math.inf:
                break
            if end_s != times[-1]:
                times.append(end_s)
                rooms.append(rooms[-1].copy())
            rooms[-1].give(job.node_numbers, packing.ask(job.shape))

    def earliest(
        self, ask: Ask, duration_s: float, permit: Permit | None = None
    ) -> tuple[float, tuple[int, ...]] | None:
        times, holds = self._times, ask.holds
        fitting: list[int] = []
        for at, time_s in enumerate(times):
            common = self._fitting(fitting, at, ask)
            if permit is not None:
                common &= permit.nodes(time_s)
            ahead = at + 1
            end_s = time_s + duration_s
            while ahead < len(times) and times[ahead] < end_s and holds(common):
                common &= self._fitting(fitting, ahead, ask)
                ahead += 1
            if holds(common):
                return time_s, self._rooms[at].choose(ask, common)
        return None

    def _fitting(self, known: list[int], at: int, ask: Ask) -> int:
        while len(known) <= at:
            self.step_count += self._rooms[len(known)].row_count
            known.append(self._rooms[len(known)].fitting(ask))
        return known[at]

    def take(self, start_s: float, duration_s: float, ask: Ask, numbers: tuple[int, ...]) -> None:
        for room in self._between(start_s, duration_s):
            room.take(numbers, ask)

    def improve(self, hold: Hold, permit: Permit | None = None) -> tuple[float, tuple[int, ...]] | None:
        if hold.start_s <= self._times[0]:
            return None
        for room in self._between(hold.start_s, hold.duration_s):
            room.give(hold.node_numbers, hold.ask)
        found = self.earliest(hold.ask, hold.duration_s, permit)
        is_earlier = found is not None and found[0] < hold.start_s
        start_s, numbers = found if found is not None and is_earlier else (hold.start_s, hold.node_numbers)
        self.take(start_s, hold.duration_s, hold.ask, numbers)
        return found if is_earlier else None

    def take_if_possible(self, holds: Sequence[Hold]) -> list[bool]:
        answers = []
        for hold in holds:
            rooms = self._between(hold.start_s, hold.duration_s)
            numbers, ask = hold.node_numbers, hold.ask
            is_whole = len(numbers) == ask.node_count
            answers.append(is_whole and all(room.count(number, ask) for room in rooms for number in numbers))
            for room in rooms if answers[-1] else ():
                room.take(numbers, ask)
        return answers

    def _between(self, start_s: float, duration_s: float) -> list[Room]:
        first = self._split(start_s)
        end_s = start_s + duration_s
        stop = self._split(end_s) if end_s < math.inf else len(self._times)
        self.step_count += stop - first
        return self._rooms[first:stop]

    def step_at(self, time_s: float) -> None:
        """Let a step begin at that time: what is allowed changes then."""
        self._split(time_s)

    def _split(self, time_s: float) -> int:
        at = bisect_left(self._times, time_s)
        if at == len(self._times) or self._times[at] != time_s:
            self._times.insert(at, time_s)
            self._rooms.insert(at, self._rooms[at - 1].copy())
        return at
