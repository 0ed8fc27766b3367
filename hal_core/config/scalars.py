"""Kinds of single values that several parts of the configuration have in common."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

from hal_core.config.kinds import Text
from hal_core.config.topology import MONEY
from hal_core.parsing.durations import format_interval, parse_interval
from hal_core.parsing.hosts import format_hosts, parse_hosts
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import parse_count, shown, wrong

COUNT_MAX = 1_000_000
_TEXT_OR_NUMBER: Final = {"type": ["string", "integer"]}


def number(low: float, high: float, what: str) -> Text:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise wrong(f"{shown(text)} is not {what}") from None
        if not low <= value <= high:
            raise wrong(f"{shown(text)} is not {what}; write a number from {low:g} to {high:g}")
        return value

    return Text(what, parse, lambda value: f"{value:g}", {"type": "number"})


def or_word(word: str, value: Any) -> Text:
    """A duration, or the word for the value that no duration has."""

    def parse(text: str) -> Any:
        return value if text == word else parse_interval(text)

    def show(given: Any) -> str:
        return word if given == value else format_interval(given)

    return Text(f"duration or {word}", parse, show, {"type": ["string", "integer"]})


SHARE = number(0.0, 1.0, "a share")
RATE = number(0.0, 1000.0, "a rate")
SPEED = number(0.01, 100.0, "a speed")
SLACK = number(0.0, 1000.0, "a factor")


def _parse_limit(text: str) -> float:
    return math.inf if text == "none" else float(MONEY.parse(text))


BUDGET = Text("money or none", _parse_limit, lambda money: "none" if money == math.inf else f"{money:g}", MONEY.json)


def count(low: int, high: int) -> Text:
    """A whole number within bounds."""
    json = {"type": "integer", "minimum": low, "maximum": high}
    return Text("whole number", lambda text: parse_count(text, low, high), str, json)


def _parse_count_or_all(text: str) -> int | None:
    return None if text == "all" else parse_count(text, 0, COUNT_MAX)


def interval(least_s: int = 0) -> Text:
    return Text("duration", partial(parse_interval, least_s=least_s), format_interval, _TEXT_OR_NUMBER)


NAME = Text("name", parse_identifier)
HOSTS = Text("host range", parse_hosts, format_hosts)
INTERVAL = interval()
COUNT_OR_ALL = Text(
    "whole number or all", _parse_count_or_all, lambda value: "all" if value is None else str(value), _TEXT_OR_NUMBER
)
