"""Where the data is: a job with inputs goes where it is expected to end soonest, stage-in included.

A placement costs the seconds until the inputs are there, and what bringing them costs in money, as seconds. A job that
could start now waits for nodes nearer to its data as long as waiting and a shorter stage-in together are less: delay
scheduling (Zaharia et al., EuroSys 2010) without a delay to tune. Who waits claims what it waits for: not everybody
waits for the same processors, and nobody behind takes them, so that waiting ends. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hal_core.models.plan import Start
from hal_core.models.staging import Tier, Tiers
from hal_core.rules.coming_free import ComingFree

if TYPE_CHECKING:
    from hal_core.models.packing import Ask
    from hal_core.models.plan import PendingJob, Snapshot
    from hal_core.models.room import Room

NEAR_NODES_MAX: Final = 64
"""Of so many nodes it is asked when they come free: more are not waited for, for one of them is free soon enough."""


Beside = Callable[[float], "Room | None"]
"""The room beside which a job must fit that is expected to end at that time; None: it disturbs nobody."""


class Nearness:
    """One pass: the places of jobs with inputs in a room that shrinks meanwhile."""

    def __init__(self, snapshot: Snapshot, room: Room, does_wait: bool = True) -> None:
        """With `does_wait` False jobs start where they can, as near to their data as there is room."""
        self._can_wait = does_wait
        self._now_s = snapshot.now_s
        self._room = room
        self._coming = ComingFree(snapshot, room)
        self._claimed_s: dict[int, float] = {}
        """By node: when the first who waits for it is to start."""
        self.wake_s = math.inf
        """When the first of all who wait is to start."""

    def place(self, job: PendingJob, ask: Ask, tiers: Tiers, beside: Beside | None = None) -> tuple[list[Start], bool]:
        """Start the job's elements, each where it is expected to end soonest; `beside` is the room in which one that
        ends at that time must fit too. True: those that are left could start, and wait for something nearer."""
        starts: list[Start] = []
        while len(starts) < job.element_count:
            chosen = self._choose(job, ask, tiers, beside)
            if chosen is None:
                return starts, False
            numbers, tier, also = chosen
            if self._does_wait(ask, tiers, tier):
                return starts, True
            for room in (self._room,) if also is None else (self._room, also):
                room.take(numbers, ask)
            starts.append(Start(job.job_id, numbers, 1, tier.stage_s))
        return starts, False

    def open_nodes(self, end_s: float) -> int:
        """The nodes for a job that ends then: not those that somebody ahead of it waits for, who would be late."""
        closed = 0
        for number, time_s in self._claimed_s.items():
            if time_s < end_s:
                closed |= 1 << number
        return ~closed

    def _choose(
        self, job: PendingJob, ask: Ask, tiers: Tiers, beside: Beside | None
    ) -> tuple[tuple[int, ...], Tier, Room | None] | None:
        """The nodes with room where stage-in costs least."""
        for tier in tiers:
            end_s = self._now_s + tier.stage_s + job.expected_s
            also = beside(end_s) if beside else None
            numbers = self._room.choose(ask, tier.nodes & self.open_nodes(end_s), also)
            if numbers:
                return numbers, tier, also
        return None

    def _does_wait(self, ask: Ask, tiers: Tiers, now: Tier) -> bool:
        """Whether the job, which could start now, had better start later and nearer to its data. If so, it claims that.

        Gangs do not, nor who asks for a share of a GPU or for GPUs of any type.
        """
        if not self._can_wait or ask.node_count > 1 or ask.gpu_milli or ask.mixed:
            return False
        before = 0
        for tier in tiers:
            saved_s = now.cost_s - tier.cost_s
            nodes = tier.nodes & ask.nodes & ~before
            if saved_s <= 0 or nodes.bit_count() > NEAR_NODES_MAX:
                return False
            before = tier.nodes
            found = self._coming.first(ask, nodes, self._now_s + saved_s)
            if found is not None:
                time_s, number = found
                self._coming.claim(number, ask)
                self._claimed_s[number] = min(time_s, self._claimed_s.get(number, time_s))
                self.wake_s = min(self.wake_s, time_s)
                return True
        return False
