"""Constraints on the features of nodes: `ib&ssd`, `ib|opa`, `(ib|opa)&ssd`, as Slurm writes them.

Every node of the job must fulfil the whole, each for itself. Slurm's forms for nodes that differ (`[a|b]`, `a*2`) and
for features that should not be there are refused.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import shown, wrong

ALTERNATIVES_MAX: Final = 64
CHARACTERS_MAX: Final = 4096
_TOKEN = re.compile(r"[()&|,]|[^()&|,]+")
_SIGNS: Final = {
    "[": "nodes that are alike but not known beforehand; use --topology to keep nodes together",
    "*": "so many nodes of a kind; submit the parts as jobs of their own",
    "!": "features that must not be there; name those that must",
}


@attrs.frozen
class Constraint:
    """What every node must have: all of `features`, and all of one of `alternatives` (empty: nothing more)."""

    features: tuple[str, ...] = ()
    alternatives: tuple[tuple[str, ...], ...] = ()


ANY: Final = Constraint()


def parse_constraint(text: str) -> Constraint:
    """`&` and `,` bind closer than `|`. Raises InvalidInput."""
    if len(text) > CHARACTERS_MAX:
        raise wrong(f"{shown(text)} is too long; at most {CHARACTERS_MAX} characters are allowed")
    for sign, meaning in _SIGNS.items():
        if sign in text:
            raise wrong(f"{shown(text)}: {sign!r} is not supported, it stands for {meaning}")
    reader = _Reader(text)
    sets = reader.either()
    if reader.at < len(reader.tokens):
        raise wrong(
            f"{shown(text)}: {reader.tokens[reader.at]!r} stands where & or | should; write for example (a|b)&c"
        )
    common = [name for name in sets[0] if all(name in some for some in sets)]
    rest = dict.fromkeys(tuple(name for name in some if name not in common) for some in sets)
    return Constraint(tuple(common), () if () in rest else tuple(rest))


def format_constraint(constraint: Constraint) -> str:
    """The inverse, in the shortest form."""
    parts = list(constraint.features)
    either = "|".join("&".join(some) for some in constraint.alternatives)
    if either:
        parts.append(f"({either})" if parts else either)
    return "&".join(parts)


class _Reader:
    """Reads an expression as a list of sets, one of which must be there as a whole."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = _TOKEN.findall(text)
        self.at = 0
        self.depth = 0

    def either(self) -> list[tuple[str, ...]]:
        found = self.both()
        while self._take("|"):
            found = self._bounded([*found, *self.both()])
        return found

    def both(self) -> list[tuple[str, ...]]:
        found = self.one()
        while self._take("&", ","):
            more = self.one()
            found = self._bounded([tuple(dict.fromkeys((*left, *right))) for left in found for right in more])
        return found

    def one(self) -> list[tuple[str, ...]]:
        if not self._take("("):
            name = self.tokens[self.at] if self.at < len(self.tokens) else ""
            self.at += 1
            if name in "()&|,":
                raise wrong(f"{shown(self.text)}: a feature is missing; write for example ib&ssd or (a|b)&c")
            return [(parse_identifier(name),)]
        self.depth += 1
        if self.depth > 20:
            raise wrong(f"{shown(self.text)}: too many brackets, one within the other")
        found = self.either()
        if not self._take(")"):
            raise wrong(f"{shown(self.text)}: a bracket is not closed; write for example (a|b)&c")
        self.depth -= 1
        return found

    def _take(self, *signs: str) -> bool:
        is_there = self.at < len(self.tokens) and self.tokens[self.at] in signs
        self.at += is_there
        return is_there

    def _bounded(self, sets: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        sets = list(dict.fromkeys(sets))
        if len(sets) > ALTERNATIVES_MAX:
            raise wrong(f"{shown(self.text)} means more than {ALTERNATIVES_MAX} alternatives; ask for less")
        return sets
