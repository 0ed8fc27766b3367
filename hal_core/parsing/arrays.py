"""Job arrays: `0-999:2%10` to index ranges and a throttle, without ever making one object per element."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hal_core.models.job import ArraySpec
from hal_core.models.ranges import Ranges, count_of
from hal_core.parsing.text import shown, wrong

INDEX_MAX: Final = 2**31 - 1
ELEMENTS_MAX: Final = 10_000_000
RANGES_MAX: Final = 100_000
"""A step above 1 makes one range of each element; this bounds the memory."""
_PART = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12})(?::([0-9]{1,12}))?)?")
_HINT = "write 0-99, 1,3,5-7, 0-99:2 (every second) or 0-99%10 (at most ten at once)"


def parse_array(text: str) -> ArraySpec:
    """Indices 0 to 2^31-1, each named once; at most 10 million elements in at most 100,000 separate ranges."""
    body, percent, limit = text.partition("%")
    throttle = None
    if percent:
        if not re.fullmatch("[0-9]{1,9}", limit) or int(limit) == 0:
            raise wrong(f"{shown('%' + limit)} is not a limit of elements at once; {_HINT}")
        throttle = int(limit)
    ranges: list[tuple[int, int]] = []
    parts = body.split(",")
    if len(parts) > RANGES_MAX:
        raise wrong(f"has {len(parts)} parts; at most {RANGES_MAX} are allowed: use ranges such as 0-99")
    for part in parts:
        first, stop, step = _parse_part(part)
        if step == 1:
            ranges.append((first, stop))
        elif len(ranges) + len(range(first, stop, step)) > RANGES_MAX:
            raise wrong(f"{shown(part)} makes more than {RANGES_MAX} separate ranges; use a step of 1")
        else:
            ranges.extend((index, index + 1) for index in range(first, stop, step))
    if count_of(tuple(ranges)) > ELEMENTS_MAX:
        raise wrong(f"{shown(text)} has {count_of(tuple(ranges))} elements; at most {ELEMENTS_MAX} are allowed")
    return ArraySpec(_merge(ranges), throttle)


def format_array(array: ArraySpec) -> str:
    """The inverse of `parse_array`: equal distances come back as a step."""
    text = ",".join(_format_parts(array.indices))
    return text if array.throttle is None else f"{text}%{array.throttle}"


def _parse_part(part: str) -> tuple[int, int, int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise wrong(f"{shown(part)} is not an index or a range of indices; {_HINT}")
    first = int(match[1])
    last = int(match[2] or match[1])
    step = int(match[3] or 1)
    if last > INDEX_MAX or first > INDEX_MAX:
        raise wrong(f"{shown(part)} goes beyond the largest index, {INDEX_MAX}")
    if last < first:
        raise wrong(f"{shown(part)} runs backwards; write the smaller index first")
    if step == 0:
        raise wrong(f"{shown(part)} has a step of 0; {_HINT}")
    return first, last + 1, step


def _merge(ranges: list[tuple[int, int]]) -> Ranges:
    """Sorted and joined where they touch. An index given twice is refused."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start < merged[-1][1]:
            raise wrong(f"index {start} is named twice; name every index once")
        if merged and start == merged[-1][1]:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)


def _format_parts(indices: Ranges) -> Iterator[str]:
    at = 0
    while at < len(indices):
        start, stop = indices[at]
        run = _single_run(indices, at)
        if run >= 3:
            yield f"{start}-{indices[at + run - 1][0]}:{indices[at + 1][0] - start}"
            at += run
        else:
            yield str(start) if stop == start + 1 else f"{start}-{stop - 1}"
            at += 1


def _single_run(indices: Ranges, at: int) -> int:
    """How many single indices from `at` on have equal distances."""
    end = at
    while end < len(indices) and indices[end][1] == indices[end][0] + 1:
        if end >= at + 2 and indices[end][0] - indices[end - 1][0] != indices[at + 1][0] - indices[at][0]:
            break
        end += 1
    return end - at
