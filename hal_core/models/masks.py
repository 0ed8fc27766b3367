"""Sets of small numbers as bits of one integer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

WORD_BITS = 512
WORD_MASK = (1 << WORD_BITS) - 1
FEW = 8
"""For fewer numbers it is not worth while to fill bytes."""


def mask_of(numbers: Iterable[int]) -> int:
    """Numbers as bits of one integer."""
    few = numbers if isinstance(numbers, (list, tuple)) else list(numbers)
    if len(few) < FEW:
        mask = 0
        for number in few:
            mask |= 1 << number
        return mask
    packed = bytearray((max(few) >> 3) + 1)
    for number in few:
        packed[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(packed, "little")


def members_of(mask: int) -> Iterator[int]:
    """The inverse of `mask_of`, ascending."""
    offset = 0
    while mask:
        if mask > WORD_MASK:  # word by word: the whole number would be copied for each bit
            skip = (mask & -mask).bit_length() - 1 & ~(WORD_BITS - 1)
            mask >>= skip
            offset += skip
        word = mask & WORD_MASK
        while word:
            low = word & -word
            yield offset + low.bit_length() - 1
            word ^= low
        mask >>= WORD_BITS
        offset += WORD_BITS


def lowest(mask: int, count: int) -> int:
    """The `count` lowest set bits. The mask has at least that many."""
    if mask.bit_count() == count:
        return mask
    taken = 0
    for _ in range(count):
        low = mask & -mask
        taken |= low
        mask ^= low
    return taken
