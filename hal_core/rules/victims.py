"""Which running jobs to end so that a job fits, with the least work lost: exact while there are few, near it otherwise.

Guarantee: what is found is enough, and no victim of it is one too many. With few candidates no other set loses less;
among sets that lose the same, the smallest. In general this is set cover, which nobody solves quickly: then nodes are
freed one after the other, the cheapest first. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from hal_core.models.packing import Ask
from hal_core.models.plan import RunningJob, Victim
from hal_core.models.pool import Pool
from hal_core.models.room import Room

SETS_MAX = 400
"""Sets that are tried in the order of what they lose, before the quick answer is taken."""


def _lost(victim: Victim) -> float:
    return victim.lost


def least_loss(room: Room, ask: Ask, victims: Iterable[Victim]) -> tuple[Victim, ...] | None:
    """The victims in ascending order of loss; none if it fits anyhow, None if it does not even without all of them.

    `room` is what is free, and is not changed.
    """
    near = [victim for victim in victims if any(ask.nodes >> number & 1 for number in victim.job.node_numbers)]
    near.sort(key=_lost)
    if _fits(room, ask, ()):
        return ()
    if not _fits(room, ask, near):
        return None
    quick = _pruned(room, ask, _node_by_node(room, ask, near))
    best = _in_order(room, ask, near, sum(map(_lost, quick)))
    return tuple(sorted(quick if best is None else best, key=_lost))


def give_back(room: Room, jobs: Iterable[RunningJob]) -> None:
    """Let these jobs have ended."""
    for job in jobs:
        room.give(job.node_numbers, room.packing.ask(job.shape))


def lend(room: Room, jobs: Iterable[RunningJob]) -> Room:
    """As it is when these jobs stand still and lend what they are shown to have: no exclusive job comes beside them."""
    jobs, packing, after = list(jobs), room.packing, room.copy()
    give_back(after, jobs)
    if isinstance(after, Pool):
        return Room.of_rows(packing, [packing.shared(after.row_of(0))])
    for number in {number for job in jobs for number in job.node_numbers if after.is_available(number)}:
        after.put(number, packing.shared(after.row_of(number)))
    return after


def _fits(room: Room, ask: Ask, victims: Iterable[Victim]) -> bool:
    trial = room.copy()
    give_back(trial, (victim.job for victim in victims))
    return trial.has_room(ask)


def _in_order(room: Room, ask: Ask, victims: Sequence[Victim], most: float) -> list[Victim] | None:
    """The first set that is enough, of all sets in the order of (loss, size); None if there are too many to look at.

    Each set is reached once: from the one without its last victim, or with the victim before that in its place.
    """
    heap: list[tuple[float, int, tuple[int, ...]]] = [(victims[0].lost, 1, (0,))]
    for _ in range(SETS_MAX):
        if not heap or heap[0][0] > most:
            return None
        lost, size, chosen = heappop(heap)
        found = [victims[at] for at in chosen]
        if _fits(room, ask, found):
            return found
        last = chosen[-1]
        if last + 1 < len(victims):
            more = victims[last + 1].lost
            heappush(heap, (lost + more, size + 1, (*chosen, last + 1)))
            heappush(heap, (lost + more - victims[last].lost, size, (*chosen[:-1], last + 1)))
    return None


def _node_by_node(room: Room, ask: Ask, victims: Sequence[Victim]) -> list[Victim]:
    """Free the node that costs least, with all that runs over several nodes, until it fits."""
    trial = room.copy()
    on_node: dict[int, list[Victim]] = {}
    for victim in victims:
        for number in victim.job.node_numbers:
            on_node.setdefault(number, []).append(victim)
    gone: set[int] = set()
    found: list[Victim] = []
    heap = [(_cost(trial, ask, number, its), number) for number, its in on_node.items() if ask.nodes >> number & 1]
    heap.sort()
    while not trial.has_room(ask):
        _, number = heappop(heap)
        chosen = _enough(trial, ask, number, [each for each in on_node[number] if id(each) not in gone])
        for victim in chosen:
            gone.add(id(victim))
            found.append(victim)
            give_back(trial, [victim.job])
        touched = {other for victim in chosen for other in victim.job.node_numbers} - {number}
        for other in touched if len(chosen) else ():
            if ask.nodes >> other & 1:
                left = [each for each in on_node[other] if id(each) not in gone]
                heappush(heap, (_cost(trial, ask, other, left), other))
    return found


def _cost(trial: Room, ask: Ask, number: int, victims: Sequence[Victim]) -> float:
    return sum(map(_lost, _enough(trial, ask, number, victims)))


def _enough(trial: Room, ask: Ask, number: int, victims: Sequence[Victim]) -> list[Victim]:
    """The victims, cheapest first, that free the node for one part of the ask; all of them if that is not enough, or if
    it is open which component of several would come there."""
    room = trial.copy()
    chosen: list[Victim] = []
    for victim in victims:
        if room.count(number, ask):
            break
        for part, its in victim.job.shape.assigned(victim.job.node_numbers):
            if number in its:
                room.give([number], room.packing.ask(part))
        chosen.append(victim)
    return chosen


def _pruned(room: Room, ask: Ask, victims: Sequence[Victim]) -> list[Victim]:
    """Without those that are not needed, looked at in the order of what they would lose, the most first."""
    left = sorted(victims, key=_lost, reverse=True)
    for victim in tuple(left):
        others = [each for each in left if each is not victim]
        if _fits(room, ask, others):
            left = others
    return left
