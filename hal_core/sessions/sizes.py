"""How many workers a session has in any case, and how many more in what others leave: as the jobs that these are. Pure.

A job is an array of as many elements as it was submitted with, so a session that grows has one job more, and one that
shrinks lets go of elements. Guarantee: after any row of changes what is left of the jobs is what was wanted; an element
that was let go never comes back; and no worker that is here goes before all that are not.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hal_core.errors import InvalidInput, Problem
from hal_core.models.ranges import Ranges, RangeSet, count_of

NOBODY: Mapping[str, RangeSet] = {}


class Size(msgspec.Struct, frozen=True):
    """`own_count` workers in any case, `elastic_count` more when there is room."""

    own_count: int
    elastic_count: int


class Part(msgspec.Struct, frozen=True):
    """One job of workers: elements 0 to `count` - 1 but those that were let go."""

    client_id: str
    is_elastic: bool
    count: int
    gone: Ranges = ()

    @property
    def left(self) -> RangeSet:
        left = RangeSet([(0, self.count)])
        left.difference_update(self.gone)
        return left


class Resized(msgspec.Struct, frozen=True):
    """The parts from now on, also those of which nothing is left, and which of them are new."""

    parts: tuple[Part, ...]
    new: tuple[Part, ...]


def size_of(parts: tuple[Part, ...]) -> Size:
    counts = {True: 0, False: 0}
    for part in parts:
        counts[part.is_elastic] += len(part.left)
    return Size(counts[False], counts[True])


def wanted_size(now: Size, least: int | None, most: int | None) -> Size:
    """With that many at least and at most; what is not said follows. Raises InvalidInput."""
    total = now.own_count + now.elastic_count
    if most is None:
        most = total if least is None else max(total, least)
    if least is None:
        least = min(now.own_count, most)
    if least < 0 or most < 1:
        raise InvalidInput([Problem("workers", f"{least} to {most} is no size of a session; at most 1 or more")])
    if least > most:
        raise InvalidInput([Problem("workers", f"at least {least} is more than at most {most}")])
    return Size(least, most - least)


def main_of(parts: tuple[Part, ...]) -> Part:
    """The job that ends the session with its end: the first of the workers that it has in any case, if there are."""
    return min((part for part in parts if part.left), key=lambda part: part.is_elastic)


def resized(parts: tuple[Part, ...], wanted: Size, name: str, present: Mapping[str, RangeSet] = NOBODY) -> Resized:
    """`name` begins the client ids of new parts, and has not been used for that before. `present`: which elements of
    which part, by client id, have come. What is let go is of the latest parts, and of those the last elements."""
    now = size_of(parts)
    new, let_go = list[Part](), dict[str, RangeSet]()
    for is_elastic, have, want in (
        (False, now.own_count, wanted.own_count),
        (True, now.elastic_count, wanted.elastic_count),
    ):
        if want > have:
            new.append(Part(f"{name}-elastic" if is_elastic else name, is_elastic, want - have))
        let_go |= _chosen([part for part in parts if part.is_elastic is is_elastic], have - want, present)
    kept = [_without(part, let_go[part.client_id]) if part.client_id in let_go else part for part in parts]
    return Resized((*kept, *new), tuple(new))


def _chosen(parts: list[Part], count: int, present: Mapping[str, RangeSet]) -> dict[str, RangeSet]:
    """So many elements of these parts: those that have not come first."""
    chosen: dict[str, RangeSet] = {}
    for is_here in (False, True):
        for part in reversed(parts):
            here = present.get(part.client_id, RangeSet()).ranges()
            among = RangeSet(part.left.intersection(here)) if is_here else part.left
            if not is_here:
                among.difference_update(here)
            taken = _last(among.ranges(), count)
            count -= count_of(taken)
            if taken:
                chosen.setdefault(part.client_id, RangeSet()).update(taken)
    return chosen


def _last(ranges: Ranges, count: int) -> Ranges:
    """The last so many members, or all."""
    taken: list[tuple[int, int]] = []
    for start, stop in reversed(ranges):
        if count <= 0:
            break
        start = max(start, stop - count)
        taken.append((start, stop))
        count -= stop - start
    return tuple(reversed(taken))


def _without(part: Part, gone: RangeSet) -> Part:
    return Part(part.client_id, part.is_elastic, part.count, RangeSet((*part.gone, *gone.ranges())).ranges())
