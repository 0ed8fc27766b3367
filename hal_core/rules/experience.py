"""How much of its past stands behind what is said of a job: ended jobs, counted by user and by name. Pure.

A person who reads "12 minutes" wants to know whether that rests on three hundred such jobs or on none, and whether such
jobs end well.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from hal_core.models.job import End, JobState
from hal_core.models.prediction import Arrival, LearnedFrom

KEPT_MAX: Final = 100_000
"""Users and names; the longest unheard of are forgotten first."""
NO_DIGITS: Final = dict.fromkeys(map(ord, "0123456789"))
"""`run17` and `run18` are one name."""

LATEST: Final = 20
"""Of so many of a name it is known how they ended."""

_Key = tuple[str, str | None]


class Experience:
    """Counts of jobs that ended."""

    def __init__(self) -> None:
        self._job_count = 0
        self._counts: dict[_Key, int] = {}
        self._latest: dict[_Key, deque[JobState]] = {}

    def ended(self, job: Arrival, end: End) -> None:
        self._job_count += 1
        by_name = _keys(job)[1]
        latest = self._latest.pop(by_name, None)
        self._latest[by_name] = latest = deque(maxlen=LATEST) if latest is None else latest
        latest.append(end.state)
        if len(self._latest) > KEPT_MAX:
            del self._latest[next(iter(self._latest))]
        for key in _keys(job):
            self._counts[key] = self._counts.pop(key, 0) + 1  # to the end: heard of just now
        while len(self._counts) > KEPT_MAX:
            del self._counts[next(iter(self._counts))]

    def of(self, job: Arrival) -> LearnedFrom:
        of_user, of_name = (self._counts.get(key, 0) for key in _keys(job))
        latest = self._latest.get(_keys(job)[1], ())
        failed_count, time_limit_count = (
            sum(each is state for each in latest) for state in (JobState.FAILED, JobState.TIMEOUT)
        )
        return LearnedFrom(self._job_count, of_user, of_name, len(latest), failed_count, time_limit_count)


def _keys(job: Arrival) -> tuple[_Key, _Key]:
    user = job.owner.user
    return (user, None), (user, job.spec.name.translate(NO_DIGITS))
