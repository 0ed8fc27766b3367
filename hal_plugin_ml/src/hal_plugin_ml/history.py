"""What is remembered of the past, and how a job looks in its light: a vector of numbers.

All in logarithms of seconds, relative to the job's limit, so that 0 means "as long as it may". Every question costs the
same, however long the past is; what is remembered is bounded.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from functools import lru_cache
from statistics import median
from typing import Any, Final, TypeVar

import attrs
import numpy as np

from hal_core import Arrival, End, JobState, Outcome
from hal_plugin_ml.linear import Groups, Vector
from hal_plugin_ml.storing import key_of, rows

NO_LIMIT_S: Final = 86_400.0
"""What a job without a limit is measured against."""
KEPT_MAX: Final = 100_000
"""Users and kinds of jobs that are remembered; the longest known are forgotten first."""
RECENT: Final = 5
DECAY: Final = 0.3
"""Weight of the latest run in running means."""
DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S

LIMIT_PLACE: Final = 9
USUAL_PLACE: Final = 14
"""Of the vector: the logarithm of the limit, and the mean of the user's last two run times."""
SIZE: Final = 28

NO_DIGITS: Final = dict.fromkeys(map(ord, "0123456789"))

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


Rates = tuple[float, float]
"""How often jobs ran into their limit lately, and how often they failed: running means."""
NO_RATES: Final[Rates] = (0.0, 0.0)


class User:
    """The past of one user."""

    __slots__ = ("end_s", "ends", "kind", "mean_log", "mean_share", "open_count", "recent_s", "submit_s")

    def __init__(self) -> None:
        self.recent_s: deque[float] = deque(maxlen=3)
        self.mean_log = math.nan
        """Of the logarithms of run times."""
        self.mean_share = 1.0
        """Of run time / limit."""
        self.ends: Rates = NO_RATES
        self.submit_s = math.nan
        self.end_s = math.nan
        self.kind: Hashable = None
        """Of the latest job."""
        self.open_count = 0
        """Jobs that were seen to come and not yet to end."""


NOBODY: Final = User()
"""Of whom nothing is known. Never changed."""


@attrs.frozen
class Traits:
    """What of a job does not change, looked up once."""

    user: str
    limit_s: float
    log_limit: float
    is_limited: bool
    width: int
    kind: Hashable
    groups: Groups
    """From the largest to the smallest: who is new in one is known in the one before."""

    @classmethod
    def of(cls, job: Arrival) -> Traits:
        spec, user = job.spec, job.owner.user
        is_limited = spec.walltime_s is not None
        limit_s = NO_LIMIT_S if spec.walltime_s is None else max(spec.walltime_s, 1.0)
        width = max(1, spec.total_cpus)
        kind = (limit_s, width, spec.gpus_per_node, _stem(spec.name))
        own: Groups = (user, (user, kind))
        groups = (("account", spec.account), *own) if spec.account else own
        return cls(user, limit_s, math.log1p(limit_s), is_limited, width, kind, groups)


@lru_cache(maxsize=10_000)
def _stem(name: str) -> str:
    """Of a name what is no number: jobs of one user that are alike have it in common."""
    return name.translate(NO_DIGITS)


Moment = tuple[float, ...]
"""The part of the vector that belongs to the moment of the submission, and is not looked at again later."""


