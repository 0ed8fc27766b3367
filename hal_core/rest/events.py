"""The event stream: what happened, as server-sent events that can be taken up again at any sequence number.

Events come from the journal, so nothing is sent that is not on disk and a slow reader costs no memory. Scripts are
never sent; the private fields of a job go to those who may see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import trio

from hal_core.errors import InvalidInput, Problem
from hal_core.models.event import AccessChanged, Event, JobSubmitted
from hal_core.models.ranges import format_ranges
from hal_core.rest.answers import Gone
from hal_core.rest.asgi import Send
from hal_core.rest.call import Call, Route, Stream
from hal_core.rest.query import SEQUENCE_MAX, integer
from hal_core.rest.rights import Caller, Verb

BATCH = 500
HEARTBEAT = b": heartbeat\n\n"
PRIVATE = (
    *("command", "arguments", "working_directory", "environment"),
    *("input_path", "output_pattern", "error_pattern", "inputs"),
)


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
        self.is_sending = False

    async def run(self) -> None:
        kernel, heartbeat_s = self._call.context.kernel, self._call.context.heartbeat_s
        await self._write(HEARTBEAT)
        while self._after < self._until:
            with trio.move_on_after(heartbeat_s) as scope:
                await kernel.wait_beyond(self._after)
            out = await self._next_batch() if kernel.durable_sequence > self._after else b""
            if out or scope.cancelled_caught:
                await self._write(out or HEARTBEAT)

    async def _next_batch(self) -> bytes:
        limit = min(BATCH, self._until - self._after)
        rows = await trio.to_thread.run_sync(self._call.context.kernel.journal.read, self._after, limit)
        assert rows, "the journal lacks events that are durable"
        self._after = rows[-1][0]
        job_id = self._call.query["job_id"]
        blocks = [encode_row(sequence, event, self._call.caller, job_id) for sequence, event in rows]
        if len(rows) == limit and not blocks[-1]:
            blocks.append(b"id: %d\n\n" % self._after)  # No event, but where to go on.
        return b"".join(blocks)

    async def _write(self, out: bytes) -> None:
        self.is_sending = True
        await self._send({"type": "http.response.body", "body": out, "more_body": True})
        self.is_sending = False


def encode_row(sequence: int, event: Event, caller: Caller, job_id: int | None) -> bytes:
    """One event as the stream carries it; nothing if it is about another job, or not for the caller."""
    if job_id is not None and job_of(event) != job_id:
        return b""
    if isinstance(event, AccessChanged) and not caller.may(Verb.SEE_ACCESS):
        return b""
    data = msgspec.json.encode(event_view(event, caller))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (sequence, type(event).__name__.encode("ascii"), data)


def job_of(event: Event) -> int | None:
    """The job that the event is about, if it is about one."""
    key = getattr(event, "key", None)
    found: int | None = key.job_id if key is not None else getattr(event, "job_id", None)
    return found


def event_view(event: Event, caller: Caller) -> Mapping[str, Any]:
    """The event as plain values, without what the caller may not see."""
    values: dict[str, Any] = msgspec.to_builtins(event)
    if "elements" in values:
        values["elements"] = _ranges_text(values["elements"])
    if isinstance(event, JobSubmitted):
        spec = values["spec"]
        del spec["script"], values["client_id"]
        if spec["array"] is not None:
            spec["array"]["indices"] = _ranges_text(spec["array"]["indices"])
        if not caller.may(Verb.SEE_PRIVATE, event.owner):
            spec.update(dict.fromkeys(PRIVATE))
    return values


def _ranges_text(pairs: Sequence[Sequence[int]]) -> str:
    return format_ranges(tuple((start, stop) for start, stop in pairs))


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
        ),
        media_type="text/event-stream",
        reads_state=False,
    ),
)
