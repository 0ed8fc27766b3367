"""What became of each thing that the other scheduler's files say."""

from __future__ import annotations

from enum import Enum

import attrs


class Verdict(Enum):
    """`unsupported` includes what needs nothing in HAL: the text says which it is."""

    TRANSLATED = "translated"
    APPROXIMATED = "approximated"
    UNSUPPORTED = "unsupported"


@attrs.frozen
class Finding:
    """One setting: where it stands, what it says, and what it became."""

    place: str
    setting: str
    verdict: Verdict
    text: str


class Findings:
    """The table while it is made. What is said again in the same words is one line."""

    def __init__(self) -> None:
        self._found: dict[Finding, None] = {}

    def translated(self, place: str, setting: str, text: str) -> None:
        self._found[Finding(place, setting, Verdict.TRANSLATED, text)] = None

    def approximated(self, place: str, setting: str, text: str) -> None:
        self._found[Finding(place, setting, Verdict.APPROXIMATED, text)] = None

    def unsupported(self, place: str, setting: str, text: str) -> None:
        self._found[Finding(place, setting, Verdict.UNSUPPORTED, text)] = None

    def of(self, verdict: Verdict) -> list[Finding]:
        return [each for each in self._found if each.verdict is verdict]
