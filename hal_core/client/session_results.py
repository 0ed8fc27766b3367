"""The results of `Session.map`: a sequence that is filled while it is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, TypeVar

from hal_core.client.session_sinks import Failed, ResultSink

T = TypeVar("T")


class Results(Iterator[T]):
    """The results of a map, in order. Iterate (again and again), index, or take `next`; each waits for what it needs.

    A task that failed raises its error there.
    """

    def __init__(self, sink: ResultSink, count: int, deadline_s: float | None) -> None:
        self._sink = sink
        self._count = count
        self._deadline_s = deadline_s
        self._values: list[Any] = []
        self._next = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        at = 0
        while at < self._count:
            if at == len(self._values):
                self._fetch()
            stop = len(self._values)
            for value in self._values[at:stop]:
                if type(value) is Failed:
                    raise value.error
                yield value
            at = stop

    def __next__(self) -> T:
        if self._next == self._count:
            raise StopIteration
        self._next += 1
        return self[self._next - 1]

    def __getitem__(self, index: int) -> T:
        at = index + self._count if index < 0 else index
        if not 0 <= at < self._count:
            raise IndexError(f"result {index} of {self._count}")
        while at >= len(self._values):
            self._fetch()
        value = self._values[at]
        if type(value) is Failed:
            raise value.error
        return value  # type: ignore[no-any-return]

    def _fetch(self) -> None:
        left_s = None if self._deadline_s is None else max(self._deadline_s - time.monotonic(), 0)
        _, _, values = self._sink.next_piece(len(self._values), left_s)
        self._values += values
