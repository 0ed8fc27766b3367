"""How a user's latest jobs of a kind ended: whoever sends the next one should know it before, not after. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final

import attrs

from hal_core.models.job import JobState

LATEST: Final = 20
"""So many ends of a kind are remembered."""
TOLD_COUNT_MIN: Final = 5
"""Fewer say too little of the next one."""
TOLD_SHARE_MIN: Final = 0.5
KEPT_MAX: Final = 100_000
"""Kinds of users; the longest unheard of are forgotten first."""

Kind = Hashable


@attrs.frozen
class BadEnds:
    """Of the latest jobs of a user's kind: how many there were, ran into their limit, and failed by themselves."""

    job_count: int
    time_limit_count: int
    failed_count: int

    @property
    def is_time_short(self) -> bool:
        return self.time_limit_count >= TOLD_SHARE_MIN * self.job_count

    @property
    def is_failing(self) -> bool:
        return self.failed_count >= TOLD_SHARE_MIN * self.job_count


class EndsPast:
    """States in which jobs ended."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, Kind], deque[JobState]] = {}

    def ended(self, user: str, kind: Kind, state: JobState) -> None:
        latest = self._latest.pop((user, kind), None)
        self._latest[user, kind] = latest = deque(maxlen=LATEST) if latest is None else latest
        latest.append(state)
        if len(self._latest) > KEPT_MAX:
            del self._latest[next(iter(self._latest))]

    def told(self, user: str, kind: Kind) -> BadEnds | None:
        """None if too few ended, or most of them well."""
        latest = self._latest.get((user, kind), ())
        if len(latest) < TOLD_COUNT_MIN:
            return None
        counts = (sum(each is state for each in latest) for state in (JobState.TIMEOUT, JobState.FAILED))
        found = BadEnds(len(latest), *counts)
        return found if found.is_time_short or found.is_failing else None
