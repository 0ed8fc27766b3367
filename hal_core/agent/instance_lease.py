"""The lease of a rented machine: until when it is paid for. Rules and a line of text; the ending is instance.py's.

The length is counted on the clock of this boot (CLOCK_BOOTTIME): whoever sets the time makes it no longer or shorter.
After a reboot that clock has begun anew: then the time of day says how much is left, but never more than was left when
it was last written down. fleet/instance.sh reads the line too: boot id, deadline, time of day, what is left.
"""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Final

import attrs

FILE: Final = "instance-lease"
GRACE_S: Final = 60.0
"""So long before the end the jobs are told."""
MARGIN_S: Final = 5.0
"""Between the kill of the last job and the end of the machine: for records and reports."""


class Phase(Enum):
    """What is to be done about it."""

    GOING = "going"
    ENDING = "ending"
    """Jobs are told to end."""
    OVER = "over"


@attrs.frozen
class Moment:
    """What this machine's clocks say: `boot_s` since its boot, which is `boot_id`; `time_s` since the epoch."""

    boot_id: str
    boot_s: float
    time_s: float

    @classmethod
    def now(cls) -> Moment:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return cls(boot_id, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


@attrs.frozen
class InstanceLease:
    """`deadline_s` on the clock of that boot, `until_s` the same as time of day; `left_s` when it was written."""

    boot_id: str
    deadline_s: float
    until_s: float
    left_s: float

    @classmethod
    def of(cls, left_s: float, now: Moment) -> InstanceLease:
        return cls(now.boot_id, now.boot_s + left_s, now.time_s + left_s, left_s)

    def at(self, now: Moment) -> InstanceLease:
        """The same lease, written now."""
        is_same_boot = now.boot_id == self.boot_id
        left_s = self.deadline_s - now.boot_s if is_same_boot else self.until_s - now.time_s
        return InstanceLease.of(min(left_s, self.left_s), now)

    @property
    def phase(self) -> Phase:
        """When it was written."""
        if self.left_s <= 0.0:
            return Phase.OVER
        return Phase.ENDING if self.left_s <= GRACE_S else Phase.GOING

    def line(self) -> str:
        return f"{self.boot_id} {self.deadline_s!r} {self.until_s!r} {self.left_s!r}\n"

    @classmethod
    def parse(cls, line: str) -> InstanceLease | None:
        """None for what was not written whole."""
        try:
            boot_id, deadline, until, left = line.split()
            return cls(boot_id, float(deadline), float(until), float(left))
        except ValueError:
            return None
