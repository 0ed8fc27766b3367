"""Sets of small numbers as bits of one integer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def mask_of(numbers: Iterable[int]) -> int:
    """Numbers as bits of one integer."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def members_of(mask: int) -> Iterator[int]:
    """The inverse of `mask_of`, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
