"""Sets of integers as sorted, disjoint, half-open ranges: how job arrays, CPU sets and ended job ids are kept.

A million-element array is one pair of numbers from the client to the node. `Ranges` is the frozen form that events
carry; `RangeSet` is the mutable form inside the state. All operations cost O(ranges), never O(elements).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint, non-touching half-open (start, stop) pairs."""


class RangeSet:
    """A mutable set of integers >= 0, stored as ranges. Iterates in ascending order."""

    __slots__ = ("_count", "_starts", "_stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._count = 0
        for start, stop in ranges:
            self.add(start, stop)

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._starts, value) - 1
        return at >= 0 and value < self._stops[at]

    def __iter__(self) -> Iterator[int]:
        for start, stop in zip(self._starts, self._stops, strict=True):
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RangeSet({format_ranges(self.ranges())!r})"

    def ranges(self) -> Ranges:
        """The frozen form, as events carry it."""
        return tuple(zip(self._starts, self._stops, strict=True))

    def copy(self) -> RangeSet:
        twin = RangeSet()
        twin._starts, twin._stops, twin._count = self._starts[:], self._stops[:], self._count
        return twin

    def add(self, start: int, stop: int | None = None) -> None:
        """Add `start`, or all of [start, stop)."""
        stop = start + 1 if stop is None else stop
        if stop <= start:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
            self._count -= sum(self._stops[i] - self._starts[i] for i in range(first, last))
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]
        self._count += stop - start

    def discard(self, start: int, stop: int | None = None) -> None:
        """Remove `start`, or all of [start, stop), as far as present."""
        stop = start + 1 if stop is None else stop
        if stop <= start:
            return
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        if first >= last:
            return
        left, right = self._starts[first], self._stops[last - 1]
        self._count -= sum(self._stops[i] - self._starts[i] for i in range(first, last))
        starts, stops = [], []
        if left < start:
            starts.append(left)
            stops.append(start)
        if right > stop:
            starts.append(stop)
            stops.append(right)
        self._starts[first:last] = starts
        self._stops[first:last] = stops
        self._count += sum(b - a for a, b in zip(starts, stops, strict=True))

    def update(self, ranges: Iterable[tuple[int, int]]) -> None:
        for start, stop in ranges:
            self.add(start, stop)

    def difference_update(self, ranges: Iterable[tuple[int, int]]) -> None:
        for start, stop in ranges:
            self.discard(start, stop)

    def first(self, count: int) -> Ranges:
        """The `count` smallest members (or all, if fewer), as ranges; nothing is removed."""
        taken: list[tuple[int, int]] = []
        for start, stop in zip(self._starts, self._stops, strict=True):
            if count <= 0:
                break
            stop = min(stop, start + count)
            taken.append((start, stop))
            count -= stop - start
        return tuple(taken)

    def intersection(self, ranges: Iterable[tuple[int, int]]) -> Ranges:
        """Members that also lie in `ranges`, as ranges."""
        common = RangeSet()
        for start, stop in ranges:
            at = max(bisect_right(self._starts, start) - 1, 0)
            while at < len(self._starts) and self._starts[at] < stop:
                common.add(max(start, self._starts[at]), min(stop, self._stops[at]))
                at += 1
        return common.ranges()


def count_of(ranges: Ranges) -> int:
    """How many integers the ranges hold."""
    if len(ranges) == 1:  # of nearly all jobs
        ((start, stop),) = ranges
        return stop - start
    return sum(stop - start for start, stop in ranges)


def members(ranges: Ranges) -> Iterator[int]:
    """The integers in ascending order."""
    for start, stop in ranges:
        yield from range(start, stop)


def format_ranges(ranges: Ranges) -> str:
    """`0-3,8` for ((0, 4), (8, 9)): the notation of cpusets and of `--array`. The empty set is the empty string."""
    return ",".join(str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in ranges)


def parse_ranges(text: str) -> Ranges:
    """The inverse of `format_ranges`. Raises ValueError on anything else; user input goes through hal_core.parsing."""
    found = RangeSet()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found.add(int(low), int(high or low) + 1)
    return found.ranges()


def runs_of(numbers: Iterable[int]) -> Ranges:
    """Numbers in their own order, ascending neighbours as one pair: not a set, but short where it is one."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return tuple(runs)
