"""The calls of `submit`: many small tasks that come one by one, sent as few vectors.

A call goes out at once if nothing else is under way. Otherwise a second thread sends what has come together until it
gets its turn, which it does as soon as the caller waits for anything. There is no timer.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any, Final

from hal_core.client.session_link import SessionLink
from hal_core.client.session_sinks import FutureSink
from hal_core.errors import SessionError
from hal_core.wire.packed import pack

COLLECTED_COUNT_MAX: Final = 256


class Calls:
    """One for each link. Any thread may submit."""

    def __init__(self, link: SessionLink) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._has_some = threading.Condition(self._lock)
        self._sender: threading.Thread | None = None
        self._is_over = False
        self._function = -1
        self._items: list[bytes] = []
        self._futures: list[Future[Any]] = []

    def submit(self, function: int, item: bytes) -> Future[Any]:
        link = self._link
        link.wait_for_room(1, len(item))
        future: Future[Any] = Future()
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
                self._link.submit(self._function, items, sink, 0)
            except SessionError as error:
                sink.lose(error)
