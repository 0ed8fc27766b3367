"""How often one user may ask: a bucket of tokens for each user and kind of request. Pure; the time is passed in.

It keeps one user's loop from slowing down everybody. Operators and administrators are not limited: they are who must
get through when somebody floods.
"""

from __future__ import annotations

import math

import attrs

from hal_core import errors

USERS_MAX = 4096
"""Buckets that are kept; full ones are forgotten first, as a new one is full anyway."""


class TooOften(errors.Unavailable):
    """The user has used up what they may ask for now."""


@attrs.frozen
class Rate:
    """`burst` requests at once, and `refill_per_s` on average."""

    burst: float
    refill_per_s: float


@attrs.define
class _Bucket:
    left: float
    time_s: float


class Buckets:
    """The requests of one kind, by user id."""

    def __init__(self, what: str, rate: Rate) -> None:
        self._what = what
        self._rate = rate
        self._buckets: dict[int, _Bucket] = {}

    def take(self, uid: int, cost: float, now_s: float) -> None:
        """Let one request pass. Raises TooOften, with the time after which the next one passes.

        What costs more than a whole bucket passes when the bucket is full, and is paid off afterwards.
        """
        bucket = self._filled(uid, now_s)
        missing = min(cost, self._rate.burst) - bucket.left
        if missing > 1e-9:
            wait_s = missing / self._rate.refill_per_s
            text = f"you send {self._what} too often; up to {self._rate.refill_per_s:g}/s are taken on average"
            raise TooOften(f"{text}. Try again in {math.ceil(wait_s)} s", wait_s)
        bucket.left -= cost

    def charge(self, uid: int, cost: float, now_s: float) -> None:
        """What a request that passed turned out to cost beside; it is paid off before the next one passes."""
        self._filled(uid, now_s).left -= cost

    def __len__(self) -> int:
        return len(self._buckets)

    def _filled(self, uid: int, now_s: float) -> _Bucket:
        """With what has come into it since it was last looked at."""
        bucket = self._bucket(uid, now_s)
        bucket.left = min(self._rate.burst, bucket.left + (now_s - bucket.time_s) * self._rate.refill_per_s)
        bucket.time_s = now_s
        return bucket

    def _bucket(self, uid: int, now_s: float) -> _Bucket:
        bucket = self._buckets.get(uid)
        if bucket is None:
            if len(self._buckets) >= USERS_MAX:
                self._forget(now_s)
            bucket = self._buckets[uid] = _Bucket(self._rate.burst, now_s)
        return bucket

    def _forget(self, now_s: float) -> None:
        """Forget full buckets; if all are in use, the one that was used longest ago."""
        rate = self._rate
        full = [
            uid
            for uid, bucket in self._buckets.items()
            if bucket.left + (now_s - bucket.time_s) * rate.refill_per_s >= rate.burst
        ]
        for uid in full or [min(self._buckets, key=lambda uid: self._buckets[uid].time_s)]:
            del self._buckets[uid]


class Rates:
    """Reading and changing are counted apart, so that a poll loop does not keep its user from cancelling a job."""

    def __init__(self, reads: Rate, changes: Rate) -> None:
        self._reads = Buckets("reading requests", reads)
        self._changes = Buckets("requests", changes)

    def of(self, method: str) -> Buckets:
        """Where requests of that method are counted."""
        return self._reads if method in ("GET", "HEAD") else self._changes
