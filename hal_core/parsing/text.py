"""What all parsers share: how a wrong text is shown, refused and given its place, and plain counts.

A parser raises `InvalidInput` with one problem that has no place; whoever knows where the text stood adds it.
"""

from __future__ import annotations

import re
from typing import Final

from hal_core.errors import InvalidInput, Problem

COUNT_MAX: Final = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,18}")
_SHOWN_CHARACTERS = 60


def wrong(text: str) -> InvalidInput:
    """The error for one problem whose place the caller will add."""
    return InvalidInput([Problem("", text)])


def placed(error: InvalidInput, place: str, option: str = "") -> list[Problem]:
    """The problems of `error` with their place and, where the place is a line of a script, the option's name."""
    lead = f"{option}: " if option else ""
    return [Problem(place, lead + problem.text) for problem in error.problems]


def shown(text: str) -> str:
    """`text` in quotes, shortened and with control characters escaped, so that an error can be printed anywhere."""
    return repr(text) if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]!r}..."


def is_digits(text: str) -> bool:
    """1 to 18 ASCII digits and nothing else. `int` alone would also take `1_0`, ` 1` and other scripts' digits."""
    return _DIGITS.fullmatch(text) is not None


def parse_count(text: str, low: int = 0, high: int = COUNT_MAX) -> int:
    """A whole number from `low` to `high`, in ASCII digits without sign, exponent or leading zeros."""
    if not is_digits(text) or (text[0] == "0" and text != "0"):
        raise wrong(f"{shown(text)} is not a whole number; write digits only, such as {max(low, 4)}")
    value = int(text)
    if not low <= value <= high:
        raise wrong(f"{value} is out of range; it can be {low} to {high}")
    return value


def parse_integer(text: str, low: int, high: int) -> int:
    """A whole number that may be negative."""
    negative = text.startswith("-")
    digits = text[1:] if negative else text
    if not is_digits(digits) or (digits[0] == "0" and text != "0"):
        raise wrong(f"{shown(text)} is not a whole number; write digits only, such as 10 or -10")
    value = -int(digits) if negative else int(digits)
    if not low <= value <= high:
        raise wrong(f"{value} is out of range; it can be {low} to {high}")
    return value


def parse_choice(text: str, choices: tuple[str, ...]) -> str:
    """One of `choices`, exactly."""
    if text not in choices:
        raise wrong(f"{shown(text)} is not known; it can be {', '.join(choices)}")
    return text
