"""When nodes have room for those who wait, if all that runs ends as expected. Who waits claims his room. Pure.

What could not start on its node any more (the configuration has changed under it) is taken to give back nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from hal_core.models.masks import members_of

if TYPE_CHECKING:
    from hal_core.models.packing import Ask
    from hal_core.models.plan import RunningJob, Snapshot
    from hal_core.models.room import Room


class ComingFree:
    """What the running jobs of one snapshot will leave, beside what is free in a room that shrinks meanwhile."""

    def __init__(self, snapshot: Snapshot, room: Room) -> None:
        self._now_s = snapshot.now_s
        self._room = room
        self._snapshot = snapshot
        self._running: Iterator[RunningJob] | None = None
        """What of the running jobs was not sorted by node yet. Asked for when somebody may wait: it is not for free."""
        self._next: RunningJob | None = None
        self._ends_on: dict[int, list[RunningJob]] = {}
        """By node, the node of the first end first."""
        self._claims: dict[int, list[Ask]] = {}
        """By node: who waits for it, in order."""
        self._behind: dict[int, tuple[int, int, int, int]] = {}
        """By node: for a row and so many claims, how many ends those need and what they leave."""

    def claim(self, number: int, ask: Ask) -> None:
        self._claims.setdefault(number, []).append(ask)

    def first(self, ask: Ask, nodes: int, before_s: float) -> tuple[float, int] | None:
        """Which of the nodes has room first, and when, if that is before the time and all ends as expected."""
        self._look_until(before_s)
        best: tuple[float, int] | None = None
        for number in members_of(nodes):
            time_s = self._when(ask, number, before_s if best is None else best[0])
            if time_s is not None:
                best = time_s, number
        return best

    def first_of_all(self, ask: Ask, before_s: float) -> tuple[float, int] | None:
        """The same of all nodes."""
        self._look_until(before_s)
        best: tuple[float, int] | None = None
        for number, ending in self._ends_on.items():
            if ending[0].expected_end_s >= before_s:
                break
            if ask.nodes >> number & 1:
                time_s = self._when(ask, number, before_s)
                if time_s is not None:
                    best, before_s = (time_s, number), time_s
        return best

    def _when(self, ask: Ask, number: int, before_s: float) -> float | None:
        """When the node has room beside those who wait for it already. Shares of GPUs come back as nothing."""
        ending = self._ends_on.get(number)
        row = self._room.row_of(number) if ending else -1
        if not ending or row < 0:
            return None
        packing = self._room.packing
        node_class = row >> packing.class_shift
        need = ask.need_of.get(node_class)
        if need is None:
            return None
        ask_of, guards = packing.ask, packing.guards
        at, row = self._behind_claims(number, row)
        if row < 0:
            return None
        while (row | guards) - need & guards != guards or not at:
            if at == len(ending) or ending[at].expected_end_s >= before_s:
                return None
            row += ask_of(ending[at].shape).held_of.get(node_class, 0)
            at += 1
        end_s = ending[at - 1].expected_end_s
        return max(end_s, self._now_s) if end_s < before_s else None

    def _behind_claims(self, number: int, row: int) -> tuple[int, int]:
        """How many ends those need who wait for the node, and what they leave of it then; -1: there are too few."""
        claims = self._claims.get(number)
        if not claims:
            return 0, row
        kept = self._behind.get(number)
        if kept is not None and kept[0] == row and kept[1] == len(claims):
            return kept[2], kept[3]
        packing, ending, base = self._room.packing, self._ends_on[number], row
        node_class, guards, at = row >> packing.class_shift, packing.guards, 0
        for claim in claims:
            need = claim.need_of[node_class]
            while at < len(ending) and ((row | guards) - need & guards != guards or not at):
                row += packing.ask(ending[at].shape).held_of.get(node_class, 0)
                at += 1
            if (row | guards) - need & guards != guards:
                return at, -1
            row -= need
        self._behind[number] = base, len(claims), at, row
        return at, row

    def _look_until(self, time_s: float) -> None:
        """Sort by node what is expected to end before that."""
        if self._running is None:
            self._running = iter(self._snapshot.running())
            self._next = next(self._running, None)
        while self._next is not None and self._next.expected_end_s < time_s:
            for part, numbers in self._next.shape.assigned(self._next.node_numbers):
                row = attrs.evolve(self._next, shape=part) if self._next.shape.also else self._next
                for number in numbers:
                    self._ends_on.setdefault(number, []).append(row)
            self._next = next(self._running, None)
