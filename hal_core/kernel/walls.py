"""Walls around plugins: what a call into one may raise, and how long one that does not wait may take.

A wall lets through what is not the plugin's: that somebody cancels us, or wants the program to end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import trio

_PASSING = (trio.Cancelled, KeyboardInterrupt)


def passes(error: BaseException) -> bool:
    """Whether a wall must let it through. SystemExit is the plugin's own, and ends nothing."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(_PASSING) is not None
    return isinstance(error, _PASSING)


@contextmanager
def alarm(deadline_s: float, what: str) -> Iterator[None]:
    """Raise TooSlowError where a call that does not wait still computes after so many seconds of CPU time.

    By the one timer of that kind that a process has (setitimer): in the main thread only, and a call within a call has
    the outer one's. CPU time, because no busy machine stretches it. It interrupts Python, not a loop inside of a C
    library, and not one that sleeps.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_VIRTUAL)[0]:
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise trio.TooSlowError(f"{what} took longer than {deadline_s:g} s")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, deadline_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
