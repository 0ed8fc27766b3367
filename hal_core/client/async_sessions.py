"""Sessions for programs of trio or asyncio: `async with client.session(workers=2) as s`. No call blocks the loop.

All that is said of `Session` holds; a thread reads its results, and the loop is woken when there are some.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from hal_core.client.event_loops import Bell, in_thread, make_bell, to_its_end
from hal_core.client.progress import Progress
from hal_core.client.session_commands import CommandEnd, run_command
from hal_core.client.session_feed import STREAM_COUNT_MAX
from hal_core.client.session_shared import Service, Shared
from hal_core.client.session_sinks import Failed, ResultSink
from hal_core.client.sessions import Session
from hal_core.errors import SessionError
from hal_core.wire.sessions import Figures

P = ParamSpec("P")
T = TypeVar("T")


class AsyncSession:
    """An open session. Any number of tasks of the loop may use it at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def call(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> T:
        """One task; its result, or its error. If the caller is cancelled, so is the task, unless it runs already."""
        bell = make_bell()
        future = await to_its_end(partial(self._session.submit, function, *arguments, **keywords))
        future.add_done_callback(lambda _: bell.ring())
        try:
            while not future.done():
                await bell.wait()
        finally:
            if not future.done():
                await to_its_end(future.cancel)
        return future.result()

    async def map(
        self, function: Callable[..., T], *iterables: Iterable[object], in_order: bool = True
    ) -> AsyncIterator[T]:
        """A task for each item, and their results: in the order of the items, or as they come. Memory is bounded: items
        are taken while results are. A task that failed raises its error here.

        Close it when leaving early: `async with contextlib.aclosing(s.map(f, items)) as results`.
        """
        bell = make_bell()
        feed = await in_thread(partial(self._session.feed, function, iterables))
        sink = ResultSink(in_order, bell.ring)
        given, has_more = 0, True
        while True:
            while has_more and feed.count - given < STREAM_COUNT_MAX and not sink.is_ready(given):
                if has_more := bool(things := feed.take()):
                    await in_thread(partial(feed.send, things, sink))
            if given == feed.count:
                return
            await _until_ready(sink, given, bell)
            _, count, values = sink.next_piece(given, 0)
            for value in values:
                if type(value) is Failed:
                    raise value.error
                yield value
            given += count

    def run(self, commands: Iterable[Sequence[str]], in_order: bool = True) -> AsyncIterator[CommandEnd]:
        """A process for each command (a list of words, no shell), and how they ended."""
        return self.map(run_command, commands, in_order=in_order)

    def using(
        self, retries: int = 0, priority: int = 0, time_limit_s: float = 0.0, tags: Sequence[str] | str = ()
    ) -> AsyncSession:
        """As `Session.using`."""
        return AsyncSession(self._session.using(retries, priority, time_limit_s, tags))

    async def cancel(self, running: bool = False, tag: str = "") -> None:
        """As `Session.cancel`."""
        await to_its_end(partial(self._session.cancel, running, tag))

    async def set_priority(self, priority: int, tag: str) -> None:
        """As `Session.set_priority`."""
        await to_its_end(partial(self._session.set_priority, priority, tag))

    async def adjust(self, **wanted: int | None) -> None:
        """As `Session.adjust`."""
        await to_its_end(partial(self._session.adjust, **wanted))

    async def figures(self) -> Figures:
        """As `Session.figures`."""
        return await in_thread(self._session.figures)

    async def share(self, value: T) -> Shared[T]:
        """As `Session.share`."""
        return await to_its_end(partial(self._session.share, value))

    def service(self, factory: Callable[..., Any], *arguments: Any) -> Service:
        """As `Session.service`."""
        return self._session.service(factory, *arguments)

    def progress(self) -> Progress:
        """As `Session.progress`."""
        return self._session.progress()

    @property
    def id(self) -> str:
        """For `attach` and `hal session`."""
        return self._session.id

    async def leave(self) -> str:
        """As `Session.leave`."""
        return await to_its_end(self._session.leave)


class OpenedLater:
    """`async with` opens the session, and ends it: after its last task, or at once if the block ends by an error."""

    def __init__(self, opener: Callable[[], Session]) -> None:
        self._opener = opener
        self._session: Session | None = None

    async def __aenter__(self) -> AsyncSession:
        self._session = await to_its_end(self._opener)
        return AsyncSession(self._session)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        is_over = False
        try:
            if kind is None:
                await in_thread(self._session.shutdown)
                is_over = True
        finally:
            if not is_over:
                await _end_now(self._session)


async def _until_ready(sink: ResultSink, place: int, bell: Bell) -> None:
    while sink.would_wait(place):
        await bell.wait()


async def _end_now(session: Session) -> None:
    """Although somebody may wait already for its last task."""

    def end() -> None:
        with contextlib.suppress(SessionError):
            session.cancel(running=True)
        session.shutdown()

    await to_its_end(end)
