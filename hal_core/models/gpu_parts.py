"""Shares of GPUs in a row: the devices of a node of which jobs hold a part, and what of each is free.

Devices that are wholly free are counts in the row (models/packing.py). The others of which something was given are a
tuple of (type, free thousandths), and the row holds the number under which that tuple is known. Which device a share
comes from is best fit: the smallest rest that holds it, a whole device only if there is none. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hal_core.models.row_fields import FIELD_MASK

MILLI = 1000
"""A whole device."""
Parts = tuple[tuple[str, int], ...]


class GpuParts:
    """Reads and changes the shares in rows. `shift` is where the number of the tuple stands."""

    __slots__ = ("_known", "_number_of", "_shift", "_shift_of")

    def __init__(self, shift: int, shift_of: Mapping[str, int]) -> None:
        self._shift = shift
        self._shift_of = shift_of
        self._known: list[Parts] = [()]
        self._number_of: dict[Parts, int] = {(): 0}

    def copy(self) -> GpuParts:
        """Reads the rows that this one made, and goes on by itself."""
        twin = GpuParts(self._shift, self._shift_of)
        twin._known, twin._number_of = self._known.copy(), self._number_of.copy()
        return twin

    @property
    def is_used(self) -> bool:
        """Whether any share was ever given."""
        return len(self._known) > 1

    def of(self, row: int) -> Parts:
        return self._known[row >> self._shift & FIELD_MASK]

    def packed(self, parts: Iterable[tuple[str, int]]) -> int:
        """These parts as they stand in a row."""
        key = tuple(sorted(parts))
        number = self._number_of.get(key)
        if number is None:
            number = self._number_of[key] = len(self._known)
            self._known.append(key)
        return number << self._shift

    def fits(self, row: int, milli: int, kind: str) -> bool:
        """Whether such a share of one device of that type (empty: any) is free."""
        field = f"gpu:{kind}" if kind else "gpus"
        if row >> self._shift_of[field] & FIELD_MASK:
            return True
        return any(free >= milli and kind in ("", each) for each, free in self.of(row))

    def take(self, row: int, milli: int, kind: str) -> int:
        """The row without that share, for which there is room."""
        parts = list(self.of(row))
        found = min((part for part in parts if part[1] >= milli and kind in ("", part[0])), key=_free, default=None)
        if found is None:
            kind = kind or self._first_free(row)
            parts.append((kind, MILLI - milli))
            row -= self._whole(kind)
        else:
            parts[parts.index(found)] = (found[0], found[1] - milli)
        return self._with(row, parts)

    def give(self, row: int, milli: int, kind: str) -> int:
        """The row with that share free again. Of which device it was is not known: of the one that it fills best.

        A row of which nobody has so much is left as it is.
        """
        parts = list(self.of(row))
        held = [part for part in parts if MILLI - part[1] >= milli and kind in ("", part[0])]
        if not held:
            return row
        found = max(held, key=_free)
        parts.remove(found)
        if found[1] + milli < MILLI:
            parts.append((found[0], found[1] + milli))
        else:
            row += self._whole(found[0])
        return self._with(row, parts)

    def _with(self, row: int, parts: Iterable[tuple[str, int]]) -> int:
        return (row & ~(FIELD_MASK << self._shift)) | self.packed(parts)

    def _whole(self, kind: str) -> int:
        """One device of that type, as it is counted in a row."""
        return (1 << self._shift_of["gpus"]) + (1 << self._shift_of[f"gpu:{kind}"])

    def _first_free(self, row: int) -> str:
        for field, shift in self._shift_of.items():
            if field.startswith("gpu:") and row >> shift & FIELD_MASK:
                return field.removeprefix("gpu:")
        raise AssertionError("no device of the row is free")


def _free(part: tuple[str, int]) -> int:
    return part[1]
