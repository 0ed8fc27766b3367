"""Steps of time, each with a number for what is free from it on: for the profiles of a single node. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from hal_core.models.packing import Ask


class Hold(NamedTuple):
    """Nodes that are promised for a while."""

    start_s: float
    duration_s: float
    ask: Ask
    node_numbers: tuple[int, ...]


def split(times: list[float], values: list[int], time_s: float) -> int:
    """The position of the step that begins at that time; made if there is none."""
    at = bisect_left(times, time_s)
    if at == len(times) or times[at] != time_s:
        times.insert(at, time_s)
        values.insert(at, values[at - 1])
    return at


def steps_between(times: list[float], begin_s: float, end_s: float) -> list[float]:
    """The times after the first, up to the second."""
    return times[bisect_right(times, begin_s) : bisect_right(times, end_s)]


def with_holds(times: list[float], values: list[int], holds: Iterable[Hold]) -> tuple[list[float], list[int]]:
    """The same steps after all holds were taken off, by one merge of times. Whether there was room is not looked at."""
    changes: dict[float, int] = {}
    for start_s, duration_s, ask, _ in holds:
        end_s, need = start_s + duration_s, ask.pool_need
        changes[start_s] = changes.get(start_s, 0) - need
        if end_s < math.inf:
            changes[end_s] = changes.get(end_s, 0) + need
    old = dict(zip(times, values, strict=True))
    merged_times = sorted({*old, *changes})
    merged: list[int] = []
    value = change = 0
    for time_s in merged_times:
        value = old.get(time_s, value)
        change += changes.get(time_s, 0)
        merged.append(value + change)
    return merged_times, merged
