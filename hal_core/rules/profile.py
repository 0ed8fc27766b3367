"""What is free from now on: room over time, for engines that promise many jobs their starts.

A profile is a row of steps; between two steps nothing is expected to change. One node is a row of integers; many nodes
are a row of rooms. Pure. Conservative backfill: Mu'alem and Feitelson, IEEE TPDS 12(6), 2001.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Protocol

from hal_core.models import mixed
from hal_core.models.packing import FIELD_MASK, Ask
from hal_core.models.plan import RunningJob
from hal_core.models.pool import Pool
from hal_core.models.reservation import NO_HOLDS, Holds
from hal_core.models.room import Room
from hal_core.rules.cpu_profile import CpuProfile
from hal_core.rules.expected_ends import expected_ends
from hal_core.rules.permit import Permit
from hal_core.rules.pool_profile import PoolProfile
from hal_core.rules.steps import Hold as Hold, steps_between
from hal_core.rules.timeline import EDGES_MAX


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

    def steps_between(self, begin_s: float, end_s: float) -> Sequence[float]:
        """Moments after the first, up to the second, from which on more or less is free."""
        ...

    def take_if_possible(self, holds: Sequence[Hold]) -> list[bool]:
        """Take them one after the other, each if there is room for it all the time. Says which were taken."""
        ...


def profile_of(room: Room, running: Iterable[RunningJob], now_s: float, holds: Holds = NO_HOLDS) -> Profile:
    """`room` is what is free now; `running` is in the order of expected ends. With reservations, every `earliest` and
    `improve` needs the job's permit."""
    if isinstance(room, Pool) and not holds:
        is_narrow = room.row_of(0) <= FIELD_MASK and room.packing.idle_row(0) <= FIELD_MASK
        return CpuProfile(room, running, now_s) if is_narrow else PoolProfile(room, running, now_s)
    profile = NodesProfile(room, running, now_s)
    edge_s = now_s
    for _ in range(EDGES_MAX if holds else 0):
        edge_s = holds.next_edge_s(edge_s)
        if edge_s == math.inf:
            break
        profile.step_at(edge_s)
    return profile


class NodesProfile:
    """The profile of many nodes: at each step a room."""

    def __init__(self, room: Room, running: Iterable[RunningJob], now_s: float) -> None:
        packing = room.packing
        self.step_count = 0
        self._times, self._rooms = times, rooms = [now_s], [room.copy()]
        for end_s, job in expected_ends(running, now_s):
            if end_s != times[-1]:
                times.append(end_s)
                rooms.append(rooms[-1].copy())
            rooms[-1].give(job.node_numbers, packing.ask(job.shape))

    def earliest(
        self, ask: Ask, duration_s: float, permit: Permit | None = None
    ) -> tuple[float, tuple[int, ...]] | None:
        if ask.parts:
            return self._earliest_mixed(ask, duration_s, permit)
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

    def _earliest_mixed(
        self, ask: Ask, duration_s: float, permit: Permit | None
    ) -> tuple[float, tuple[int, ...]] | None:
        """The same for a job of several components."""
        times, known = self._times, dict[int, list[int]]()

        def fitting(at: int) -> list[int]:
            if at not in known:
                room = self._rooms[at]
                self.step_count += room.row_count * len(ask.parts)
                known[at] = mixed.fitting(room, ask, -1 if room.has_licences(ask) else 0)
            return known[at]

        for at, time_s in enumerate(times):
            allowed = -1 if permit is None else permit.nodes(time_s)
            common = [nodes & allowed for nodes in fitting(at)]
            ahead = at + 1
            while ahead < len(times) and times[ahead] < time_s + duration_s and mixed.are_enough(ask.parts, common):
                common = [nodes & more for nodes, more in zip(common, fitting(ahead), strict=True)]
                ahead += 1
            if mixed.are_enough(ask.parts, common):
                return time_s, mixed.choose(self._rooms[at], ask, common)
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

    def steps_between(self, begin_s: float, end_s: float) -> list[float]:
        return steps_between(self._times, begin_s, end_s)

    def take_if_possible(self, holds: Sequence[Hold]) -> list[bool]:
        answers = []
        for hold in holds:
            rooms = self._between(hold.start_s, hold.duration_s)
            numbers, ask = hold.node_numbers, hold.ask
            is_whole = len(numbers) == ask.node_count
            answers.append(is_whole and all(room.fits_on(numbers, ask) for room in rooms))
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