class History:
    """The past of all users."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._of_kind: dict[Hashable, deque[float]] = {}
        """Latest run times by user, limit, CPUs, GPUs and name."""
        self._ends_of_kind: dict[Hashable, Rates] = {}
        self._of_limit: dict[Hashable, float] = {}
        self._of_width: dict[Hashable, float] = {}

    def moment(self, job: Traits, now_s: float) -> Moment:
        """In what moment the job comes. Changes nothing."""
        user = self._users.get(job.user) or NOBODY
        day, week = 2 * math.pi * (now_s % DAY_S) / DAY_S, 2 * math.pi * (now_s % WEEK_S) / WEEK_S
        return (
            _since(user.submit_s, now_s),
            _since(user.end_s, now_s),
            float(user.kind == job.kind),
            math.log1p(user.open_count),
            *(math.sin(day), math.cos(day), math.sin(week), math.cos(week)),
        )

    def look(self, job: Traits, moment: Moment) -> Vector:
        """The job as a vector of SIZE numbers. Changes nothing."""
        user, name = self._users.get(job.user) or NOBODY, job.user
        limit_s, log_limit = job.limit_s, job.log_limit

        def relative(runtime_s: float) -> float:
            return math.log1p(runtime_s) - log_limit if runtime_s < limit_s else 0.0

        recent = [relative(runtime_s) for runtime_s in reversed(user.recent_s)]
        usual = relative(sum(list(user.recent_s)[-2:]) / min(len(user.recent_s), 2)) if recent else 0.0
        kind = (name, job.kind)
        alike = self._of_kind.get(kind)
        of_kind = [relative(runtime_s) for runtime_s in reversed(alike)] if alike else []
        of_limit = self._of_limit.get((name, limit_s))
        of_width = self._of_width.get((name, job.width))
        return np.array(
            (
                *moment,
                1.0,
                log_limit,
                math.log2(job.width),
                *(recent + [0.0] * 3)[:3],
                usual,
                of_kind[0] if of_kind else usual,
                of_kind[min(1, len(of_kind) - 1)] if of_kind else usual,
                math.log1p(len(of_kind)),
                median(of_kind) if of_kind else usual,
                relative(of_limit) if of_limit is not None else usual,
                relative(of_width) if of_width is not None else usual,
                min(user.mean_log, log_limit) - log_limit if recent else 0.0,
                math.log(max(user.mean_share, 1e-4)),
                float(not recent) - float(not of_kind),
                *user.ends,
                *self._ends_of_kind.get(kind, user.ends),
            )
        )

    def stored(self) -> dict[str, Any]:
        """All of it, as JSON knows it. Jobs that have not ended are left out."""
        return {
            "users": [[name, *_stored_user(user)] for name, user in self._users.items()],
            "of_kind": rows({key: list(each) for key, each in self._of_kind.items()}),
            "ends_of_kind": rows(self._ends_of_kind),
            "of_limit": rows(self._of_limit),
            "of_width": rows(self._of_width),
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse. Raises ValueError, TypeError or KeyError if it is not."""
        self._users = {str(name): _restored_user(each) for name, *each in stored["users"]}
        self._of_kind = {key_of(key): deque(map(float, each), maxlen=RECENT) for key, each in stored["of_kind"]}
        self._ends_of_kind = {key_of(key): _rates(each) for key, each in stored["ends_of_kind"]}
        self._of_limit = {key_of(key): float(each) for key, each in stored["of_limit"]}
        self._of_width = {key_of(key): float(each) for key, each in stored["of_width"]}

    def arrived(self, job: Traits, submit_time_s: float) -> None:
        user = _kept(self._users, job.user, User())
        user.submit_s, user.kind = submit_time_s, job.kind
        user.open_count += 1

    def ended(self, job: Traits, outcome: Outcome, was_seen: bool) -> None:
        runtime_s, name = outcome.runtime_s, job.user
        user = _kept(self._users, name, User())
        log_run, share = math.log1p(runtime_s), min(1.0, runtime_s / job.limit_s)
        is_first = not user.recent_s
        user.mean_log = log_run if is_first else user.mean_log + DECAY * (log_run - user.mean_log)
        user.mean_share = share if is_first else user.mean_share + DECAY * (share - user.mean_share)
        user.recent_s.append(runtime_s)
        happened = ends_badly(outcome.end)
        user.ends = _moved(user.ends, happened)
        kind = (name, job.kind)
        _put(self._ends_of_kind, kind, _moved(self._ends_of_kind.get(kind, user.ends), happened))
        user.end_s = outcome.end_time_s
        user.open_count = max(0, user.open_count - was_seen)
        _kept(self._of_kind, kind, deque[float](maxlen=RECENT)).append(runtime_s)
        _put(self._of_limit, (name, job.limit_s), runtime_s)
        _put(self._of_width, (name, job.width), runtime_s)


def _stored_user(user: User) -> list[Any]:
    numbers = (user.mean_log, user.mean_share, user.submit_s, user.end_s)
    return [list(user.recent_s), user.ends, *numbers, user.kind]


def _restored_user(stored: list[Any]) -> User:
    user = User()
    recent_s, ends, *numbers, kind = stored
    user.recent_s.extend(map(float, recent_s))
    user.ends = _rates(ends)
    user.mean_log, user.mean_share, user.submit_s, user.end_s = map(float, numbers)
    user.kind = key_of(kind)
    return user


def _rates(stored: Any) -> Rates:
    time_out, failure = map(float, stored)
    return time_out, failure


def _moved(rates: Rates, happened: tuple[bool, bool]) -> Rates:
    time_out, failure = rates
    return time_out + DECAY * (happened[0] - time_out), failure + DECAY * (happened[1] - failure)


def ends_badly(end: End) -> tuple[bool, bool]:
    """Whether it ran into its limit, and whether it failed by itself."""
    return end.state is JobState.TIMEOUT, end.state is JobState.FAILED


def _since(time_s: float, now_s: float) -> float:
    return 0.0 if math.isnan(time_s) else math.log1p(max(0.0, now_s - time_s))


def _kept(mapping: dict[K, V], key: K, fresh: V) -> V:
    """What is there, or `fresh`, put there."""
    found = mapping.get(key)
    if found is None:
        _put(mapping, key, fresh)
        return fresh
    return found


def _put(mapping: dict[K, V], key: K, value: V) -> None:
    mapping[key] = value
    if len(mapping) > KEPT_MAX:
        del mapping[next(iter(mapping))]
