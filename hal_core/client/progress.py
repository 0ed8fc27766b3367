"""A line on a terminal that is written over and over: how much is done, how fast that goes, and the time left.

Drawn by a thread of its own, so whoever waits for results needs to do nothing. Not a terminal: nothing is drawn.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

DRAW_S: Final = 0.2
SPAN_S: Final = 10.0
"""The rate is that of so many seconds, so that it follows tasks that become longer."""
BAR_LETTERS: Final = 24


class Progress:
    """A context. `counts` gives (done, all) as they are now, from any thread."""

    def __init__(self, counts: Callable[[], tuple[int, int]], stream: TextIO | None = None) -> None:
        self._counts = counts
        self._stream = sys.stderr if stream is None else stream
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._thread = threading.Thread(target=self._draw, name="hal-progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        begin_s = time.monotonic()
        seen = deque([(begin_s, self._counts()[0])])
        while True:
            is_over = self._is_over.wait(DRAW_S)
            now_s, (done, total) = time.monotonic(), self._counts()
            seen.append((now_s, done))
            while len(seen) > 2 and seen[1][0] < now_s - SPAN_S:
                seen.popleft()
            rate_per_s = (done - seen[0][1]) / max(now_s - seen[0][0], DRAW_S)
            self._stream.write(f"\r\033[K{line(done, total, rate_per_s, now_s - begin_s)}{chr(10) if is_over else ''}")
            self._stream.flush()
            if is_over:
                return


def line(done: int, total: int, rate_per_s: float, elapsed_s: float) -> str:
    """One line of at most 80 letters. At the end, when nothing is left, the time it took stands for the time left."""
    share = done / total if total else 0.0
    full = int(share * BAR_LETTERS)
    left_s = (total - done) / rate_per_s if rate_per_s else None
    time_text = clock(elapsed_s) if done == total else f"{clock(left_s)} left"
    return f"[{'#' * full}{' ' * (BAR_LETTERS - full)}] {done}/{total} {rate_text(rate_per_s)} {time_text}"


def rate_text(rate_per_s: float) -> str:
    return f"{rate_per_s:.0f}/s" if rate_per_s >= 10 else f"{rate_per_s:.2g}/s"


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
