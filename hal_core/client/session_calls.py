"""The calls of `submit`: many small tasks that come one by one, sent as few vectors.

A call goes out at once if nothing else is under way. Otherwise a second thread sends what has come together until it
gets its turn, which it does as soon as the caller waits for anything. There is no timer.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from typing import Any, Final

from hal_core.client.session_link import SessionLink
from hal_core.client.session_sinks import FutureSink
from hal_core.errors import SessionError
from hal_core.wire.packed import pack

COLLECTED_COUNT_MAX: Final = 256


class TaskFuture(Future[Any]):
    """Cancelling it takes its task back, if no worker is at it; otherwise what comes of that is of no interest."""

    task: int | None = None
    """Its number, when it was sent."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls

    def cancel(self) -> bool:
        was_cancelled = self.cancelled()
        is_cancelled = super().cancel()
        if is_cancelled and not was_cancelled:
            self._calls.take_back(self)
        return is_cancelled


class Calls:
    """One for each link. Any thread may submit."""

    def __init__(self, link: SessionLink) -> None:
        self._link = link
        self._lock = threading.RLock()  # A callback of a future that is lost while we send may submit again.
        self._has_some = threading.Condition(self._lock)
        self._sender: threading.Thread | None = None
        self._is_over = False
        self._function = -1
        self._items: list[bytes] = []
        self._futures: list[TaskFuture] = []

    def submit(self, function: int, item: bytes) -> TaskFuture:
        link = self._link
        link.wait_for_room(1, len(item))
        future = TaskFuture(self)
        with self._lock:
            if function != self._function:
                self._send()
                self._function = function
            self._items.append(item)
            self._futures.append(future)
            if link.is_idle() or len(self._items) >= COLLECTED_COUNT_MAX:
                self._send()
            elif len(self._items) == 1:
                self._wake_sender()
        return future

    def take_back(self, future: TaskFuture) -> None:
        with self._lock:
            if future.task is None and future in self._futures:
                at = self._futures.index(future)
                del self._items[at], self._futures[at]
            elif future.task is not None:
                with contextlib.suppress(SessionError):
                    self._link.cancel(((future.task, future.task + 1),), False)

    def flush(self) -> None:
        """Send what was collected."""
        with self._lock:
            self._send()

    def close(self) -> None:
        with self._lock:
            self._send()
            self._is_over = True
            self._has_some.notify()

    def _wake_sender(self) -> None:
        if self._sender is None:
            self._sender = threading.Thread(target=self._run_sender, name="hal-session-calls", daemon=True)
            self._sender.start()
        self._has_some.notify()

    def _run_sender(self) -> None:
        with self._lock:
            while not self._is_over:
                self._send()
                self._has_some.wait()

    def _send(self) -> None:
        if self._items:
            items, futures = pack(self._items), self._futures
            self._items, self._futures = [], []
            sink = FutureSink(futures)
            try:
                first = self._link.submit(self._function, items, sink, 0)
                for task, future in enumerate(futures, first):
                    future.task = task
            except SessionError as error:
                sink.lose(error)
