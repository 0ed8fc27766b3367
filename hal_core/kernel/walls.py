"""Walls around plugins: what a call into one may raise.

A wall lets through what is not the plugin's: that somebody cancels us, or wants the program to end.
"""

from __future__ import annotations

import trio

_PASSING = (trio.Cancelled, KeyboardInterrupt)


def passes(error: BaseException) -> bool:
    """Whether a wall must let it through. SystemExit is the plugin's own, and ends nothing."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(_PASSING) is not None
    return isinstance(error, _PASSING)
