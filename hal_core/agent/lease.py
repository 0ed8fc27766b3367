"""The lease: how long a node that has lost its daemon may keep jobs that the daemon would start again elsewhere.

Each answered heartbeat proves that the daemon heard of us not before we sent it. The lease is counted from there, on
this machine's own clock (CLOCK_BOOTTIME: it goes on while the machine sleeps), and is kept in a file beside the list of
attempts under it, for the guard (guard.py), which ends them and needs nothing but these files. The daemon counts from
when it missed us, which is later; so when it starts such a job again, here it has ended. Standard library only.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

LEASE: Final = "lease"
LEASED: Final = "leased"
MARGIN_SHARE, MARGIN_S_MAX = 0.1, 10.0
"""Everything has ended this much before the lease is over: for clocks that run unequally and for a slow kill."""
GRACE_SHARE_MAX = 0.25
"""Of the lease, at most so much is left to a job for ending in good order."""


def boot_time_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Terms(NamedTuple):
    """`deadline_s`: when nothing may be left, on the clock of this boot."""

    boot_id: str
    length_s: float
    deadline_s: float

    def end_s(self, grace_s: float) -> float:
        """When to begin ending a job with that grace."""
        return self.deadline_s - min(grace_s, self.length_s * GRACE_SHARE_MAX)

    def grace_left_s(self, now_s: float) -> float:
        return max(0.0, self.deadline_s - now_s)

    def is_over(self, now_s: float) -> bool:
        """Nothing under the lease may be started any more."""
        return now_s >= self.end_s(math.inf)

    @classmethod
    def since(cls, boot_id: str, length_s: float, heard_s: float) -> Terms:
        """The daemon heard of this node at `heard_s` or later, on the clock of this boot."""
        margin_s = min(length_s * MARGIN_SHARE, MARGIN_S_MAX)
        return cls(boot_id, length_s, heard_s + length_s - margin_s)


def read_terms(directory: Path, boot_id: str) -> Terms | None:
    """What is in force; None without a lease, and after a reboot: then there is nothing left to end."""
    try:
        written_boot_id, length, deadline = (directory / LEASE).read_text(encoding="ascii").split()
        terms = Terms(written_boot_id, float(length), float(deadline))
    except (FileNotFoundError, ValueError):
        return None
    return terms if terms.boot_id == boot_id else None


class Lease:
    """The agent's side: extends the lease and lists what is under it."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._directory = directory
        self._boot_id = boot_id
        self._leased = directory / LEASED
        self._leased.mkdir(mode=0o700, exist_ok=True)
        self._terms = read_terms(directory, boot_id)
        self._length_s = 0.0

    def begin(self, length_s: float, heard_s: float) -> None:
        """A session: from now on the daemon's terms are these. 0: no lease."""
        self._length_s = length_s
        self.extend(heard_s)

    def extend(self, heard_s: float) -> None:
        """The daemon heard of us at `heard_s` or later."""
        if self._length_s:
            self._terms = Terms.since(self._boot_id, self._length_s, heard_s)
            self._write(self._terms)

    @property
    def is_over(self) -> bool:
        """Nothing under the lease may be started any more."""
        return self._terms is not None and self._terms.is_over(boot_time_s())

    def put_under(self, key: str, grace_s: float) -> None:
        """Before the attempt is ordered. Like the terms not synced: these files need not outlive this boot."""
        (self._leased / key).write_text(repr(grace_s), encoding="ascii")

    def release(self, key: str) -> None:
        (self._leased / key).unlink(missing_ok=True)

    @property
    def is_needed(self) -> bool:
        with os.scandir(self._leased) as found:
            return next(found, None) is not None

    def _write(self, terms: Terms) -> None:
        fresh = self._directory / f"{LEASE}.new"
        fresh.write_text(f"{terms.boot_id} {terms.length_s!r} {terms.deadline_s!r}\n", encoding="ascii")
        fresh.replace(self._directory / LEASE)
