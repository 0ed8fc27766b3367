"""A torus of nodes: free boxes in it, and how far apart nodes are. Pure arithmetic on positions and bit masks.

A box is found by erosion: the corners of all free boxes of one shape are the set of free nodes, shifted and intersected
once for each step along each dimension, whatever the number of corners. Compact boxes need the fewest hops and share
no link with their neighbours (Lo et al., IEEE TPDS 8(7), 1997; on tori: Choo et al., IEEE TC 49(10), 2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod


class Torus:
    """Positions 0 .. size-1, the last dimension fastest."""

    def __init__(self, dimensions: Sequence[int]) -> None:
        self.dimensions = tuple(dimensions)
        self.size = prod(dimensions)
        self._strides = [prod(dimensions[axis + 1 :]) for axis in range(len(dimensions))]
        self._shapes: dict[int, list[tuple[int, ...]]] = {}
        self._last = [
            sum(1 << at for at in range(self.size) if self.place(at)[axis] == length - 1)
            for axis, length in enumerate(self.dimensions)
        ]
        """For each dimension, the positions from which the next step goes round."""

    def place(self, at: int) -> tuple[int, ...]:
        """The coordinates of a position."""
        rows = zip(self._strides, self.dimensions, strict=True)
        return tuple(at // stride % length for stride, length in rows)

    def box(self, free: int, count: int) -> int:
        """The most compact free box of just so many positions; 0 if there is none."""
        for shape in self._shapes_of(count):
            corners = free
            for axis, length in enumerate(shape):
                corners = self._runs(corners, axis, length)
            if corners:
                first = self.place((corners & -corners).bit_length() - 1)
                return self._box_at(first, shape)
        return 0

    def mean_hops(self, positions: Sequence[int]) -> float:
        """Between two different ones of them, on the shortest way, on average."""
        count = len(positions)
        if count < 2:
            return 0.0
        places = [self.place(at) for at in positions]
        total = 0
        for axis, length in enumerate(self.dimensions):
            histogram = [0] * length
            for place in places:
                histogram[place[axis]] += 1
            for a, b in product(range(length), repeat=2):
                total += histogram[a] * histogram[b] * min((a - b) % length, (b - a) % length)
        return total / (count * (count - 1))

    def _runs(self, free: int, axis: int, length: int) -> int:
        """Positions from which so many in that direction are free, themselves included."""
        found = shifted = free
        for _ in range(length - 1):
            shifted = self._step(shifted, axis)
            found &= shifted
        return found

    def _step(self, mask: int, axis: int) -> int:
        """Positions whose next one in that direction is in the mask."""
        stride, length = self._strides[axis], self.dimensions[axis]
        last = self._last[axis]
        return mask >> stride & ~last | mask << stride * (length - 1) & last

    def _box_at(self, first: Sequence[int], shape: Sequence[int]) -> int:
        mask = 0
        for offset in product(*map(range, shape)):
            rows = zip(first, offset, self.dimensions, self._strides, strict=True)
            mask |= 1 << sum((at + step) % length * stride for at, step, length, stride in rows)
        return mask

    def _shapes_of(self, count: int) -> list[tuple[int, ...]]:
        """Sides of boxes of that volume, the most compact first."""
        found = self._shapes.get(count)
        if found is None:
            found = sorted(_factors(count, self.dimensions), key=lambda shape: (sum(shape), shape))
            self._shapes[count] = found
        return found


def _factors(count: int, limits: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not limits:
        if count == 1:
            yield ()
        return
    for side in range(1, min(count, limits[0]) + 1):
        if count % side == 0:
            for rest in _factors(count // side, limits[1:]):
                yield side, *rest
