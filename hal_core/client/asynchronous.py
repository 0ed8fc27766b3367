"""`AsyncClient`: HAL from a trio program. The same calls as `Client`; any number of tasks may use one at a time.

Its sessions work in asyncio too; the other calls need trio.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import trio

from hal_core.client import calls
from hal_core.client.address import find_socket, given_socket
from hal_core.client.async_sessions import OpenedLater
from hal_core.client.calls import Call, Page
from hal_core.client.http import LOCAL_IDENTITY, ResponseReader, request_bytes
from hal_core.client.remote import Remote, tls_context
from hal_core.client.session_start import NO_OPTIONS, JobOptions
from hal_core.client.sessions import session
from hal_core.client.sse import EventParser
from hal_core.client.transport import (
    ANSWER_TIMEOUT_S,
    RECEIVE_BYTES,
    STREAM_SILENCE_S_MAX,
    NoAnswer,
    Patience,
    Rejected,
    checked_answer,
    why_unreachable,
)
from hal_core.client.views import EventRecord, HistoryEntry, JobRequest, JobView, NodeView
from hal_core.models.job import JobId

T = TypeVar("T")
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class AsyncClient:
    """Raises the errors of hal_core.errors. Connections are kept for the next call and closed by `async with`."""

    def __init__(self, server: str | None = None) -> None:
        self._server = server
        self._path = find_socket(os.environ) if server is None else given_socket({"HAL_SERVER": server})
        self._remote = Remote(self._path) if "://" in self._path else None
        self._identity = LOCAL_IDENTITY
        self._idle: list[Stream] = []

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        while self._idle:
            await trio.aclose_forcefully(self._idle.pop())

    def session(
        self,
        workers: int = 1,
        recoverable: bool = False,
        local: bool = False,
        job: JobOptions = NO_OPTIONS,
        elastic: int = 0,
    ) -> OpenedLater:
        """Many short tasks: `async with client.session(workers=2) as s`, in trio or asyncio.

        Its workers are a job of this client's daemon, or with `local` processes of this machine. The arguments are
        those of `hal_core.client.session`.
        """
        server = "local" if local else self._server
        return OpenedLater(partial(session, workers, recoverable, server, job, elastic))

    async def submit(self, what: JobRequest | Sequence[str] | str, **options: str | int | float | bool) -> JobId:
        """As `Client.submit`."""
        return await self._do(calls.submit(calls.request_from(what, options)))

    async def submit_many(self, requests: Sequence[JobRequest | Sequence[str] | str]) -> list[JobId]:
        """Submit up to 10,000 jobs, all or none. The ids come in the order of the requests."""
        return await self._do(calls.submit_many([calls.request_from(each, {}) for each in requests]))

    async def tell_session(self, session: str, report: dict[str, Any]) -> calls.SessionTold:
        """For its broker: how a session does, and what happened to it. Gives when to tell again, and what is known."""
        return await self._do(calls.tell_session(session, report))

    async def job(self, job_id: int) -> JobView:
        return await self._do(calls.job(job_id))

    async def wait(self, job_id: int) -> JobView:
        """The job when it has ended. For a limit, use trio.move_on_after."""
        while True:
            view = await self._do(calls.job(job_id, calls.LONG_POLL_S_MAX))
            if view.has_ended:
                return view

    def queue(self, **filters: object) -> AsyncIterator[JobView]:
        """Jobs that run or wait, page by page as they are used. Filters: state, user, partition, name."""
        return self._pages(calls.queue, filters)

    def history(self, **filters: object) -> AsyncIterator[HistoryEntry]:
        """How jobs ended, latest first. Filters: as for `queue`, job_id, since_time_s, until_time_s, order."""
        return self._pages(calls.history, filters)

    def nodes(self, **filters: object) -> AsyncIterator[NodeView]:
        """Filters: status, partition."""
        return self._pages(calls.nodes, filters)

    async def cancel(self, job_id: int, indices: str | None = None) -> int:
        """How many elements were asked to end. `indices` such as "1-5,9" are those of an array."""
        return await self._do(calls.act(job_id, "cancel", indices))

    async def hold(self, job_id: int, indices: str | None = None) -> int:
        return await self._do(calls.act(job_id, "hold", indices))

    async def release(self, job_id: int, indices: str | None = None) -> int:
        return await self._do(calls.act(job_id, "release", indices))

    async def requeue(self, job_id: int, indices: str | None = None) -> int:
        return await self._do(calls.act(job_id, "requeue", indices))

    async def suspend_job(self, job_id: int, indices: str | None = None) -> int:
        """For operators: what runs stands still until `resume_job`, and others may use its CPUs meanwhile."""
        return await self._do(calls.act(job_id, "suspend", indices))

    async def resume_job(self, job_id: int, indices: str | None = None) -> int:
        """For operators: what was suspended goes on, as soon as nobody else runs on its CPUs."""
        return await self._do(calls.act(job_id, "resume", indices))

    async def set_priority(self, job_id: int, priority: int) -> None:
        """Of a job that waits: larger is earlier. Only operators may raise it above 0."""
        await self._do(calls.set_priority(job_id, priority))

    async def set_weight(self, job_id: int, weight: int) -> None:
        """Of an elastic job: its part of what all others leave, among yours."""
        await self._do(calls.set_weight(job_id, weight))

    async def drain(self, node: str, reason: str) -> None:
        await self._do(calls.node_action(node, "drain", {"reason": reason}))

    async def resume(self, node: str) -> None:
        await self._do(calls.node_action(node, "resume", {}))

    async def status(self) -> dict[str, Any]:
        return await self._do(calls.status())

    async def events(self, after: int | None = None, job_id: int | None = None) -> AsyncIterator[EventRecord]:
        """Events after that sequence number (default: from now on), until the daemon stops.

        Close it when leaving early: `async with contextlib.aclosing(client.events()) as events`.
        """
        parser, reader, rest, failure = EventParser(), ResponseReader(), b"", b""
        try:
            async with await self._connect() as stream:
                await stream.send_all(
                    request_bytes("GET", calls.events_target(after, job_id), None, "text/event-stream", self._identity)
                )
                while not reader.is_complete:
                    with trio.move_on_after(STREAM_SILENCE_S_MAX) as silence:
                        data = await _receive(stream, reader)
                    if silence.cancelled_caught:
                        raise NoAnswer("the daemon's event stream has been silent for too long")
                    if reader.status >= 400:
                        failure += data
                        continue
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        if (event := parser.feed(line.removesuffix(b"\r").decode("utf-8", "replace"))) is not None:
                            yield calls.event_record(event)
                checked_answer(reader, failure)
        except (NoAnswer, Rejected) as error:
            raise calls.as_hal_error(error) from error

    async def _do(self, call: Call[T]) -> T:
        try:
            return calls.decoded(call, await self._insist(call))
        except (NoAnswer, Rejected) as error:
            raise calls.as_hal_error(error) from error

    async def _insist(self, call: Call[T]) -> bytes:
        patience = Patience(trio.current_time())
        while True:
            try:
                with trio.fail_after(patience.left_s(trio.current_time()) + call.extra_s):
                    return await self._request(call)
            except trio.TooSlowError:
                raise NoAnswer(f"the daemon at {self._path} does not answer; is it stopped or overloaded?") from None
            except (NoAnswer, Rejected) as error:
                if not call.can_repeat:
                    raise
                pause_s = patience.pause_s(error, trio.current_time())
            await trio.sleep(pause_s)

    async def _request(self, call: Call[T]) -> bytes:
        content = None if call.body is None else json.dumps(call.body).encode("ascii")
        stream = await self._take()
        reader, pieces = ResponseReader(), []
        try:
            # The daemon may refuse a body before it has read all of it: its answer can still be read.
            with contextlib.suppress(trio.BrokenResourceError):
                head_and_body = request_bytes(call.method, call.target, content, identity=self._identity)
                await stream.send_all(head_and_body)
            while not reader.is_complete:
                pieces.append(await _receive(stream, reader))
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if reader.can_be_reused:
            self._idle.append(stream)
        else:
            await trio.aclose_forcefully(stream)
        return checked_answer(reader, b"".join(pieces)).body

    async def _take(self) -> Stream:
        """A connection that nobody uses: a kept one that the daemon has not closed, or a new one."""
        while self._idle:
            stream = self._idle.pop()
            tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
            if not tcp.socket.is_readable():
                return stream
            await trio.aclose_forcefully(stream)
        return await self._connect()

    async def _connect(self) -> Stream:
        try:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                if self._remote is None:
                    return await trio.open_unix_socket(self._path)
                return await self._connect_remote(self._remote)
        except (OSError, trio.TooSlowError) as error:
            reason = error if isinstance(error, OSError) else TimeoutError()
            raise NoAnswer(why_unreachable(self._path, reason)) from error
        except trio.BrokenResourceError as error:
            assert self._remote is not None, "only a TLS handshake ends so"
            raise NoAnswer(self._remote.why_unreachable(error.__cause__ or error)) from error

    async def _connect_remote(self, remote: Remote) -> Stream:
        self._identity = remote.headers(os.environ)
        tcp = await trio.open_tcp_stream(remote.host, remote.port)
        if not remote.has_tls:
            return tcp
        context = tls_context(os.environ)
        stream = trio.SSLStream(tcp, context, server_hostname=remote.host, https_compatible=True)
        await stream.do_handshake()
        return stream

    async def _pages(
        self, of: Callable[[str | None, dict[str, object]], Call[Page[T]]], filters: dict[str, object]
    ) -> AsyncIterator[T]:
        cursor = None
        while True:
            page = await self._do(of(cursor, filters))
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return


async def _receive(stream: Stream, reader: ResponseReader) -> bytes:
    """Body bytes that arrived. Raises NoAnswer if the connection breaks, or carries nonsense."""
    try:
        data = await stream.receive_some(RECEIVE_BYTES)
        if data:
            return reader.feed(bytes(data))
        reader.end()
        return b""
    except (trio.BrokenResourceError, ValueError) as error:
        raise NoAnswer(f"the connection to the daemon broke off: {error}", is_outcome_unknown=True) from None
