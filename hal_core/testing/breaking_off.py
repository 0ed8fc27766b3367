"""Break something off after so many steps of its tasks: steps are what happens, a clock would say how fast."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

STEPS_MAX: Final = 100_000


def growing_steps() -> Iterator[int]:
    """1, 2, 3, 5, 8, ...: near the beginning each place is tried, later ever fewer."""
    step, following = 1, 2
    while step < STEPS_MAX:
        yield step
        step, following = following, step + following


async def ends_within(steps: int, act: Callable[[], Awaitable[object]], look: Callable[[str], None]) -> bool:
    """Do it, and break off after so many steps, after a look at what others would see. Says whether it ended before."""

    async def break_off() -> None:
        await counter.is_reached.wait()
        look(f"{steps} steps into a transfer")
        scope.cancel()

    counter = _StepCounter(steps)
    trio.lowlevel.add_instrument(counter)
    try:
        with trio.CancelScope() as scope, one_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(break_off)
                await act()
                nursery.cancel_scope.cancel()
        return not scope.cancelled_caught
    finally:
        trio.lowlevel.remove_instrument(counter)


@contextmanager
def one_error() -> Iterator[None]:
    """Of several tasks that failed the first is what its reader wants to see, bare."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors, _ = group.split(lambda error: not isinstance(error, (trio.Cancelled, BaseExceptionGroup)))
        if errors is None:
            raise
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


class _StepCounter(trio.abc.Instrument):
    """Sets an event when tasks have taken so many steps."""

    def __init__(self, count: int) -> None:
        self.is_reached = trio.Event()
        self._left = count

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self.is_reached.set()
