"""Small physical amounts: latencies with their unit, bandwidths in bytes a second, sums of money."""

from __future__ import annotations

import re
from typing import Final

from hal_core.parsing.memory import format_memory, parse_memory
from hal_core.parsing.text import shown, wrong

LATENCY_S_MAX: Final = 60.0
MONEY_MAX: Final = 1e9
_PER_S: Final = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0}
_LATENCY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ns|us|ms|s)")
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")


def parse_latency(text: str) -> float:
    """Seconds: `800ns`, `1.5us`, `30ms`."""
    match = _LATENCY.fullmatch(text)
    if match is None:
        raise wrong(f"{shown(text)} is not a latency with its unit; write 800ns, 1.5us or 30ms")
    latency_s = float(match[1]) / _PER_S[match[2]]
    if latency_s > LATENCY_S_MAX:
        raise wrong(f"{shown(text)} is more than a minute")
    return latency_s


def format_latency(latency_s: float) -> str:
    """The inverse, in the largest unit that leaves no fraction below one."""
    for unit in ("s", "ms", "us"):
        if latency_s * _PER_S[unit] >= 1:
            return f"{latency_s * _PER_S[unit]:.9g}{unit}"
    return f"{latency_s * 1e9:.9g}ns"


def parse_bandwidth(text: str) -> int:
    """Bytes a second, written as an amount of memory with its unit: `25G`, `10000000B`."""
    if text.isdecimal() and int(text):
        raise wrong(f"{shown(text)} has no unit; write {text}B if that is bytes in a second, {text}M if megabytes")
    bytes_per_s = parse_memory(text)
    if bytes_per_s < 1:
        raise wrong("is no bandwidth; write how many bytes pass in a second: 25G")
    return bytes_per_s


def parse_limit(text: str) -> int:
    """A bandwidth, or 0 for no bound."""
    return 0 if text == "0" else parse_bandwidth(text)


def format_bandwidth(bytes_per_s: float) -> str:
    return format_memory(int(bytes_per_s))


def parse_money(text: str) -> float:
    """An amount of money, in whatever the site counts in: `0.02`."""
    if not _DECIMAL.fullmatch(text) or float(text) > MONEY_MAX:
        raise wrong(f"{shown(text)} is not an amount of money; write digits such as 0.02")
    return float(text)


def parse_share(text: str) -> float:
    """A share from 0 to 1: `0.25`."""
    if not _DECIMAL.fullmatch(text) or float(text) > 1:
        raise wrong(f"{shown(text)} is not a share; write a number from 0 to 1, such as 0.25")
    return float(text)
