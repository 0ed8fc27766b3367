"""Host ranges: `n[001-128,200],login1` for many node names. Zero padding and order are kept.

`format_hosts` is the exact inverse. The number of names is known before the first one is made, so a typing error
cannot use up the memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

from hal_core.parsing.names import parse_host
from hal_core.parsing.text import is_digits, shown, wrong

HOSTS_MAX: Final = 100_000
_SIGNS = re.compile(r"([\[\],])")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})")
_Run = tuple[int, int, int]
"""First number, stop, and width with zeros."""
_Piece = str | list[_Run]


def parse_hosts(text: str) -> tuple[str, ...]:
    """All names in the order written. Refuses empty parts, names given twice, and more than 100,000 names."""
    if len(text) > 20 * HOSTS_MAX:
        raise wrong(f"{shown(text)} is too long; use ranges such as n[001-128]")
    names: list[str] = []
    for pieces in _parts(text):
        count = 1
        for piece in pieces:
            if not isinstance(piece, str):
                count *= sum(stop - first for first, stop, _ in piece)
        if len(names) + count > HOSTS_MAX:
            raise wrong(f"{shown(text)} stands for more than {HOSTS_MAX} names")
        names.extend(parse_host("".join(choice)) for choice in product(*map(_expand, pieces)))
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise wrong(f"{shown(text)} names {twice!r} twice; name every node once")
    return tuple(names)


def format_hosts(names: Iterable[str]) -> str:
    """The shortest text that `parse_hosts` reads back as the same names in the same order."""
    parts: list[tuple[str, list[_Run]]] = []
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            parts.append((name, []))
            continue
        prefix, digits = match.groups()
        number, width = int(digits), len(digits)
        runs = parts[-1][1] if parts and parts[-1][0] == prefix and parts[-1][1] else None
        if runs is None:
            parts.append((prefix, [(number, number + 1, width)]))
            continue
        first, stop, run_width = runs[-1]
        if number == stop and str(number).zfill(run_width) == digits:
            runs[-1] = (first, stop + 1, run_width)
        else:
            runs.append((number, number + 1, width))
    return ",".join(_format_part(prefix, runs) for prefix, runs in parts)


def _parts(text: str) -> Iterator[list[_Piece]]:
    """The comma-separated parts, each as literal texts and bracketed runs."""
    pieces: list[_Piece] = []
    inside: list[str] | None = None
    for word in _SIGNS.split(text):
        if inside is not None:
            if word == "[":
                raise wrong(f"{shown(text)} has brackets within brackets; write n[1-4]")
            if word != "]":
                inside.append(word)
                continue
            pieces.append([_parse_run(run) for run in "".join(inside).split(",")])
            inside = None
        elif word == "[":
            inside = []
        elif word == "]":
            raise wrong(f"{shown(text)} has a ] without a [; write n[1-4]")
        elif word == ",":
            yield _not_empty(pieces, text)
            pieces = []
        elif word:
            pieces.append(word)
    if inside is not None:
        raise wrong(f"{shown(text)} has a [ without a ]; write n[1-4]")
    yield _not_empty(pieces, text)


def _not_empty(pieces: list[_Piece], text: str) -> list[_Piece]:
    if not pieces:
        raise wrong(f"{shown(text)} has an empty name; write names and ranges with single commas, such as n[1-4],login")
    return pieces


def _parse_run(text: str) -> _Run:
    """`001-128` or `200`."""
    low, dash, high = text.partition("-")
    if not is_digits(low) or (dash and not is_digits(high)):
        raise wrong(f"{shown(text)} is not a range of numbers; write 1-4 or 7 between the brackets")
    if not dash:
        return int(low), int(low) + 1, len(low)
    if len(high) < len(low) or (len(high) > len(low) and high[0] == "0"):
        raise wrong(f"{shown(text)} has unequal padding; write {low}-{high.lstrip('0').zfill(len(low))}")
    if int(high) < int(low):
        raise wrong(f"{shown(text)} runs backwards; write the smaller number first")
    return int(low), int(high) + 1, len(low)


def _expand(piece: _Piece) -> list[str]:
    if isinstance(piece, str):
        return [piece]
    return [str(number).zfill(width) for first, stop, width in piece for number in range(first, stop)]


def _format_part(prefix: str, runs: list[_Run]) -> str:
    if not runs:
        return prefix
    texts = [
        str(first).zfill(width) + (f"-{str(stop - 1).zfill(width)}" if stop > first + 1 else "")
        for first, stop, width in runs
    ]
    return prefix + texts[0] if len(texts) == 1 and "-" not in texts[0] else f"{prefix}[{','.join(texts)}]"
