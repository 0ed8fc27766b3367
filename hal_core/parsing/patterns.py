"""Patterns for output files: `%j %A %a %x %N %u %%`. Unknown ones are refused by name, never kept as text."""

from __future__ import annotations

from typing import Final

from hal_core.parsing.names import parse_path
from hal_core.parsing.text import shown, wrong

PATTERNS: Final = {
    "j": "job id",
    "A": "job id of the array",
    "a": "index in the array",
    "x": "job name",
    "N": "first node",
    "u": "user name",
    "%": "a percent sign",
}


def parse_pattern(text: str) -> str:
    """The pattern as given, once every `%` in it is known."""
    parse_path(text)
    at = text.find("%")
    while at >= 0:
        letter = text[at + 1 : at + 2]
        if letter not in PATTERNS or not letter:
            known = ", ".join(f"%{known} ({meaning})" for known, meaning in PATTERNS.items())
            raise wrong(f"{shown(text)} holds {shown(text[at : at + 2])}, which HAL does not know; known are {known}")
        at = text.find("%", at + 2)
    return text


def parse_plain_path(text: str) -> str:
    """A path that no pattern applies to; `%` is refused so that nobody believes it is replaced."""
    if "%" in parse_path(text):
        raise wrong(f"{shown(text)}: patterns with % work only in --output and --error")
    return text
