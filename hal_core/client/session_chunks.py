"""The tasks of a client that are under way, as the chunks in which they were sent. No sockets, no threads.

A chunk of a recoverable session keeps its message until the broker has it on disk, and knows which of its tasks are
settled: so a client can tell a new broker what it still wants, and give it again what the old one had not taken.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import attrs

from hal_core.client.session_sinks import Sink
from hal_core.models.ranges import Ranges, RangeSet


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
    """In the order of their tasks."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._firsts: list[int] = []
        self.task_count = 0
        self.unsettled_count = 0
        self.unsettled_bytes = 0

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._chunks)

    def add(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._firsts.append(chunk.first)
        self.task_count = chunk.stop
        self.unsettled_count += chunk.count
        self.unsettled_bytes += chunk.byte_count

    def of(self, task: int) -> Chunk | None:
        """None for a task that is settled, with all its chunk."""
        at = bisect_right(self._firsts, task) - 1
        return self._chunks[at] if at >= 0 and task < self._chunks[at].stop else None

    def settle(self, chunk: Chunk, start: int, count: int) -> bool:
        """These tasks of the chunk have a result. False if that is known already."""
        if chunk.settled is not None:
            before = len(chunk.settled)
            chunk.settled.add(start, start + count)
            if len(chunk.settled) != before + count:
                return False
        chunk.left -= count
        self.unsettled_count -= count
        if not chunk.left:
            self.unsettled_bytes -= chunk.byte_count
            at = bisect_right(self._firsts, chunk.first) - 1
            del self._firsts[at], self._chunks[at]
        return True

    def accept(self, stop: int) -> None:
        """The broker has all tasks below `stop`."""
        for chunk in self._chunks:
            if chunk.stop > stop:
                return
            chunk.message = b""

    def wanted(self, stop: int) -> Ranges:
        """Tasks below `stop` that are not settled."""
        wanted = RangeSet()
        for chunk in self._chunks:
            if chunk.first < stop:
                wanted.add(chunk.first, chunk.stop)
                if chunk.settled is not None:
                    wanted.difference_update(chunk.settled.ranges())
        return wanted.ranges()

    def unaccepted(self, stop: int) -> list[bytes]:
        """The messages of those from `stop` on."""
        return [chunk.message for chunk in self._chunks if chunk.first >= stop]

    def clear(self) -> list[Chunk]:
        """All of them; none is under way any more."""
        chunks, self._chunks, self._firsts = self._chunks, [], []
        self.unsettled_count = self.unsettled_bytes = 0
        return chunks
