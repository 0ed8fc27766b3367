"""How much memory a job will need: by what its user's latest jobs of that kind needed at most. Pure.

It is the most that the latest such jobs used, times a factor, one for the whole cluster: it grows with each job that
would not have fitted and shrinks a little with each that would, so that in the long run no more than one in two hundred
does not, whatever happens (Gibbs and Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021). It
learns from all jobs, not only from those that are sized. Ends come late, and a user who changes what he does may have
sent a thousand jobs by the time the first of them runs out of memory: so no more of a user's jobs are under way on a
guess than ends are remembered.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.rules.experience import NO_DIGITS

if TYPE_CHECKING:
    from hal_core.models.job import JobSpec

LATEST: Final = 20
"""So many ends of a kind, and of a user, are remembered."""
UNDER_WAY_MAX: Final = LATEST
"""So many jobs of a user may be under way with less than they asked for."""
KIND_MIN: Final = 3
"""So many of a kind say something of the next; with fewer, what all of the user's jobs used is taken."""
USER_MIN: Final = 10
MISS_SHARE: Final = 0.005
"""Of jobs, that may need more than they are given."""
STEP: Final = 1.0
"""Of the logarithm of the factor, for one job that needed more; MISS_SHARE of it back for one that did not."""
FACTOR_LOG_START: Final = math.log(1.25)
FACTOR_LOG_MAX: Final = 3.0
GRAIN_BYTES: Final = 16 << 20
"""Sizes are multiples of it, so that jobs which need about the same have the same shape."""
KEPT_MAX: Final = 100_000
"""Kinds and users; the longest unheard of are forgotten first."""

Kind = Hashable


@attrs.frozen
class UsedMemory:
    """What the latest jobs of a user's kind used at most on one node."""

    job_count: int
    peak_bytes: int


class MemoryPast:
    """Peaks of jobs that ended."""

    def __init__(self) -> None:
        self._peaks: dict[tuple[str, Kind], deque[int]] = {}
        self._factor_log = FACTOR_LOG_START

    def used(self, user: str, kind: Kind) -> UsedMemory | None:
        """None without any."""
        peaks = self._peaks.get((user, kind))
        return UsedMemory(len(peaks), max(peaks)) if peaks else None

    def size(self, user: str, kind: Kind, asked_bytes: int, under_way_count: int) -> int:
        """What to give it at first: at most what it asked for. `under_way_count`: of the user, with less than that."""
        expected_bytes = self._expected(user, kind) if under_way_count < UNDER_WAY_MAX else None
        return asked_bytes if expected_bytes is None else min(asked_bytes, self._with_factor(expected_bytes))

    def ended(self, user: str, kind: Kind, peak_bytes: int) -> None:
        expected_bytes = self._expected(user, kind)
        if expected_bytes is not None:
            is_miss = peak_bytes > self._with_factor(expected_bytes)
            self._factor_log += STEP * (is_miss - MISS_SHARE)
            self._factor_log = min(max(self._factor_log, 0.0), FACTOR_LOG_MAX)
        for key in ((user, None), (user, kind)):
            peaks = self._peaks.pop(key, None)
            self._peaks[key] = peaks = deque(maxlen=LATEST) if peaks is None else peaks  # at the end: heard of just now
            peaks.append(peak_bytes)
        while len(self._peaks) > KEPT_MAX:
            del self._peaks[next(iter(self._peaks))]

    def _expected(self, user: str, kind: Kind) -> int | None:
        """The most that the latest jobs like it used."""
        for key, least_count in (((user, kind), KIND_MIN), ((user, None), USER_MIN)):
            peaks = self._peaks.get(key, ())
            if len(peaks) >= least_count:
                return max(peaks)
        return None

    def _with_factor(self, size_bytes: int) -> int:
        return max(1, math.ceil(size_bytes * math.exp(self._factor_log) / GRAIN_BYTES)) * GRAIN_BYTES


def kind_of(spec: JobSpec) -> Kind:
    """Jobs of one user with the same of these are taken to be alike; `run17` and `run18` are one name."""
    return spec.name.translate(NO_DIGITS), spec.total_cpus, spec.walltime_s
