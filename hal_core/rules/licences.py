"""Licences and other things that are counted for the whole cluster: how many there are, and who holds them. Pure.

They are part of a job's shape, so that engines find room for them as for CPUs: now, and when promises fall due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hal_core.models.job import Shape

Counts = tuple[tuple[str, int], ...]


class Licences:
    """Declared by the configuration, held by allocations."""

    __slots__ = ("_held", "declared")

    def __init__(self) -> None:
        self.declared: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def define(self, licences: Counts) -> None:
        """There are so many from now on. The caller counts again what is held, even if it is more."""
        self.declared = dict(licences)
        self._held.clear()

    def move(self, shape: Shape, sign: int) -> None:
        """An element of that shape starts (1) or ends (-1)."""
        for name, count in shape.licences:
            self._held[name] = self._held.get(name, 0) + sign * count

    def free(self) -> Counts:
        """What nobody holds, by name."""
        return tuple((name, max(count - self._held.get(name, 0), 0)) for name, count in self.declared.items())

    def lack(self, shape: Shape, count: int = 1) -> str:
        """Which licence there is too little of for so many elements, in words; the empty string if of none."""
        for name, each in shape.licences:
            declared, held = self.declared.get(name, 0), self._held.get(name, 0)
            if held + each * count > declared:
                return f"licence {name}: {held} of {declared} in use, and it takes {each * count}"
        return ""
