"""The tasks of a client that are under way, as the chunks in which they were sent. No sockets, no threads.

A chunk of a recoverable session keeps its message until the broker has it on disk, and knows which of its tasks are
settled: so a client can tell a new broker what it still wants, and give it again what the old one had not taken.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain

import attrs

from hal_core.client.session_sinks import Sink
from hal_core.models.ranges import Ranges, RangeSet, count_of


@attrs.define(eq=False)
class Chunk:
    """Tasks that were submitted together; their results go to `sink`, from `place` on."""

    first: int
    count: int
    byte_count: int
    sink: Sink
    place: int
    left: int
    message: bytes = b""
    settled: RangeSet | None = None

    @property
    def stop(self) -> int:
        return self.first + self.count

    def place_of(self, task: int) -> int:
        return self.place + task - self.first


class Chunks:
    """Those that were submitted, in the order of their tasks, and those that were fetched, which may be any tasks."""

    def __init__(self) -> None:
        self._submitted: list[Chunk] = []
        self._firsts: list[int] = []
        self._fetched: list[Chunk] = []
        self.task_count = 0
        self.unsettled_count = 0
        self.unsettled_bytes = 0

    def submit(self, chunk: Chunk) -> None:
        """New tasks: they follow the last."""
        self._submitted.append(chunk)
        self._firsts.append(chunk.first)
        self.task_count = chunk.stop
        self._count(chunk)

    def fetch(self, chunk: Chunk) -> None:
        """Tasks that there are already, whoever else waits for them."""
        self._fetched.append(chunk)
        self._count(chunk)

    def settle(self, start: int, stop: int) -> list[tuple[Chunk, int, int]]:
        """These tasks have results. Returns who wants them: chunks, each with the tasks that are new to it."""
        parts = []
        at = max(bisect_right(self._firsts, start) - 1, 0)
        for chunk in chain(self._from(at, stop), list(self._fetched)):
            first, last = max(start, chunk.first), min(stop, chunk.stop)
            if first < last:
                parts += [(chunk, *part) for part in self._settle(chunk, first, last)]
        return parts

    def accept(self, stop: int) -> None:
        """The broker has all tasks below `stop`."""
        for chunk in self._submitted:
            if chunk.stop > stop:
                return
            chunk.message = b""

    def has_unaccepted(self) -> bool:
        return bool(self._submitted) and bool(self._submitted[-1].message)

    def wanted(self, stop: int) -> Ranges:
        """Tasks below `stop` that are not settled."""
        wanted = RangeSet()
        for chunk in chain(self._submitted, self._fetched):
            if chunk.first < stop:
                unsettled = RangeSet([(chunk.first, chunk.stop)])
                if chunk.settled is not None:
                    unsettled.difference_update(chunk.settled.ranges())
                wanted.update(unsettled.ranges())
        return wanted.ranges()

    def unaccepted(self, stop: int) -> list[bytes]:
        """The messages of those from `stop` on."""
        return [chunk.message for chunk in self._submitted if chunk.first >= stop]

    def clear(self) -> list[Chunk]:
        """All of them; none is under way any more."""
        chunks = self._submitted + self._fetched
        self._submitted, self._firsts, self._fetched = [], [], []
        self.unsettled_count = self.unsettled_bytes = 0
        return chunks

    def _from(self, at: int, stop: int) -> list[Chunk]:
        """The submitted ones from that place on which have tasks below `stop`: nearly always one."""
        end = at
        while end < len(self._firsts) and self._firsts[end] < stop:
            end += 1
        return self._submitted[at:end]

    def _settle(self, chunk: Chunk, start: int, stop: int) -> Ranges:
        """What of these was not settled before."""
        new: Ranges = ((start, stop),)
        if chunk.settled is not None:
            known = chunk.settled.intersection(new)
            chunk.settled.add(start, stop)
            if known:
                rest = RangeSet(new)
                rest.difference_update(known)
                new = rest.ranges()
        count = count_of(new)
        chunk.left -= count
        self.unsettled_count -= count
        if not chunk.left:
            self._remove(chunk)
        return new

    def _count(self, chunk: Chunk) -> None:
        self.unsettled_count += chunk.count
        self.unsettled_bytes += chunk.byte_count

    def _remove(self, chunk: Chunk) -> None:
        self.unsettled_bytes -= chunk.byte_count
        at = bisect_right(self._firsts, chunk.first) - 1
        if at >= 0 and self._submitted[at] is chunk:
            del self._firsts[at], self._submitted[at]
        else:
            self._fetched.remove(chunk)
