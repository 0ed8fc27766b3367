"""Sets of small numbers as bits of one integer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

WORD_BITS = 256
WORD_BYTES = WORD_BITS // 8
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
    if mask <= WORD_MASK:
        while mask:
            low = mask & -mask
            yield low.bit_length() - 1
            mask ^= low
        return
    # word by word: the whole number would be copied for each bit
    packed = mask.to_bytes((mask.bit_length() + WORD_BITS - 1) // WORD_BITS * WORD_BYTES, "little")
    for at in range(0, len(packed), WORD_BYTES):
        word = int.from_bytes(packed[at : at + WORD_BYTES], "little")
        while word:
            low = word & -word
            yield 8 * at + low.bit_length() - 1
            word ^= low


def lowest(mask: int, count: int) -> int:
    """The `count` lowest set bits. The mask has at least that many."""
    if mask.bit_count() == count:
        return mask
    return mask_of(list(islice(members_of(mask), count)))
