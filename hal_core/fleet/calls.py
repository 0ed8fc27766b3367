"""Blocking calls in threads: so many at once, and none waited for beyond its deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from hal_core.errors import HalError, PluginError, Unavailable

T = TypeVar("T")


class Calls:
    """A call that is given up is left to its thread, which keeps its place until it ends: a dead server cannot make
    threads without end. What it did is for the caller to find out. One given up before it began never begins."""

    def __init__(self, count_max: int, deadline_s: float) -> None:
        self._limiter = trio.CapacityLimiter(count_max)
        self._deadline_s = deadline_s

    async def call(self, what: str, act: Callable[[], T], withdrawn: Callable[[], None] = lambda: None) -> T:
        """What `act` returns or raises. Raises Unavailable when the deadline is over, PluginError if it raises what is
        no HalError. `withdrawn` is called if it was given up before it began."""
        ticket = [act]  # Whoever takes it, thread or waiter, decides whether it begins: a pop is atomic.
        answer: list[T] = []

        def begin() -> None:
            answer.extend(each() for each in _taken(ticket))

        try:
            with trio.fail_after(self._deadline_s):
                await trio.to_thread.run_sync(begin, abandon_on_cancel=True, limiter=self._limiter)
                return answer[0]
        except trio.TooSlowError:
            text = f"{what}: no answer within {self._deadline_s:g} s"
            raise Unavailable(text, retry_after_s=self._deadline_s) from None
        except HalError:
            raise
        except Exception as error:  # the wall around a plugin
            raise PluginError(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            for _ in _taken(ticket):
                withdrawn()


def _taken(ticket: list[Callable[[], T]]) -> list[Callable[[], T]]:
    """What was on it, for the first who asks; nothing for the second."""
    try:
        return [ticket.pop()]
    except IndexError:
        return []
