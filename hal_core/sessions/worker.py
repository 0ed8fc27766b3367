"""A worker: a resident process that does batch after batch. No event loop; the socket's buffer is its queue.

Results go out when a batch is done. If it takes longer than `HELD_NS`, what is done so far goes first: between two
tasks, or from a second thread while a long one runs. So no result waits for the next task, and no timer holds one back.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import Final

from hal_core.client.task_codec import dumps_error
from hal_core.sessions.execution import Run, prepare
from hal_core.wire.packed import pack
from hal_core.wire.sessions import PROTOCOL_VERSION, Batch, Define, Finish, Hello, Inbox, Results, encode, receive

HELD_NS: Final = 10_000_000


class Failure(bytes):
    """A value that is an error. One object, so that the second thread sees a whole one or none."""


class Worker:
    """`run` returns when the broker closes the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._functions: dict[int, Run] = {}
        self._entered = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._is_at_work = threading.Event()
        self._first = 0
        self._begin_ns = 0
        self._values: list[bytes] = []
        self._has_failures = False

    def run(self, secret: str = "", name: str = "") -> bool:
        """Returns whether the session is over; otherwise the broker is gone."""
        inbox = Inbox()
        with contextlib.suppress(OSError), self._entered:
            self._connection.sendall(encode(Hello(PROTOCOL_VERSION, "worker", secret, name, os.getpid())))
            threading.Thread(target=self._watch, daemon=True).start()
            while (messages := receive(self._connection, inbox)) is not None:
                for message in messages:
                    if isinstance(message, Batch):
                        self._do(message)
                    elif isinstance(message, Define):
                        self._define(message)
                    elif isinstance(message, Finish):
                        return True
        return False

    def _define(self, definition: Define) -> None:
        try:
            self._functions[definition.number] = prepare(definition, self._entered)
        except BaseException as error:  # noqa: BLE001  a function that cannot be loaded fails its tasks, not the worker
            self._functions[definition.number] = _always(error)

    def _do(self, batch: Batch) -> None:
        function, clock, values = self._functions[batch.function], time.perf_counter_ns, self._values
        self._first, self._begin_ns = batch.first, clock()
        if len(batch.items) > 1:
            self._is_at_work.set()
        due_ns = self._begin_ns + HELD_NS
        for item in batch.items.items():
            try:
                value = function(item)
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its result
                self._has_failures = True
                value = Failure(dumps_error(error))
            values.append(value)
            if clock() > due_ns:
                self._send()
                due_ns = clock() + HELD_NS
        self._is_at_work.clear()
        self._send()

    def _send(self) -> None:
        """What is done and was not sent yet."""
        with self._lock:
            if not (values := self._values[:]):
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
        """The second thread: send what is done while the next task takes long."""
        pause_s = HELD_NS / 1e9
        while True:
            self._is_at_work.wait()
            done_ns = self._begin_ns
            time.sleep(pause_s)
            if self._is_at_work.is_set() and self._values and self._begin_ns == done_ns:
                with contextlib.suppress(OSError):
                    self._send()


def _always(error: BaseException) -> Run:
    """A function that could not be loaded: each of its tasks fails with the reason."""
    trace = error.__traceback__

    def run(item: bytes) -> bytes:
        raise error.with_traceback(trace)

    return run
