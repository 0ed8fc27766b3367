"""Routes of a job's terminal: attending to it, and typing. Only its owner may, not even an operator.

Whoever attends to a job is what it lives for: if that connection closes, the job is cancelled. If the daemon goes, the
terminal waits for a while, and the next daemon passes it on to the client that comes back.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from hal_core.errors import InvalidInput, NotFound, Problem, WireError
from hal_core.models.job import TERMINAL, JobId
from hal_core.models.message import Cancel, JobSelection
from hal_core.rest.answers import Answer, HttpError, json_answer
from hal_core.rest.asgi import ClientGone, Send
from hal_core.rest.bodies import TerminalAnswer, TerminalRequest
from hal_core.rest.call import Call, Route, Stream
from hal_core.rest.jobs import find_job
from hal_core.rest.query import integer
from hal_core.rules.job_record import JobRecord
from hal_core.wire.terminals import HANG_UP, Terminal, resized, typed

HERE = b"\0"
"""The first byte of the answer: from here on it is what the terminal shows."""
SIZE_MAX = 10_000


async def attend(call: Call) -> Stream:
    record = _own(call)
    return Stream("application/octet-stream", _Attendance(call, record).run)


async def write(call: Call) -> Answer:
    """Answered when the node takes it: who types faster waits."""
    record, body = _own(call), call.body
    terminal = call.context.terminals.find(record.job_id, record.owner.uid)
    if terminal is None:
        raise HttpError(409, "conflict", f"job {record.job_id} does not show its terminal yet, or no more")
    try:
        data = base64.b64decode(body.data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput([Problem("data", "is not base64")]) from None
    try:
        if body.rows is not None and body.columns is not None:
            await terminal.send(resized(body.rows, body.columns))
        if data:
            await terminal.send(typed(data))
    except WireError:
        raise HttpError(409, "conflict", f"job {record.job_id} does not show its terminal any more") from None
    return json_answer(TerminalAnswer(record.job_id, len(data)))


def _own(call: Call) -> JobRecord:
    record = find_job(call)
    if call.caller.uid != record.owner.uid:
        raise HttpError(403, "forbidden", f"the terminal of job {record.job_id} is for {record.owner.user} only")
    if record.spec.input_path != TERMINAL:
        raise NotFound(f"job {record.job_id} has no terminal; one that has is started with `hal run --pty`")
    return record


class _Attendance:
    """One client at a job's terminal."""

    def __init__(self, call: Call, record: JobRecord) -> None:
        self._call = call
        self._job_id: JobId = record.job_id
        self._uid = record.owner.uid
        self._kernel = call.context.kernel
        self._terminals = call.context.terminals
        self._has_left = False

    async def run(self, send: Send) -> None:
        with self._call.context.attendances.attending(self._job_id):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope)
                try:
                    await self._show_all(send)
                except ClientGone:  # Noticed by writing before `_watch` noticed it by reading.
                    self._has_left = True
                nursery.cancel_scope.cancel()
        if self._has_left:
            if (terminal := self._terminals.find(self._job_id, self._uid)) is not None:
                with suppress(WireError):
                    await terminal.send(HANG_UP)  # Shells ignore the SIGTERM of a cancel, but not this.
            await self._kernel.ask(Cancel(JobSelection(self._job_id), self._call.caller.user))

    async def _show_all(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        while (terminal := await self._next()) is not None:
            try:
                await self._show(terminal, send)
            finally:
                terminal.release()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self, scope: trio.CancelScope) -> None:
        self._has_left = await self._call.until_gone() or self._has_left
        scope.cancel()

    async def _show(self, terminal: Terminal, send: Send) -> None:
        rows, columns = self._call.query["rows"], self._call.query["columns"]
        if rows and columns:
            try:
                await terminal.send(resized(rows, columns))
            except WireError:
                return
        data = HERE
        while data:
            await send({"type": "http.response.body", "body": data, "more_body": True})
            data = await terminal.receive()

    async def _next(self) -> Terminal | None:
        """The job's terminal, as soon as it has one; None when the job has ended."""
        while not self._is_over():
            sequence = self._kernel.durable_sequence
            if (terminal := self._terminals.take(self._job_id, self._uid)) is not None:
                return terminal
            async with trio.open_nursery() as nursery:
                for wait in (partial(self._kernel.wait_beyond, sequence), self._terminals.wait_for_another):
                    nursery.start_soon(_then_cancel, wait, nursery.cancel_scope)
        return None

    def _is_over(self) -> bool:
        record = self._kernel.state.find(self._job_id)
        return record is None or record.is_finished


async def _then_cancel(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/{job_id}/terminal",
        handler=attend,
        summary="What the terminal of one's own job shows, as it comes; the job lives as long as this connection",
        query=(integer("rows", "of the window", 1, SIZE_MAX), integer("columns", "of the window", 1, SIZE_MAX)),
        media_type="application/octet-stream",
        reads_state=False,
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job_id}/terminal",
        handler=write,
        summary="Type into the terminal of one's own job, or tell it the size of the window",
        body=TerminalRequest,
        answer=TerminalAnswer,
        cost=0.1,
        reads_state=False,
    ),
)
