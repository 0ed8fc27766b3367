"""The client's connection to its broker: what is sent, who waits for which results, and the thread that reads.

Bounded by the client itself: at most `UNSETTLED_COUNT_MAX` tasks, or `UNSETTLED_BYTES_MAX` of them, are under way;
who submits more waits. That is all the flow control there is, and it reaches from the workers to the user's loop.

When the broker of a recoverable session dies, the reading thread starts another over the same journal, tells it what is
still wanted, and sends again what it does not know. Whoever waits notices nothing but the time that takes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

from hal_core.client.session_chunks import Chunk, Chunks
from hal_core.client.session_policy import Policy
from hal_core.client.session_sinks import Sink
from hal_core.client.session_start import BrokerProcess
from hal_core.client.session_visit import is_silent
from hal_core.client.session_watch import Watch, log
from hal_core.errors import SessionError, WireError
from hal_core.models.ranges import Ranges, RangeSet
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
    Rank,
    Refusal,
    Results,
    Said,
    Submit,
    Want,
    Welcome,
    encode,
    receive,
)

UNSETTLED_COUNT_MAX: Final = 100_000
UNSETTLED_BYTES_MAX: Final = 64 << 20
RETURNS_MAX: Final = 10
"""So often in a row a broker may die before it has said anything."""
ANSWER_S_MAX: Final = 60.0
"""For the broker to say how the session is."""
GONE: Final = "the session's broker ended"


class SessionLink:
    """Any thread may call. Errors after the session's end are SessionError."""

    def __init__(self, broker: BrokerProcess, is_new: bool = True) -> None:
        self._broker = broker
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._chunks = Chunks()
        self._definitions: list[bytes] = []
        self.function_count = 0
        self._ask_count = 0
        self._figures: Figures | None = None
        """The last that were asked for."""
        self._heard_count = 0
        self._is_finishing = False
        self._is_left = False
        self._does_drain = True
        self.lost: SessionError | None = None
        self.is_replaced = False
        """Another client has the session now."""
        self.settled_count = 0
        self._inbox = Inbox()
        self._reason = GONE
        self._trouble = ""
        if is_new:
            self._connection = broker.start()
            beginning: list[Said] = [Hello(PROTOCOL_VERSION, "client"), *([Want(())] if broker.is_recoverable else [])]
            self._connection.sendall(b"".join(map(encode, beginning)))
        else:
            self._chunks.task_count = self._return()
            with contextlib.suppress(OSError):  # The reading thread notices as well, and comes back.
                self._connection.sendall(encode(Want(())))
        self._watch = Watch(broker.session, self._heard_while_awaited, lambda: is_silent(broker.directory))
        self._reader = threading.Thread(target=self._read, name="hal-session", daemon=True)
        self._reader.start()
        self._watch.start()

    @property
    def task_count(self) -> int:
        return self._chunks.task_count

    @property
    def given_count(self) -> int:
        """How many tasks this client gave, or asked for."""
        return self.settled_count + self._chunks.unsettled_count

    def define(self, kind: str, digest: bytes, body: bytes, policy: Policy) -> int:
        """The number of a new function."""
        with self._sending:
            number, self.function_count = self.function_count, self.function_count + 1
            data = encode(
                Define(number, kind, digest, body, policy.retries, policy.priority, policy.time_limit_s, policy.tags)
            )
            if self._broker.is_recoverable:
                self._definitions.append(data)
            self._send_all(data)
        return number

    def wait_for_room(self, count: int, byte_count: int) -> None:
        """Until so much more may be under way. Not from a sink: the thread that calls it makes the room."""
        if not self._has_room(count, byte_count):
            with self._changed:
                self._changed.wait_for(lambda: self.lost or self._has_room(count, byte_count))
        if self.lost:
            raise self.lost

    def submit(self, function: int, items: Packed, sink: Sink, place: int) -> int:
        """Send tasks. Returns the id of the first."""
        count = len(items)
        with self._sending:
            with self._changed:
                if self.lost:
                    raise self.lost
                first = self._chunks.task_count
                message = encode(Submit(first, function, items))
                chunk = Chunk(first, count, len(items.data), sink, place, count)
                if self._broker.is_recoverable:
                    chunk.message, chunk.settled = message, RangeSet()
                self._chunks.submit(chunk)
            self._send_all(message)
        return first

    def fetch(self, first: int, count: int, sink: Sink) -> None:
        """Have the results of earlier tasks of a recoverable session, also of those that are not done yet."""
        with self._sending:
            with self._changed:
                self._chunks.fetch(Chunk(first, count, 0, sink, 0, count, settled=RangeSet()))
            self._send_all(encode(Want(((first, first + count),))))

    def cancel(self, tasks: Ranges, does_kill: bool, tag: str = "") -> None:
        self._send(Cancel(tasks, does_kill, tag))

    def rank(self, tag: str, priority: int) -> None:
        self._send(Rank(tag, priority))

    def figures(self) -> Figures:
        """How the session is, by the broker."""
        with self._changed:
            self._ask_count += 1
            number = self._ask_count
        self._send(Ask(number))
        with self._changed:
            if not self._changed.wait_for(lambda: self.lost or self._answered_count >= number, ANSWER_S_MAX):
                raise SessionError(f"the broker has not answered for {ANSWER_S_MAX:g} s; it may be stopped")
            figures = self._figures
            if figures is None or figures.number < number:
                assert self.lost is not None
                raise self.lost
            return figures

    @property
    def _answered_count(self) -> int:
        """Up to which question the broker has answered."""
        return 0 if self._figures is None else self._figures.number

    def is_idle(self) -> bool:
        """Whether no task is under way."""
        return not self._chunks.unsettled_count

    def finish(self, does_drain: bool) -> None:
        """End the session; with `does_drain` after its last task. Returns when the broker has closed."""
        self._is_finishing, self._does_drain = True, does_drain
        with contextlib.suppress(SessionError):
            self._send(Finish(does_drain))
        self._reader.join()
        self._connection.close()

    def leave(self) -> None:
        """Go away; the session stays, with all that it was sent."""
        with contextlib.suppress(SessionError):
            self.figures()  # It has heard everything,
        with self._changed:
            self._changed.wait_for(lambda: self.lost or not self._chunks.has_unaccepted())  # and has it on disk.
        self._is_left = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._connection.close()

    def _heard_while_awaited(self) -> int | None:
        """How often something was heard; None if nothing is awaited."""
        return self._heard_count if self._chunks.unsettled_count or self._is_finishing else None

    def _has_room(self, count: int, byte_count: int) -> bool:
        """One submission is always taken, however large."""
        chunks = self._chunks
        return not chunks.unsettled_count or (
            chunks.unsettled_count + count <= UNSETTLED_COUNT_MAX
            and chunks.unsettled_bytes + byte_count <= UNSETTLED_BYTES_MAX
        )

    def _send(self, message: Cancel | Rank | Ask | Finish) -> None:
        with self._sending:
            self._send_all(encode(message))

    def _send_all(self, data: bytes) -> None:
        """With the lock. What a dead broker of a recoverable session did not take is sent to the next."""
        if self.lost:
            raise self.lost
        try:
            self._connection.sendall(data)
        except OSError:
            if not self._broker.is_recoverable:
                self._reader.join()
                raise self.lost or SessionError(GONE) from None

    def _read(self) -> None:
        """The reading thread: until the session ends."""
        try:
            while True:
                while (messages := receive(self._connection, self._inbox)) is not None:
                    self._heard_count += 1
                    for message in messages:
                        self._hear(message)
                if self._is_over():
                    return
                self._come_back()
        except (WireError, SessionError) as error:
            self._reason = str(error)
        finally:
            self._lose(SessionError(self._reason))

    def _is_over(self) -> bool:
        is_done = self._is_finishing and not (self._does_drain and self._chunks.unsettled_count)
        return is_done or self._is_left or not self._broker.is_recoverable or self._reason != GONE

    def _hear(self, message: Said) -> None:
        match message:
            case Results(first=first, failed=failed, values=values):
                self._settle(first, failed, values)
            case Accepted(stop=stop):
                with self._changed:
                    self._chunks.accept(stop)
                    self._changed.notify_all()
            case Dropped(tasks=tasks, reason=reason):
                for start, stop in tasks:
                    self._drop(start, stop, reason)
            case Refusal(text=text, is_replaced=is_replaced):
                self._reason, self.is_replaced = text, is_replaced
            case Figures(trouble=trouble, number=number):
                self._note_trouble(trouble)
                with self._changed:
                    if number:
                        self._figures = message
                        self._changed.notify_all()

    def _note_trouble(self, text: str) -> None:
        """Whoever waits for tasks should know what these wait for."""
        if text != self._trouble:
            self._trouble = text
            log.warning("session %s %s", self._broker.session, text or "waits no longer: its daemon is back")

    def _come_back(self) -> None:
        """To a new broker, with all that it must know. Whoever wants to send waits meanwhile."""
        with self._sending:
            while True:
                self._connection.close()
                task_count = self._return()
                with self._changed:
                    self._chunks.accept(task_count)
                    wanted, missing = self._chunks.wanted(task_count), self._chunks.unaccepted(task_count)
                    is_asked = self._ask_count > self._answered_count
                ending = [encode(Ask(self._ask_count))] if is_asked else []
                ending += [encode(Finish(self._does_drain))] if self._is_finishing else []
                with contextlib.suppress(OSError):
                    self._connection.sendall(b"".join([*self._definitions, encode(Want(wanted)), *missing, *ending]))
                    return

    def _return(self) -> int:
        """Connect to the broker that there is, or a new one. Returns how many tasks it has. Raises SessionError."""
        for _ in range(RETURNS_MAX):
            self._connection, self._inbox = self._broker.connect(), Inbox()
            try:
                self._connection.sendall(encode(Hello(PROTOCOL_VERSION, "client")))
                return self._welcomed()
            except OSError:
                self._connection.close()
        raise SessionError(f"{RETURNS_MAX} brokers in a row ended at once; see the log in {self._broker.directory}")

    def _welcomed(self) -> int:
        """How many tasks the broker has. Raises OSError if it is gone, and SessionError if it does not want us."""
        while (messages := receive(self._connection, self._inbox)) is not None:
            for message in messages:
                if isinstance(message, Welcome):
                    self.function_count = max(self.function_count, message.function_count)
                    return message.task_count
                self._hear(message)
        if self._reason != GONE:
            raise SessionError(self._reason)
        raise ConnectionResetError(GONE)

    def _settle(self, first: int, failed: tuple[int, ...], values: Packed) -> None:
        with self._changed:
            parts = self._chunks.settle(first, first + len(values))
        for chunk, start, stop in parts:
            if stop - start == len(values):
                chunk.sink.take(chunk.place_of(first), failed, values)
            else:
                wrong = [first + each - start for each in failed if start <= first + each < stop]
                chunk.sink.take(chunk.place_of(start), wrong, values.part(start - first, stop - first))
        self._count_settled(sum(stop - start for _, start, stop in parts))

    def _drop(self, start: int, stop: int, reason: str) -> None:
        with self._changed:
            parts = self._chunks.settle(start, stop)
        for chunk, first, last in parts:
            chunk.sink.drop(chunk.place_of(first), last - first, reason)
        self._count_settled(sum(last - first for _, first, last in parts))

    def _count_settled(self, count: int) -> None:
        with self._changed:
            self.settled_count += count
            self._changed.notify_all()

    def _lose(self, error: SessionError) -> None:
        self._watch.stop()
        with self._changed:
            self.lost = error
            chunks = self._chunks.clear()
            self._changed.notify_all()
        for chunk in chunks:
            chunk.sink.lose(error)
