"""Walls around plugins: what a call into one may raise, and how long one that does not wait may take.

A wall lets through what is not the plugin's: that somebody cancels us, or wants the program to end.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

from hal_core.errors import HalError

_PASSING = (trio.Cancelled, KeyboardInterrupt)
_RINGS: Final = {signal.ITIMER_REAL: signal.SIGALRM, signal.ITIMER_VIRTUAL: signal.SIGVTALRM}
"""Timer of the process -> the signal that it sends."""


def passes(error: BaseException) -> bool:
    """Whether a wall must let it through. SystemExit is the plugin's own, and ends nothing."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(_PASSING) is not None
    return isinstance(error, _PASSING)


def told(error: BaseException) -> str:
    """What a plugin raised, also if that cannot be shown: its class is the plugin's, too."""
    try:
        return str(error) if isinstance(error, HalError) else repr(error)
    except BaseException as worse:
        if passes(worse):
            raise
        return f"{type(error).__name__}, which cannot be shown"


@contextmanager
def alarm(timer: int, after_s: float, error: BaseException) -> Iterator[None]:
    """Raise the error inside, after so many seconds. In the main thread only.

    `signal.ITIMER_REAL` also ends what sleeps; `signal.ITIMER_VIRTUAL` counts CPU time, as no other work stretches it.
    The process has one timer of each kind (setitimer), which is put back. Neither ends a loop inside of a C library.
    """
    is_armed = True

    def ring(_number: int, _frame: FrameType | None) -> None:
        if is_armed:  # It may ring while it is being taken down.
            raise error

    before = signal.signal(_RINGS[timer], ring)
    left_s = signal.setitimer(timer, after_s)
    try:
        yield
    finally:
        is_armed = False
        signal.setitimer(timer, *left_s)
        signal.signal(_RINGS[timer], before)
