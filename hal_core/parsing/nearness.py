"""How near the nodes of a job are to be: `--topology rack=required`, and how much they talk: `--comm heavy`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from hal_core.errors import did_you_mean
from hal_core.models.topology import COMMUNICATION
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.quantities import parse_share
from hal_core.parsing.text import shown, wrong

COMMUNICATION_DEFAULT: Final = COMMUNICATION["heavy"]
"""Of a job that names a level and does not say how much it communicates: it would not name one for nothing."""


@attrs.frozen
class Nearness:
    """A level, perhaps one of its domains by name, and whether that is a requirement."""

    level: str = ""
    domain: str = ""
    is_required: bool = False


def parse_nearness(text: str) -> Nearness:
    """`rack`, `rack=required`, `region:eu`, `region:eu=preferred`."""
    wanted, equals, strength = text.partition("=")
    if equals and strength not in ("required", "preferred"):
        raise wrong(f"{shown(text)}: behind = stands required or preferred, not {shown(strength)}")
    level, colon, domain = wanted.partition(":")
    return Nearness(parse_identifier(level), parse_identifier(domain) if colon else "", strength == "required")


def parse_communication(text: str) -> float:
    """A class by name, or a share of the run time."""
    if text in COMMUNICATION:
        return COMMUNICATION[text]
    if not text[:1].isdigit():
        raise wrong(f"{shown(text)} is not known; it can be {', '.join(COMMUNICATION)} or a share such as 0.25")
    return parse_share(text)


def check_level(wanted: Nearness, levels: Iterable[str]) -> None:
    """Refuse a level that the cluster does not have."""
    known = list(levels)
    if wanted.level and wanted.level not in known:
        there_are = (
            f"there are: {', '.join(known)}" if known else "the configuration of the cluster describes no topology"
        )
        raise wrong(f"no level {shown(wanted.level)}{did_you_mean(wanted.level, known)}; {there_are}")
