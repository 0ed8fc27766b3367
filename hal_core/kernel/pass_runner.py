"""Where a pass of the engine is computed: in a thread of its own, so that an engine that computes for long, or blocks,
holds up the decisions that wait for it and nobody else.

Changing threads costs a short pass more than computing it. So an engine whose last passes were short is asked on the
loop, with an alarm; if that rings, the pass is computed once more in a thread, as are those that follow.

A pass that is not done in time in its thread is broken off: an exception is raised there, which ends what runs in
Python. What is inside of a C library ends when it returns to Python. Until then its thread is left behind, to whose
result nobody listens, and of those there may be only a few.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import attrs
import outcome
import trio

from hal_core.errors import PluginError
from hal_core.kernel.walls import alarm
from hal_core.models.plan import Plan

Propose = Callable[[], Plan]
RunPass = Callable[[Propose], Awaitable[Plan]]
"""Computes a pass, and raises what it raises; nothing is decided before it is done."""

SHORT_S: Final = 0.01
"""CPU time of a pass that the loop can spare."""
SHORT_COUNT: Final = 20
"""So many of them in a row, and the next one is computed on the loop."""
ALARM_S: Final = 0.08
"""The loop waits no longer for a pass."""
DEADLINE_S: Final = 30.0
"""A pass that takes longer is broken off: a hundred times what a hundred thousand jobs take on a quiet machine."""
GRACE_S: Final = 1.0
"""So long what was broken off has to end."""
LEFT_BEHIND_MAX: Final = 3


async def run_here(propose: Propose) -> Plan:
    """On the loop, for those to whom time is not real."""
    return propose()


class PassRunner:
    """Runs one pass after the other, on the loop or in a thread. To be used from the main thread."""

    def __init__(self, deadline_s: float = DEADLINE_S, grace_s: float = GRACE_S) -> None:
        self._deadline_s = deadline_s
        self._grace_s = grace_s
        self._short_count = 0
        self._left_behind: list[_Pass] = []

    async def run(self, propose: Propose) -> Plan:
        """The plan. Raises what the engine raises, and TooSlowError if the pass was broken off."""
        if self._short_count >= SHORT_COUNT:
            self._short_count = 0
            with suppress(_Late), alarm(signal.ITIMER_REAL, ALARM_S, _Late()):
                started_s = time.thread_time()
                plan = propose()
                self._short_count = SHORT_COUNT if time.thread_time() - started_s < SHORT_S else 0
                return plan
        return await self._run_aside(propose)

    async def _run_aside(self, propose: Propose) -> Plan:
        self._left_behind = [each for each in self._left_behind if not each.done.is_set()]
        if len(self._left_behind) >= LEFT_BEHIND_MAX:
            raise trio.TooSlowError(f"{len(self._left_behind)} passes that were broken off have not ended yet")
        running = _Pass(propose)
        running.start()
        try:
            with trio.move_on_after(self._deadline_s):
                await running.done.wait()
            if not running.done.is_set():
                running.break_off()
                with trio.move_on_after(self._grace_s):
                    await running.done.wait()
                raise trio.TooSlowError(f"a pass took longer than {self._deadline_s:g} s")
        finally:
            if not running.done.is_set():
                running.break_off()
                self._left_behind.append(running)
        assert running.result is not None
        self._short_count = self._short_count + 1 if running.took_s < SHORT_S else 0
        return running.result.unwrap()


class _Late(BaseException):
    """The alarm rang. No Exception, so that what an engine catches does not contain it."""


@attrs.define(eq=False)
class _Pass:
    """One pass in one thread."""

    propose: Propose
    done: trio.Event = attrs.Factory(trio.Event)
    result: outcome.Outcome[Plan] | None = None
    took_s: float = 0.0
    """CPU time of its thread."""
    _thread: int | None = None
    _lock: threading.Lock = attrs.Factory(threading.Lock)
    """Held by whoever looks whether the thread is still inside, so that nothing is raised in what it does next."""

    def start(self) -> None:
        token = trio.lowlevel.current_trio_token()

        def deliver(result: outcome.Outcome[Plan]) -> None:
            self.result = result
            with suppress(trio.RunFinishedError):  # The daemon may have ended meanwhile.
                token.run_sync_soon(self.done.set)

        trio.lowlevel.start_thread_soon(self._compute, deliver, "hal pass")

    def _compute(self) -> Plan:
        with self._lock:
            self._thread = threading.get_ident()
        started_s = time.thread_time()
        try:
            return self.propose()
        except KeyboardInterrupt as error:  # Ctrl-C goes to the main thread: this one the engine raised itself.
            raise PluginError("the engine raised KeyboardInterrupt") from error
        finally:
            self.took_s = time.thread_time() - started_s
            with self._lock:
                self._thread = None

    def break_off(self) -> None:
        """Raise TooSlowError in the thread, as soon as it runs Python. Nothing, if the pass is done."""
        with self._lock:
            if self._thread is not None:
                thread, error = ctypes.c_ulong(self._thread), ctypes.py_object(trio.TooSlowError)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)
