"""The client's connection to its broker: what is sent, who waits for which results, and the thread that reads.

Bounded by the client itself: at most `UNSETTLED_COUNT_MAX` tasks, or `UNSETTLED_BYTES_MAX` of them, are under way;
who submits more waits. That is all the flow control there is, and it reaches from the workers to the user's loop.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from bisect import bisect_right
from typing import Final

import attrs

from hal_core.client.session_sinks import Sink
from hal_core.errors import SessionError
from hal_core.models.ranges import Ranges
from hal_core.wire.packed import Packed
from hal_core.wire.sessions import (
    PROTOCOL_VERSION,
    Accepted,
    Ask,
    Cancel,
    Define,
    Dropped,
    Figures,
    Finish,
    Hello,
    Inbox,
    Refusal,
    Results,
    Submit,
    Welcome,
    encode,
    receive,
)

UNSETTLED_COUNT_MAX: Final = 100_000
UNSETTLED_BYTES_MAX: Final = 64 << 20


@attrs.define(eq=False)
class Chunk:
    """Tasks that were submitted together; their results go to `sink`, from `place` on."""

    first: int
    count: int
    byte_count: int
    sink: Sink
    place: int
    left: int


class SessionLink:
    """Any thread may call. Errors after the session's end are SessionError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._chunks: list[Chunk] = []
        self._firsts: list[int] = []
        self._task_count = 0
        self._accepted_count = 0
        self._unsettled_count = 0
        self._unsettled_bytes = 0
        self._figures: Figures | None = None
        self.lost: SessionError | None = None
        self.session = ""
        self.settled_count = 0
        self._reader = threading.Thread(target=self._read, name="hal-session", daemon=True)
        self._send(Hello(PROTOCOL_VERSION, "client"))
        self._reader.start()

    def define(self, definition: Define) -> None:
        self._send(definition)

    def wait_for_room(self, count: int, byte_count: int) -> None:
        """Until so much more may be under way. Not from a sink: the thread that calls it makes the room."""
        if not self._has_room(count, byte_count):
            with self._changed:
                self._changed.wait_for(lambda: self.lost or self._has_room(count, byte_count))
        if self.lost:
            raise self.lost

    def submit(self, function: int, items: Packed, sink: Sink, place: int) -> int:
        """Send tasks. Returns the id of the first."""
        count, byte_count = len(items), len(items.data)
        with self._sending:
            with self._changed:
                if self.lost:
                    raise self.lost
                first = self._task_count
                self._task_count += count
                self._chunks.append(Chunk(first, count, byte_count, sink, place, count))
                self._firsts.append(first)
                self._unsettled_count += count
                self._unsettled_bytes += byte_count
            self._send_all(encode(Submit(first, function, items)))
        return first

    def cancel(self, tasks: Ranges, does_kill: bool) -> None:
        self._send(Cancel(tasks, does_kill))

    def figures(self) -> Figures:
        """How the session is, by the broker."""
        self._figures = None
        self._send(Ask())
        with self._changed:
            self._changed.wait_for(lambda: self.lost or self._figures)
        figures: Figures | None = self._figures
        if figures is None:
            assert self.lost is not None
            raise self.lost
        return figures

    def is_idle(self) -> bool:
        """Whether no task is under way."""
        return not self._unsettled_count

    def finish(self, does_drain: bool) -> None:
        """End the session; with `does_drain` after its last task. Returns when the broker has closed."""
        with contextlib.suppress(SessionError):
            self._send(Finish(does_drain))
        self._reader.join()
        self._connection.close()

    def _has_room(self, count: int, byte_count: int) -> bool:
        """One submission is always taken, however large."""
        return not self._unsettled_count or (
            self._unsettled_count + count <= UNSETTLED_COUNT_MAX
            and self._unsettled_bytes + byte_count <= UNSETTLED_BYTES_MAX
        )

    def _send(self, message: Hello | Define | Cancel | Ask | Finish) -> None:
        with self._sending:
            self._send_all(encode(message))

    def _send_all(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError:
            self._reader.join()
            assert self.lost is not None
            raise self.lost from None

    def _read(self) -> None:
        """The reading thread: until the broker closes."""
        inbox = Inbox()
        reason = "the session's broker ended"
        try:
            while (messages := receive(self._connection, inbox)) is not None:
                for message in messages:
                    if isinstance(message, Results):
                        self._settle(message.first, message)
                    elif isinstance(message, Accepted):
                        self._accepted_count = message.stop
                    elif isinstance(message, Dropped):
                        for start, stop in message.tasks:
                            self._drop(start, stop, message.reason)
                    elif isinstance(message, Refusal):
                        reason = message.text
                    elif isinstance(message, Welcome):
                        self.session = message.session
                    elif isinstance(message, Figures):
                        with self._changed:
                            self._figures = message
                            self._changed.notify_all()
        finally:
            self._lose(SessionError(reason))

    def _settle(self, first: int, results: Results) -> None:
        chunk = self._chunk_of(first)
        chunk.sink.take(chunk.place + first - chunk.first, results.failed, results.values)
        self._count_settled(chunk, len(results.values))

    def _drop(self, start: int, stop: int, reason: str) -> None:
        while start < stop:
            chunk = self._chunk_of(start)
            count = min(stop, chunk.first + chunk.count) - start
            chunk.sink.drop(chunk.place + start - chunk.first, count, reason)
            self._count_settled(chunk, count)
            start += count

    def _chunk_of(self, task: int) -> Chunk:
        with self._changed:
            return self._chunks[bisect_right(self._firsts, task) - 1]

    def _count_settled(self, chunk: Chunk, count: int) -> None:
        self.settled_count += count
        with self._changed:
            chunk.left -= count
            self._unsettled_count -= count
            if not chunk.left:
                self._unsettled_bytes -= chunk.byte_count
                at = bisect_right(self._firsts, chunk.first) - 1
                del self._firsts[at], self._chunks[at]
            self._changed.notify_all()

    def _lose(self, error: SessionError) -> None:
        with self._changed:
            self.lost = error
            chunks, self._chunks, self._firsts = self._chunks, [], []
            self._changed.notify_all()
        for chunk in chunks:
            chunk.sink.lose(error)
