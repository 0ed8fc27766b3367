"""Sessions read in threads; this is how a program of trio or asyncio waits for them without standing still."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Bell(Protocol):
    """Rung by any thread, and heard by one task of the loop. What was rung before `wait` is not lost."""

    def ring(self) -> None: ...
    async def wait(self) -> None: ...


def is_trio() -> bool:
    """Whether the caller runs in trio; otherwise it is asyncio."""
    return trio.lowlevel.in_trio_run()


def make_bell() -> Bell:
    return TrioBell() if is_trio() else AsyncioBell()


async def in_thread(call: Callable[[], T]) -> T:
    """What it returns. If the caller is cancelled, it goes on alone and its result is lost."""
    if is_trio():
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
    return await asyncio.to_thread(call)


async def to_its_end(call: Callable[[], T]) -> T:
    """As `in_thread`, and a cancelled caller waits: for what is short and must happen."""
    if is_trio():
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(call)
    return await _shielded(asyncio.to_thread(call))


async def _shielded(work: Awaitable[T]) -> T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class TrioBell:
    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._event = trio.Event()

    def ring(self) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # Nobody waits any more.
            self._token.run_sync_soon(self._set)

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()

    def _set(self) -> None:
        self._event.set()


class AsyncioBell:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()
