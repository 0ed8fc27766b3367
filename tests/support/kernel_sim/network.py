"""The network between daemon and nodes: connections that deliver in order, late, twice, in part, or not at all."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from hal_core.models.node import NodeName

if TYPE_CHECKING:
    from tests.support.kernel_sim.world import World

HANG_UP = object()
"""The last message of a connection that its other end has closed."""


class Pipe:
    """One direction of a connection. `take` gets each message, in order; HANG_UP last, if it comes at all."""

    def __init__(self, world: World, node: NodeName, is_up: bool, take: Callable[[Any], None]) -> None:
        self._world = world
        self._node = node
        self._is_up = is_up
        self._take = take
        self._waiting: deque[tuple[float, Any]] = deque()
        self._is_pumping = False
        self.is_lost = False
        """Nothing comes out any more, and nobody is told."""
        self.is_closed = False

    def send(self, message: object) -> None:
        if self.is_closed or self.is_lost:
            return
        self._waiting.append((self._world.now_s + self._world.network.delay_s(), message))
        self.is_closed = message is HANG_UP
        if not self._is_pumping:
            self._pump_at(self._waiting[0][0])

    def _pump_at(self, time_s: float) -> None:
        self._is_pumping = True
        self._world.timeline.at(time_s, self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        if self.is_lost or not self._waiting:
            return
        due_s = max(self._waiting[0][0], self._world.network.cut_until_s(self._node, self._is_up))
        if due_s > self._world.now_s:
            if due_s < math.inf:
                self._pump_at(due_s)
            return
        self._take(self._waiting.popleft()[1])
        if self._waiting and not self._is_pumping:
            self._pump_at(self._waiting[0][0])

    def drop(self) -> None:
        """What is on its way never arrives."""
        self.is_lost = True
        self._waiting.clear()


class Network:
    """Delays, and which links are cut."""

    def __init__(self, world: World, dice: Random) -> None:
        self._world = world
        self._dice = dice
        self._cut_until_s: dict[tuple[NodeName, bool], float] = {}

    def delay_s(self) -> float:
        faults, dice = self._world.faults, self._dice
        if faults.is_heavy_tailed and dice.random() < 0.01:
            return min(60.0, 0.01 * dice.paretovariate(0.7))
        return dice.uniform(0.0, faults.delay_s_max)

    def cut(self, node: NodeName, directions: tuple[bool, ...], duration_s: float) -> None:
        for is_up in directions:
            key = (node, is_up)
            self._cut_until_s[key] = max(self._cut_until_s.get(key, 0.0), self._world.now_s + duration_s)

    def heal(self) -> None:
        """All links work from now on. What waits behind a cut comes when the cut would have ended, or never."""
        self._cut_until_s.clear()

    def cut_until_s(self, node: NodeName, is_up: bool) -> float:
        return self._cut_until_s.get((node, is_up), 0.0)

    def is_cut(self, node: NodeName) -> bool:
        now_s = self._world.now_s
        return any(self.cut_until_s(node, is_up) > now_s for is_up in (True, False))
