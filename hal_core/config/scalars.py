"""Kinds of single values that several parts of the configuration have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from hal_core.config.kinds import MapOf, Text
from hal_core.errors import did_you_mean
from hal_core.models.moment import moment
from hal_core.models.policy import LIMIT_NAMES
from hal_core.parsing.addresses import parse_address, parse_network_host
from hal_core.parsing.durations import (
    format_interval,
    format_time_limit,
    parse_interval,
    parse_kill_grace,
    parse_time_limit,
)
from hal_core.parsing.hosts import format_hosts, parse_hosts
from hal_core.parsing.instants import parse_date
from hal_core.parsing.memory import format_memory, parse_memory
from hal_core.parsing.names import parse_absolute_path, parse_identifier
from hal_core.parsing.quantities import parse_money
from hal_core.parsing.resources import Gpus
from hal_core.parsing.text import parse_choice, parse_count, parse_integer, shown, wrong

COUNT_MAX: Final = 1_000_000
CPUS_MAX: Final = 65_536
GPUS_MAX: Final = 1024
GPU_TYPE_DEFAULT: Final = "gpu"
PRIORITY_MAX: Final = 1_000_000
LIMIT_MAX: Final = 2**53
SHARES_MAX: Final = 1_000_000
_MODE = re.compile("0?[0-7]{3}")
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


def count(low: int, high: int) -> Text:
    """A whole number within bounds."""
    json = {"type": "integer", "minimum": low, "maximum": high}
    return Text("whole number", lambda text: parse_count(text, low, high), str, json)


def interval(least_s: int = 0) -> Text:
    return Text("duration", partial(parse_interval, least_s=least_s), format_interval, _TEXT_OR_NUMBER)


def or_word(word: str, value: Any) -> Text:
    """A duration, or the word for the value that no duration has."""

    def parse(text: str) -> Any:
        return value if text == word else parse_interval(text)

    def show(given: Any) -> str:
        return word if given == value else format_interval(given)

    return Text(f"duration or {word}", parse, show, _TEXT_OR_NUMBER)


def or_nothing(parse: Callable[[str], str]) -> Callable[[str], str]:
    """The same for what may be left empty."""
    return lambda text: parse(text) if text else ""


def _parse_flag(text: str) -> bool:
    return parse_choice(text, ("true", "false")) == "true"


def _parse_count_or_all(text: str) -> int | None:
    return None if text == "all" else parse_count(text, 0, COUNT_MAX)


def _parse_mode(text: str) -> int:
    if not _MODE.fullmatch(text):
        raise wrong(f'{shown(text)} is not a file mode; write three octal digits, such as "0660"')
    return int(text, 8)


def _parse_gpus(text: str) -> Gpus:
    """`a100:4`, `a100` (one) or `4` (of no named type)."""
    kind, colon, amount = text.rpartition(":")
    if colon:
        return Gpus(parse_count(amount, 1, GPUS_MAX), parse_identifier(kind))
    if text[:1].isdigit():
        return Gpus(parse_count(text, 0, GPUS_MAX), GPU_TYPE_DEFAULT)
    return Gpus(1, parse_identifier(text))


def _parse_some_memory(text: str) -> int:
    memory_bytes = parse_memory(text)
    if memory_bytes < 2**20:
        raise wrong(f"{shown(text)} is less than 1M")
    return memory_bytes


def _parse_budget(text: str) -> float:
    return math.inf if text == "none" else float(parse_money(text))


def _parse_limit_name(text: str) -> str:
    if text not in LIMIT_NAMES:
        hint = did_you_mean(text[:64], LIMIT_NAMES)
        raise wrong(f"no limit named {shown(text)}{hint}; there are: {', '.join(LIMIT_NAMES)}")
    return text


NAME = Text("name", parse_identifier)
FLAG = Text("true or false", _parse_flag, lambda flag: str(flag).lower(), {"type": "boolean"})

SHARE = number(0.0, 1.0, "a share")
RATE = number(0.0, 1000.0, "a rate")
SPEED = number(0.01, 100.0, "a speed")
SLACK = number(0.0, 1000.0, "a factor")
COUNT_OR_ALL = Text(
    "whole number or all", _parse_count_or_all, lambda value: "all" if value is None else str(value), _TEXT_OR_NUMBER
)
PRIORITY = Text(
    "whole number",
    lambda text: parse_integer(text, -PRIORITY_MAX, PRIORITY_MAX),
    str,
    {"type": "integer", "minimum": -PRIORITY_MAX, "maximum": PRIORITY_MAX},
)
LIMITS = MapOf(_parse_limit_name, count(0, LIMIT_MAX))

NODE_MEMORY = Text("memory", _parse_some_memory, format_memory, _TEXT_OR_NUMBER)
MEMORY = Text("memory", parse_memory, format_memory, _TEXT_OR_NUMBER)
GPUS = Text("GPUs", _parse_gpus, lambda gpus: f"{gpus.type}:{gpus.count}", _TEXT_OR_NUMBER)
MONEY = Text("money", parse_money, lambda money: f"{money:g}", {"type": "number", "minimum": 0})
BUDGET = Text("money or none", _parse_budget, lambda money: "none" if money == math.inf else f"{money:g}", MONEY.json)

INTERVAL = interval()
WALLTIME = Text("time limit", parse_time_limit, format_time_limit, _TEXT_OR_NUMBER)
KILL_GRACE = Text("duration", parse_kill_grace, format_interval, _TEXT_OR_NUMBER)
INSTANT = Text("date and time", parse_date, moment)
INSTANT_OR_NEVER = Text(
    "date and time",
    lambda text: None if text == "never" else parse_date(text),
    lambda instant_s: "never" if instant_s is None else moment(instant_s),
)

HOSTS = Text("host range", parse_hosts, format_hosts)
HOST = Text("host name or address", parse_network_host)
ADDRESS = Text("host:port", or_nothing(parse_address), takes_empty=True)
PATH = Text("absolute path", parse_absolute_path)
PATH_OR_NOTHING = Text("absolute path", or_nothing(parse_absolute_path), takes_empty=True)
MODE = Text("file mode", _parse_mode, lambda mode: f'"{mode:04o}"', _TEXT_OR_NUMBER)
