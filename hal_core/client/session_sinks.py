"""Where the results of a session's tasks go in the client: into futures, or into the results of a map.

Sinks are given whole vectors by the thread that reads; only who wants a result opens them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol

from hal_core.client.task_codec import loads, loads_error
from hal_core.errors import SessionError, TaskFailed
from hal_core.wire.packed import Packed


class Sink(Protocol):
    """Told of tasks by their places in it. Called by the reading thread, each place once."""

    def take(self, place: int, failed: Sequence[int], values: Packed) -> None: ...
    def drop(self, place: int, count: int, reason: str) -> None: ...
    def lose(self, error: SessionError) -> None:
        """The session is over; what is not here will not come."""


class FutureSink:
    """One future for each task."""

    def __init__(self, futures: Sequence[Future[Any]]) -> None:
        self._futures = futures

    def take(self, place: int, failed: Sequence[int], values: Packed) -> None:
        wrong = set(failed)
        for at, value in enumerate(values.items()):
            future = self._futures[place + at]
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if at in wrong:
                    future.set_exception(loads_error(value))
                else:
                    future.set_result(loads(value))
            except Exception as error:  # noqa: BLE001  a result that cannot be loaded here is its task's failure
                future.set_exception(error)

    def drop(self, place: int, count: int, reason: str) -> None:
        for future in self._futures[place : place + count]:
            if future.set_running_or_notify_cancel():
                future.set_exception(dropped_error(reason))

    def lose(self, error: SessionError) -> None:
        for future in self._futures:
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(error)


class ResultSink:
    """The results of one map, in pieces as they came. `next_piece` hands them out in order, or as they came."""

    def __init__(self, in_order: bool = True, on_change: Callable[[], None] | None = None) -> None:
        """`on_change` is called after each piece, by the thread that brings it."""
        self._in_order = in_order
        self._on_change = on_change or _nothing
        self._changed = threading.Condition()
        self._pieces: dict[int, tuple[int, Callable[[], Iterator[Any]]]] = {}
        self._lost: SessionError | None = None

    def take(self, place: int, failed: Sequence[int], values: Packed) -> None:
        self._add(place, len(values), lambda: _opened(failed, values))

    def drop(self, place: int, count: int, reason: str) -> None:
        self._add(place, count, lambda: iter([Failed(dropped_error(reason))] * count))

    def lose(self, error: SessionError) -> None:
        with self._changed:
            self._lost = error
            self._changed.notify_all()
        self._on_change()

    def is_ready(self, place: int) -> bool:
        """Whether `next_piece` would not wait."""
        return place in self._pieces if self._in_order else bool(self._pieces)

    def would_wait(self, place: int) -> bool:
        """Whether `next_piece` has nothing to say yet, not even that the session is lost."""
        return not self.is_ready(place) and self._lost is None

    def next_piece(self, place: int, timeout_s: float | None = None) -> tuple[int, int, Iterator[Any]]:
        """(place, count, values) of the piece at `place`, or of any piece if order does not matter. Waits for it.

        A value that is a `Failed` is an error. Raises SessionError, or TimeoutError.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.is_ready(place) or self._lost, timeout_s):
                raise TimeoutError(f"no result within {timeout_s:g} s")
            if not self.is_ready(place):
                assert self._lost is not None
                raise self._lost
            at = place if self._in_order else next(iter(self._pieces))
            count, opened = self._pieces.pop(at)
        return at, count, opened()

    def _add(self, place: int, count: int, opened: Callable[[], Iterator[Any]]) -> None:
        with self._changed:
            self._pieces[place] = (count, opened)
            self._changed.notify_all()
        self._on_change()


class Failed:
    """An error among values."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _nothing() -> None:
    pass


def dropped_error(reason: str) -> BaseException:
    return CancelledError(reason) if reason == "cancelled" else TaskFailed(reason)


def _opened(failed: Sequence[int], values: Packed) -> Iterator[Any]:
    if not failed:
        return map(loads, values.items())
    wrong = set(failed)
    return (Failed(loads_error(value)) if at in wrong else loads(value) for at, value in enumerate(values.items()))
