"""What the ledger is made of: slices of tasks, what a worker holds, and the counts. Pure."""

from __future__ import annotations

from collections import deque

import attrs

from hal_core.sessions.hosts import Host
from hal_core.wire.packed import Packed


@attrs.frozen
class Policy:
    """What a function's tasks may ask for."""

    retries: int = 0
    priority: int = 0
    tags: tuple[str, ...] = ()


@attrs.define
class Slice:
    """Tasks [first, first + len(items)) of one function. `is_suspect`: a worker died that had them."""

    first: int
    function: int
    items: Packed
    is_suspect: bool = False

    @property
    def stop(self) -> int:
        return self.first + len(self.items)

    def split(self, count: int) -> Slice:
        """Take the first `count` tasks off."""
        head = Slice(self.first, self.function, self.items.part(0, count), self.is_suspect)
        self.items = self.items.part(count, len(self.items))
        self.first += count
        return head


@attrs.define(eq=False)
class Held:
    """What one worker has: slices in the order in which it does them."""

    host: Host
    slices: deque[Slice] = attrs.Factory(deque)
    count: int = 0
    is_stopping: bool = False
    """It gets nothing more."""
    is_late: bool = False
    """It is at a task that takes long, and gets nothing until all that it kept is done."""

    def may_have_more(self) -> bool:
        """With a suspect it has nothing else; on a host that is on probation it has one task, on a blocked one none."""
        if self.is_stopping or self.is_late or (self.slices and self.slices[0].is_suspect):
            return False
        return not self.host.blocked_why or (self.host.is_on_probation and not self.count)


@attrs.define
class Counts:
    """Of tasks, since the session began."""

    accepted: int = 0
    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0
    retried: int = 0
    lost: int = 0


@attrs.define
class Tally:
    """What became of one function's tasks."""

    taken: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0

    def add(self, other: Tally) -> None:
        self.taken += other.taken
        self.done += other.done
        self.failed += other.failed
        self.dropped += other.dropped

    @property
    def left(self) -> int:
        return self.taken - self.done - self.failed - self.dropped
