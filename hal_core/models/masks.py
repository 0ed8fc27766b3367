"""Sets of small numbers as bits of one integer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

FEW = 8
"""For fewer numbers it is not worth while to fill bytes, or to read them."""
_BITS = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))
"""Of each byte the bits that are set in it."""


def mask_of(numbers: Iterable[int]) -> int:
    """Numbers as bits of one integer."""
    few = numbers if isinstance(numbers, (list, tuple)) else list(numbers)
    if len(few) < FEW:
        mask = 0
        for number in few:
            mask |= 1 << number
        return mask
    return _mask_of_gang(few) if isinstance(few, tuple) else _mask_of_many(few)


def _mask_of_many(numbers: list[int] | tuple[int, ...]) -> int:
    packed = bytearray((max(numbers) >> 3) + 1)
    for number in numbers:
        packed[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(packed, "little")


_mask_of_gang = lru_cache(64)(_mask_of_many)
"""The nodes of a gang are asked for several times in a row: where they are chosen, taken, and seen to run."""


def members_of(mask: int) -> Iterator[int]:
    """The inverse of `mask_of`, ascending."""
    if mask.bit_count() < FEW:
        while mask:
            low = mask & -mask
            yield low.bit_length() - 1
            mask ^= low
        return
    # byte by byte: the whole number would be copied for each bit
    at = (mask & -mask).bit_length() - 1 & ~7
    for byte in (mask >> at).to_bytes((mask.bit_length() - at + 7) // 8, "little"):
        if byte:
            for bit in _BITS[byte]:
                yield at + bit
        at += 8


def numbers_of(mask: int) -> list[int]:
    """All of `members_of` at once, which is quicker: eight bytes without any are passed over as one."""
    if mask.bit_count() < FEW:
        return list(members_of(mask))
    at = (mask & -mask).bit_length() - 1 & ~7
    packed = (mask >> at).to_bytes((mask.bit_length() - at + 63) // 64 * 8, "little")
    eights = memoryview(packed).cast("Q")
    return [
        at + 8 * place + bit
        for first, eight in enumerate(eights)
        if eight
        for place in range(8 * first, 8 * first + 8)
        for bit in _BITS[packed[place]]
    ]


def lowest(mask: int, count: int) -> int:
    """The `count` lowest set bits. The mask has at least that many."""
    if mask.bit_count() == count:
        return mask
    return mask_of(list(islice(members_of(mask), count)))
