"""How much of its past stands behind what is said of a job: ended jobs, counted by user and by name. Pure.

A person who reads "12 minutes" wants to know whether that rests on three hundred such jobs or on none.
"""

from __future__ import annotations

from typing import Final

from hal_core.models.prediction import Arrival, LearnedFrom

KEPT_MAX: Final = 100_000
"""Users and names; the longest unheard of are forgotten first."""
NO_DIGITS: Final = dict.fromkeys(map(ord, "0123456789"))
"""`run17` and `run18` are one name."""

_Key = tuple[str, str | None]


class Experience:
    """Counts of jobs that ended."""

    def __init__(self) -> None:
        self._job_count = 0
        self._counts: dict[_Key, int] = {}

    def ended(self, job: Arrival) -> None:
        self._job_count += 1
        for key in _keys(job):
            self._counts[key] = self._counts.pop(key, 0) + 1  # to the end: heard of just now
        while len(self._counts) > KEPT_MAX:
            del self._counts[next(iter(self._counts))]

    def of(self, job: Arrival) -> LearnedFrom:
        of_user, of_name = (self._counts.get(key, 0) for key in _keys(job))
        return LearnedFrom(self._job_count, of_user, of_name)


def _keys(job: Arrival) -> tuple[_Key, _Key]:
    user = job.owner.user
    return (user, None), (user, job.spec.name.translate(NO_DIGITS))
