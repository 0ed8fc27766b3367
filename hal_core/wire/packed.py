"""Many small byte strings as one: how the tasks of a session travel, and their results.

`bounds` are count + 1 unsigned little-endian 32-bit numbers; item i is the bytes of `data` from bounds[i] - bounds[0]
to bounds[i + 1] - bounds[0]. So a slice is two copies of memory whatever it holds: who passes a million items on looks
at none of them.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from hal_core.errors import WireError

BOUND_BYTES: Final = 4
PACKED_BYTES_MAX: Final = (1 << 32) - 1


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """A vector of byte strings. Slices share its form."""

    bounds: bytes
    data: bytes

    def __len__(self) -> int:
        return len(self.bounds) // BOUND_BYTES - 1

    def items(self) -> Iterator[bytes]:
        bounds, data = _numbers(self.bounds), self.data
        base = bounds[0]
        start = 0
        for bound in bounds[1:]:
            stop = bound - base
            yield data[start:stop]
            start = stop

    def part(self, start: int, stop: int) -> Packed:
        """Items [start, stop)."""
        if start == 0 and stop == len(self):
            return self
        bounds = _numbers(self.bounds)
        base = bounds[0]
        cut = self.bounds[start * BOUND_BYTES : (stop + 1) * BOUND_BYTES]
        return Packed(cut, self.data[bounds[start] - base : bounds[stop] - base])

    def count_within(self, start: int, bytes_max: int) -> int:
        """How many items from `start` on have at most so many bytes together; at least 1."""
        bounds = _numbers(self.bounds)
        return max(bisect_right(bounds, bounds[start] + bytes_max, start) - 1 - start, 1)

    def check(self) -> None:
        """Raises WireError for what has another form. Bounds that go back only make items that are empty."""
        if len(self.bounds) < 2 * BOUND_BYTES or len(self.bounds) % BOUND_BYTES:
            raise WireError(f"a vector whose bounds have {len(self.bounds)} bytes")
        bounds = _numbers(self.bounds)
        if bounds[len(bounds) - 1] - bounds[0] != len(self.data):
            raise WireError("a vector whose bounds do not end where its data end")


def pack(items: Sequence[bytes]) -> Packed:
    """Raises WireError if they are too many bytes for one vector (4 GiB)."""
    data = b"".join(items)
    if len(data) > PACKED_BYTES_MAX:
        raise WireError(f"{len(data)} bytes in one vector; at most {PACKED_BYTES_MAX}")
    bounds = array("I", accumulate(map(len, items), initial=0))
    assert bounds.itemsize == BOUND_BYTES
    if sys.byteorder == "big":
        bounds.byteswap()
    return Packed(bounds.tobytes(), data)


def _numbers(bounds: bytes) -> Sequence[int]:
    if sys.byteorder == "little":
        return memoryview(bounds).cast("I")
    swapped = array("I", bounds)
    swapped.byteswap()
    return swapped
