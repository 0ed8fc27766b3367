"""How long a plugin may hold up the loop: a step of a task that computes or blocks without waiting is broken off.

A deadline of trio's ends what waits, and is not looked at while something does not. So while a step of a plugin's is
under way, a timer of the process runs; its signal is taken in the middle of that step and raises HeldUp there. Whose a
step is, is known by a context variable, which the tasks that a plugin starts inherit.

Only the plugin's own doing counts: what it computes, by the CPU time of the thread; and that it stands still at one
place, neither computing nor waiting for a processor, which on a busy machine it may have to do. Whoever was broken off
is given twice as long the next time, up to a bound, so that what needs its time on a slow machine gets it in the end.
A loop inside of a C library is not ended by this.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, Final

import attrs
import trio

ALLOWANCE_S: Final = 0.08
ALLOWANCE_S_MAX: Final = 1.0
EXECUTOR_ALLOWANCE_S: Final = 0.5
"""They are the site's own, and what they lose is more: the contact to all of their nodes."""
BEGINNING_ALLOWANCE_S: Final = 30.0
"""Of an executor that begins: the daemon would end, and the next one would take as long."""
AGAIN_S: Final = 0.01
"""After so long it is looked again at a step that is longer than it should be."""
STILL_S: Final = 0.005
"""Who did not move between two looks, and did nothing for so much of that time, blocks."""
NEVER_IN: Final = ("trio.", "hal_core.kernel.", "contextlib", "weakref", "_weakrefset")
"""Modules in whose code nothing is raised, for it might spoil the loop or be lost: soon the step is somewhere else."""
WAITED: Final = "/proc/thread-self/schedstat"
"""Its second number: nanoseconds that the thread could have run and had no processor."""


class HeldUp(BaseException):
    """Raised inside of a plugin. No Exception, so that what a plugin catches does not contain it."""


@attrs.define(eq=False)
class Charge:
    """Whose calls these are, and how long a step of them may take."""

    allowance_s: float = ALLOWANCE_S
    allowance_s_max: float = ALLOWANCE_S_MAX
    is_beginning: bool = False
    """There is nobody yet whom it could hold up: a step may take so much longer."""
    beginning_allowance_s: float = BEGINNING_ALLOWANCE_S
    busy_s: float = 0.0
    """CPU time of all steps so far."""

    @property
    def step_s(self) -> float:
        """How long a step may take now."""
        return self.beginning_allowance_s if self.is_beginning else self.allowance_s

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around every call of the plugin, whether it is awaited or not. Nothing else is to be in it."""
        before = _CHARGED.set(self)
        _WATCH.begin(self)
        try:
            yield
        finally:
            _WATCH.end()
            _CHARGED.reset(before)

    def overdrawn(self) -> HeldUp:
        """To be raised now."""
        text = f"held up HAL for more than {self.step_s:g} s; what takes long belongs into trio.to_thread.run_sync"
        self.allowance_s = max(self.allowance_s, min(2 * self.allowance_s, self.allowance_s_max))
        return HeldUp(text)


_CHARGED: ContextVar[Charge | None] = ContextVar("charged", default=None)


@contextmanager
def watching() -> Iterator[None]:
    """While this is open in a task of the main thread, steps of plugins are broken off. Elsewhere there are no signals,
    and nobody is."""
    if threading.current_thread() is not threading.main_thread() or _WATCH.is_on:
        yield
        return
    before = signal.signal(signal.SIGALRM, _WATCH.ring)
    _WATCH.others = before if callable(before) else None
    trio.lowlevel.add_instrument(_WATCH)
    _WATCH.is_on = True
    try:
        yield
    finally:
        _WATCH.is_on = False
        trio.lowlevel.remove_instrument(_WATCH)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


@attrs.frozen
class _Look:
    """Where a step was at one moment, and what it had done until then."""

    place: tuple[int, int]
    time_s: float = attrs.field(factory=time.monotonic)
    busy_s: float = attrs.field(factory=time.thread_time)
    waited_s: float = attrs.field(factory=lambda: waited_s())

    def is_still(self, before: _Look) -> bool:
        """Whether it has blocked since then."""
        moved_s = self.busy_s - before.busy_s + self.waited_s - before.waited_s
        return self.place == before.place and self.time_s - before.time_s - moved_s >= STILL_S


def waited_s() -> float:
    """How long this thread has waited for a processor; 0 where the kernel does not say."""
    try:
        with open(WAITED, "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class _Watch(trio.abc.Instrument):
    """The one timer of the process, and whose step is under way."""

    def __init__(self) -> None:
        self.is_on = False
        self.others: Callable[[int, FrameType | None], Any] | None = None
        """Whom the signal is for, if it is not for us."""
        self._charge: Charge | None = None
        self._begin_busy_s = 0.0
        self._last: _Look | None = None
        self._timer = (0.0, 0.0)
        """Of others, when ours was set."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        charge = task.context.get(_CHARGED)
        if charge is not None:
            self.begin(charge)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.end()

    def begin(self, charge: Charge) -> None:
        if self.is_on and self._charge is None:
            self._charge, self._last, self._begin_busy_s = charge, None, time.thread_time()
            self._timer = signal.setitimer(signal.ITIMER_REAL, charge.step_s)

    def end(self) -> None:
        charge, self._charge = self._charge, None
        if charge is not None:
            signal.setitimer(signal.ITIMER_REAL, *self._timer)
            charge.busy_s += time.thread_time() - self._begin_busy_s

    def ring(self, number: int, frame: FrameType | None) -> None:
        """The signal: raises what is to end the step, or looks again in a moment."""
        charge = self._charge
        if charge is None or frame is None:
            if self.others is not None:
                self.others(number, frame)
            return
        look, last = _Look((id(frame), frame.f_lasti)), self._last
        is_over = look.busy_s - self._begin_busy_s >= charge.step_s or (last is not None and look.is_still(last))
        if is_over and not str(frame.f_globals.get("__name__")).startswith(NEVER_IN):
            self._last, self._begin_busy_s = None, look.busy_s
            error = charge.overdrawn()
            signal.setitimer(signal.ITIMER_REAL, charge.step_s)
            raise error
        self._last = look
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)


_WATCH: Final = _Watch()
