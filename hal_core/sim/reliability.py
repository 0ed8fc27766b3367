"""How good probabilities were: of all jobs of which one in five was said, did it happen to one in five? Pure.

The Brier score (Monthly Weather Review 78(1), 1950) is the mean square of what was said less what happened; the skill
is what of it is saved against always saying the share that it did happen to, which nobody knew beforehand: 1 is to know
all, 0 is to know that share. The calibration error is the mean of what was said too much or too little, in groups of
jobs of which about the same was said (Naeini, Cooper and Hauskrecht, AAAI 2015).
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

import attrs

GROUPS = 10

Foreseen = tuple[float, bool]
"""What was said of a job, as a probability, and whether it happened."""


@attrs.frozen
class Group:
    """Jobs of which about the same was said."""

    said: float
    happened: float
    count: int


@attrs.frozen
class Reliability:
    """Of one thing that may happen to jobs. `skill` is 0 where it happened to all or to none."""

    skill: float
    calibration_error: float
    groups: tuple[Group, ...]


def reliability_of(foreseen: Iterable[Foreseen]) -> Reliability | None:
    """None if nothing was said of any job."""
    pairs = sorted(foreseen)
    if not pairs:
        return None
    share = fmean(happened for _, happened in pairs)
    usual = share * (1.0 - share)
    brier = fmean((said - happened) ** 2 for said, happened in pairs)
    size = -(-len(pairs) // GROUPS)
    groups = tuple(_group(pairs[first : first + size]) for first in range(0, len(pairs), size))
    off = sum(each.count * abs(each.said - each.happened) for each in groups) / len(pairs)
    return Reliability(1.0 - brier / usual if usual else 0.0, off, groups)


def _group(pairs: list[Foreseen]) -> Group:
    return Group(fmean(said for said, _ in pairs), fmean(happened for _, happened in pairs), len(pairs))
