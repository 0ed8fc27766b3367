"""How many of something, as people say it."""

from __future__ import annotations

from collections.abc import Sequence


def plural(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """`n1`, `n1, n2`, `n1, n2, n3 and 4 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def named(noun: str, names: Sequence[str], most: int = 3) -> str:
    """`node n1`, `nodes n1, n2`."""
    return f"{noun if len(names) == 1 else f'{noun}s'} {listed(names, most)}"
