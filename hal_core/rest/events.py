"""The event stream: what happened, as server-sent events that can be taken up again at any sequence number.

Events come from the journal, so nothing is sent that is not on disk and a slow reader costs no memory. Scripts are
never sent; the private fields of a job go to those who may see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import trio

from hal_core.errors import InvalidInput, Problem
from hal_core.models.event import AccessChanged, DatasetAdded, Event, JobSubmitted, SessionChanged
from hal_core.models.event_values import event_view, job_of, session_user_of
from hal_core.models.history import HistoryFilters
from hal_core.models.job import JobId
from hal_core.rest.answers import Gone
from hal_core.rest.asgi import Send
from hal_core.rest.call import Call, Route, Stream
from hal_core.rest.query import SEQUENCE_MAX, integer, text, texts
from hal_core.rest.rights import Caller, Verb

BATCH = 500
HEARTBEAT = b": heartbeat\n\n"
OWNERS_MAX = 100_000
"""Jobs whose owners one reader remembers."""

Row = tuple[int, Event]


async def stream_events(call: Call) -> Stream:
    call.caller.insist(Verb.SEE_HAL)
    after, journal = _start(call), call.context.kernel.journal
    rows = await trio.to_thread.run_sync(journal.read, after, 1)
    if rows and rows[0][0] != after + 1:
        raise Gone(f"events before {rows[0][0]} are no longer kept")
    return Stream("text/event-stream", partial(_run, call, after))


def _start(call: Call) -> int:
    """The sequence number after which the stream begins."""
    durable = call.context.kernel.durable_sequence
    after: int | None = call.query["after"]
    place = "after"
    header = call.headers.get(b"last-event-id")
    if after is None and header is not None:
        place = "Last-Event-ID"
        if not header.isdigit() or len(header) > 19:
            raise InvalidInput([Problem(place, f"{header[:40].decode('latin-1')!r} is not a sequence number")])
        after = int(header)
    if after is None:
        return durable
    if after > durable:
        raise InvalidInput([Problem(place, f"{after} is beyond the newest event, {durable}; is this another journal?")])
    return after


async def _run(call: Call, after: int, send: Send) -> None:
    """Send until the client leaves or the server finishes; then end the answer, unless a piece of it was cut."""
    pump = _Pump(call, after, send)
    await call.while_there(pump.run)
    if not pump.is_sending:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Pump:
    """Sends what is new, batch by batch, and a comment when nothing was."""

    def __init__(self, call: Call, after: int, send: Send) -> None:
        self._call = call
        self._after = after
        self._until: int = SEQUENCE_MAX if call.query["until"] is None else call.query["until"]
        self._send = send
        self._wanted = _Wanted(call)
        self._sent_s = 0.0
        self.is_sending = False

    async def run(self) -> None:
        kernel, heartbeat_s = self._call.context.kernel, self._call.context.heartbeat_s
        await self._write(HEARTBEAT)
        while self._after < self._until:
            next_s = self._sent_s + heartbeat_s
            with trio.move_on_at(next_s):
                await kernel.wait_beyond(self._after)
            out = await self._next_batch() if kernel.durable_sequence > self._after else b""
            if not out and trio.current_time() >= next_s:
                out = b": heartbeat\nid: %d\n\n" % self._after
            if out:
                await self._write(out)

    async def _next_batch(self) -> bytes:
        limit = min(BATCH, self._until - self._after)
        rows = await trio.to_thread.run_sync(self._call.context.kernel.journal.read, self._after, limit)
        assert rows, "the journal lacks events that are durable"
        self._after = rows[-1][0]
        out = b"".join(encode_row(*row, self._call.caller) for row in await self._wanted.of(rows))
        position = b"id: %d\n" % self._after
        if len(rows) == limit and position not in out:
            out += position + b"\n"  # Where to go on, whatever was left out of so many.
        return out

    async def _write(self, out: bytes) -> None:
        self.is_sending = True
        await self._send({"type": "http.response.body", "body": out, "more_body": True})
        self.is_sending = False
        self._sent_s = trio.current_time()


class _Wanted:
    """Which events a reader has asked for: those of a job, of a session, or of all that some users have."""

    def __init__(self, call: Call) -> None:
        self._context = call.context
        self._job_id: int | None = call.query["job_id"]
        self._session: str | None = call.query["session"]
        self._users: frozenset[str] = call.query["user"]
        self._owners: dict[JobId, str] = {}

    async def of(self, rows: Sequence[Row]) -> Sequence[Row]:
        if self._job_id is not None:
            rows = [row for row in rows if job_of(row[1]) == self._job_id]
        if self._session is not None:
            rows = [row for row in rows if isinstance(row[1], SessionChanged) and row[1].session == self._session]
        if not self._users:
            return rows
        about = [(row, job_of(row[1])) for row in rows]
        for row, job_id in about:
            if job_id is not None and job_id not in self._owners:
                self._keep(job_id, row[1].owner.user if isinstance(row[1], JobSubmitted) else await self._owner(job_id))
        return [row for row, job_id in about if self._user(row[1], job_id) in self._users]

    def _user(self, event: Event, job_id: JobId | None) -> str | None:
        return session_user_of(event) if job_id is None else self._owners.get(job_id)

    async def _owner(self, job_id: JobId) -> str:
        """By the state, or by the history of a job that the state has forgotten."""
        record = self._context.kernel.state.find(job_id)
        if record is not None:
            return record.owner.user
        page = await trio.to_thread.run_sync(self._context.kernel.journal.history, HistoryFilters(job_id=job_id), 1)
        return page.entries[0].user if page.entries else ""

    def _keep(self, job_id: JobId, user: str) -> None:
        if len(self._owners) >= OWNERS_MAX:
            self._owners.pop(next(iter(self._owners)))
        self._owners[job_id] = user


def encode_row(sequence: int, event: Event, caller: Caller) -> bytes:
    """One event as the stream carries it; nothing if it is not for the caller."""
    if isinstance(event, AccessChanged) and not caller.may(Verb.SEE_ACCESS):
        return b""
    if isinstance(event, DatasetAdded) and event.dataset.address:
        return b""  # which file somebody's job reads is not for everybody
    shows_private = isinstance(event, JobSubmitted) and caller.may(Verb.SEE_PRIVATE, event.owner)
    data = msgspec.json.encode(event_view(event, shows_private))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (sequence, type(event).__name__.encode("ascii"), data)


ROUTES = (
    Route(
        method="GET",
        path="/v1/events",
        handler=stream_events,
        summary="Events as they become durable (server-sent events)",
        query=(
            integer("after", "events with a larger sequence number; default: from now on", 0, SEQUENCE_MAX),
            integer("until", "the stream ends behind this sequence number; default: never", 0, SEQUENCE_MAX),
            integer("job_id", "only events of this job", 1, SEQUENCE_MAX),
            text("session", "only events of this session"),
            texts("user", "only events of jobs and sessions of these users"),
        ),
        media_type="text/event-stream",
        reads_state=False,
    ),
)
