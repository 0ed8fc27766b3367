"""A worker: a resident process that does batch after batch. No event loop; the socket's buffer is its queue.

Results go out when a batch is done. If it takes longer than `HELD_NS`, what is done so far goes first: between two
tasks, or from a second thread while a long one runs. So no result waits for the next task, and no timer holds one back.
The same thread gives the tasks back that wait here behind one that takes longer than `LATE_NS`, for others to do; and
ends the worker when a task runs longer than it may: the broker hears of the failure, and of the end.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Final

from hal_core.client.session_shared import here
from hal_core.client.task_codec import dumps_error
from hal_core.errors import TaskFailed
from hal_core.sessions.execution import Run, prepare
from hal_core.wire.packed import pack
from hal_core.wire.sessions import (
    PROTOCOL_VERSION,
    Batch,
    Data,
    Define,
    Finish,
    GivenBack,
    Hello,
    Inbox,
    Leaving,
    Need,
    Results,
    Said,
    encode,
    receive,
)

HELD_NS: Final = 120_000_000
"""More than half of what a worker holds (`WINDOW_NS`): of short tasks a batch is one message back, not two."""
LATE_NS: Final = HELD_NS
"""More than `LONG_NS`: where all tasks take as long, none has another behind it."""
OVERRUN_EXIT_CODE: Final = 75
"""Of a worker that ended because a task took too long."""


class Failure(bytes):
    """A value that is an error. One object, so that the second thread sees a whole one or none."""


class Worker:
    """`run` returns when the broker closes the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inbox = Inbox()
        self._later: list[Said] = []
        """What came while a task waited for common data."""
        self._functions: dict[int, Run] = {}
        self._limits_ns: dict[int, int] = {}
        self._entered = contextlib.ExitStack()
        self._lock = threading.Lock()
        """Of the connection, to write; with `can_leave` also to read, for TLS does not bear both at once."""
        self._is_watched = threading.Event()
        self._is_at_work = False
        self._turn = 0
        self._first = self._stop = 0
        """Of the batch: the first task that was not told yet, and the end."""
        self._rest: Iterator[bytes] = iter(())
        """Its items that were not begun. Of a list, so that each is taken once, whichever thread takes it."""
        self._begin_ns = 0
        self._values: list[bytes] = []
        self._has_failures = False
        self._limit_ns = 0
        self._current = (-1, 0)
        """The task that runs and when it began, if it has a limit."""
        self._is_leaving = False
        self.can_leave = False
        """Whether `leave` may be called."""

    def run(self, secret: str = "", name: str = "", host: str = "") -> bool:
        """Returns whether the session is over; otherwise the broker is gone, or we were asked to leave."""
        here.fetch, here.entered = self._fetch, self._entered
        with contextlib.suppress(OSError), self._entered:
            self._connection.sendall(encode(Hello(PROTOCOL_VERSION, "worker", secret, name, os.getpid(), host)))
            threading.Thread(target=self._watch, daemon=True).start()
            while not self._is_leaving and (messages := self._receive()) is not None:
                for message in messages:
                    if isinstance(message, Batch):
                        self._do(message)
                    elif isinstance(message, Define):
                        self._define(message)
                    elif isinstance(message, Finish):
                        here.forget()
                        return True
        return False

    def leave(self) -> None:
        """From another thread: go when the task is done that is being done. The broker gives the others to others."""
        self._is_leaving = True
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(encode(Leaving()))

    def _fetch(self, digest: str) -> bytes:
        """Called by a task. Raises OSError if the broker has gone."""
        with self._lock:
            self._connection.sendall(encode(Need(digest)))
        body: bytes | None = None
        later = []
        while body is None:
            for message in self._receive() or [Data(digest, b"")]:
                if isinstance(message, Data):
                    body = message.body
                else:
                    later.append(message)
        self._later += later
        return body

    def _receive(self) -> list[Said] | None:
        if self._later:
            later, self._later = self._later, []
            return later
        if not self.can_leave:
            return receive(self._connection, self._inbox)
        if not (isinstance(self._connection, ssl.SSLSocket) and self._connection.pending()):
            select.select([self._connection], [], [])
        with self._lock:
            return receive(self._connection, self._inbox)

    def _define(self, definition: Define) -> None:
        self._limits_ns[definition.number] = int(definition.time_limit_s * 1e9)
        try:
            self._functions[definition.number] = prepare(definition, self._entered)
        except BaseException as error:  # noqa: BLE001  a function that cannot be loaded fails its tasks, not the worker
            self._functions[definition.number] = _always(error)

    def _do(self, batch: Batch) -> None:
        function, clock, values = self._functions[batch.function], time.perf_counter_ns, self._values
        rest = iter(list(batch.items.items()))
        with self._lock:
            if batch.turn != self._turn:
                return  # It was given back before it was read.
            self._rest, self._first, self._stop = rest, batch.first, batch.first + len(batch.items)
        limit_ns = self._limit_ns = self._limits_ns[batch.function]
        self._begin_ns = clock()
        self._is_at_work = True
        if not self._is_watched.is_set():
            self._is_watched.set()
        due_ns = self._begin_ns + HELD_NS
        for task, item in enumerate(rest, batch.first):
            if self._is_leaving:
                break
            if limit_ns:
                self._current = (task, clock())
            try:
                value = function(item)
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its result
                self._has_failures = True
                value = Failure(dumps_error(error))
            values.append(value)
            if clock() > due_ns:
                self._send()
                due_ns = clock() + HELD_NS
        self._is_at_work = False
        self._limit_ns = 0
        self._send()

    def _send(self) -> None:
        """What is done and was not sent yet."""
        with self._lock:
            self._send_locked(self._values[:])

    def _send_locked(self, values: list[bytes]) -> None:
        if not values:
            return
        failed: tuple[int, ...] = ()
        if self._has_failures:
            failed = tuple(at for at, value in enumerate(values) if isinstance(value, Failure))
        now_ns = time.perf_counter_ns()
        results = Results(self._first, failed, pack(values), now_ns - self._begin_ns)
        self._first += len(values)
        self._begin_ns = now_ns
        del self._values[: len(values)]
        self._connection.sendall(encode(results))

    def _watch(self) -> None:
        """The second thread: it looks every `HELD_NS` as long as there is work."""
        pause_s, late_count = HELD_NS / 1e9, -(-LATE_NS // HELD_NS)
        seen: object = None
        seen_count = 0
        while True:
            self._is_watched.wait()
            told_ns = self._begin_ns
            time.sleep(pause_s)
            self._is_watched.clear()  # In this order: who begins sets it, unless it finds it set.
            if not self._is_at_work:
                seen = None
                continue
            self._is_watched.set()
            running = self._rest, self._first + len(self._values)
            seen_count = seen_count + 1 if running == seen else 0
            seen = running
            with contextlib.suppress(OSError):
                if self._values and self._begin_ns == told_ns:
                    self._send()
                if seen_count == late_count:
                    self._give_back()
            if self._limit_ns and time.perf_counter_ns() - self._current[1] > self._limit_ns:
                self._end_overrun(*self._current)

    def _give_back(self) -> None:
        """What was not begun, here and on its way. What was is told as ever."""
        with self._lock:
            kept_stop = self._stop - len(list(self._rest))
            self._turn += 1
            self._connection.sendall(encode(GivenBack(kept_stop - self._first)))

    def _end_overrun(self, task: int, begin_ns: int) -> None:
        """There is no other way to end a task than to end its process."""
        with self._lock:
            values = self._values[:]
            limit_ns = self._limit_ns
            if self._first + len(values) != task or not limit_ns:
                return  # It was done a moment ago.
            self._has_failures = True
            error = TaskFailed(f"the task took longer than its limit of {limit_ns / 1e9:g} s")
            with contextlib.suppress(OSError):
                self._send_locked([*values, Failure(dumps_error(error))])
            os._exit(OVERRUN_EXIT_CODE)


def _always(error: BaseException) -> Run:
    """A function that could not be loaded: each of its tasks fails with the reason."""
    trace = error.__traceback__

    def run(item: bytes) -> bytes:
        raise error.with_traceback(trace)

    return run
