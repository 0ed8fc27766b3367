"""Every request of the Python clients as a value: what to send, and how to read the answer. No input or output.

`Client` and `AsyncClient` differ only in how they carry these, so what one can do the other can.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from uuid import uuid4

import attrs
import msgspec

from hal_core.client.http import query, quoted
from hal_core.client.sse import ServerEvent
from hal_core.client.transport import NoAnswer, Rejected
from hal_core.client.views import EventRecord, HistoryEntry, JobRequest, JobView, NodeView
from hal_core.errors import Conflict, HalError, InvalidInput, NotFound, Problem, Refused, Unavailable
from hal_core.models.job import JobId
from hal_core.models.ranges import members, parse_ranges

T = TypeVar("T")

LONG_POLL_S_MAX = 30.0
PAGE_MAX = 1000


@attrs.frozen
class Call(Generic[T]):
    """One request. `can_repeat`: doing it twice is the same as once, so a lost answer can be asked for again."""

    method: str
    target: str
    decode: Callable[[bytes], T]
    body: Any = None
    can_repeat: bool = True
    extra_s: float = 0.0
    """How much longer than usual the answer may take."""


@attrs.frozen
class Page(Generic[T]):
    items: tuple[T, ...]
    next_cursor: str | None


def submit(request: JobRequest) -> Call[JobId]:
    return Call("POST", "/v1/jobs", lambda body: JobId(_field(body, "job_id")), _request_body(request))


def submit_many(requests: Sequence[JobRequest], client_id: str = "") -> Call[list[JobId]]:
    """All or none. The ids come in the order of the requests."""
    body = {
        "common": {"client_id": client_id or str(uuid4())},
        "jobs": [_request_body(request, needs_id=False) for request in requests],
    }
    return Call("POST", "/v1/jobs/bulk", lambda answer: _ids(_field(answer, "job_ids")), body)


def job(job_id: int, wait_s: float | None = None) -> Call[JobView]:
    """`wait_s`: answer when the job has ended, or after that time."""
    waiting: dict[str, object] = {} if wait_s is None else {"wait": "ended", "timeout_s": round(max(wait_s, 0), 3)}
    decoder = msgspec.json.Decoder(JobView)
    return Call("GET", query(f"/v1/jobs/{job_id}", **waiting), decoder.decode, extra_s=wait_s or 0)


def act(job_id: int, action: str, indices: str | None) -> Call[int]:
    """cancel, hold, release, requeue, suspend or resume. Gives the number of elements affected."""
    body = {} if indices is None else {"indices": indices}
    return Call("POST", f"/v1/jobs/{job_id}/{action}", lambda answer: int(_field(answer, "count")), body, False)


def set_priority(job_id: int, priority: int) -> Call[None]:
    return Call("POST", f"/v1/jobs/{job_id}/priority", lambda _: None, {"priority": priority}, False)


def set_weight(job_id: int, weight: int) -> Call[None]:
    return Call("POST", f"/v1/jobs/{job_id}/weight", lambda _: None, {"weight": weight})


def queue(cursor: str | None, filters: dict[str, object]) -> Call[Page[JobView]]:
    return _page("/v1/jobs", "jobs", JobView, {**filters, "cursor": cursor})


def nodes(cursor: str | None, filters: dict[str, object]) -> Call[Page[NodeView]]:
    return _page("/v1/nodes", "nodes", NodeView, {**filters, "cursor": cursor})


def history(cursor: str | None, filters: dict[str, object]) -> Call[Page[HistoryEntry]]:
    return _page("/v1/history", "entries", HistoryEntry, {**filters, "cursor": cursor})


def node_action(name: str, action: str, body: dict[str, str]) -> Call[None]:
    return Call("POST", f"/v1/nodes/{quoted(name)}/{action}", lambda _: None, body, False)


def status() -> Call[dict[str, Any]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    return Call("GET", "/v1/status", decoder.decode)


@attrs.frozen
class SessionTold:
    """When a broker is to tell again, and as far as which number its changes are on record."""

    again_s: float
    heard_number: int


def tell_session(session: str, report: dict[str, Any]) -> Call[SessionTold]:
    decoder = msgspec.json.Decoder(SessionTold)
    return Call("POST", f"/v1/sessions/{quoted(session)}", decoder.decode, report)


def events_target(after: int | None, job_id: int | None) -> str:
    return query("/v1/events", after=after, job_id=job_id)


def event_record(event: ServerEvent) -> EventRecord:
    return EventRecord(event.sequence, event.kind, msgspec.json.decode(event.data))


def request_from(what: JobRequest | Sequence[str] | str, options: dict[str, Any]) -> JobRequest:
    """A request from a command (a sequence), the text of a script (a str), or a whole JobRequest."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    if isinstance(what, JobRequest):
        return attrs.evolve(what, options={**what.options, **named})
    if isinstance(what, str):
        return JobRequest(script=what, options=named)
    return JobRequest(command=tuple(what), options=named)


def decoded(call: Call[T], body: bytes) -> T:
    """The answer as a value. Raises Unavailable if it is not what this version expects."""
    try:
        return call.decode(body)
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        text = f"{call.method} {call.target}: the daemon's answer is not understood ({error}); is it another version?"
        raise Unavailable(text) from error


def as_hal_error(error: NoAnswer | Rejected) -> HalError:
    """The error of the tree that the daemon's answer, or its silence, means."""
    if isinstance(error, NoAnswer):
        return Unavailable(str(error))
    match error.kind:
        case "not_found" | "gone":
            return NotFound(str(error))
        case "refused" | "forbidden":
            return Refused(str(error))
        case "conflict":
            return Conflict(str(error))
        case "unavailable":
            return Unavailable(str(error), error.retry_after_s)
        case "internal" | "":
            return HalError(str(error))
        case _:
            problems = [Problem(place, text) for place, text in error.problems]
            return InvalidInput(problems or [Problem("", str(error))])


def _page(path: str, field: str, cls: type[T], filters: dict[str, object]) -> Call[Page[T]]:
    target = query(path, **{"limit": PAGE_MAX, **filters})

    def decode(body: bytes) -> Page[T]:
        found = msgspec.json.decode(body)
        return Page(msgspec.convert(found[field], tuple[cls, ...]), found["next_cursor"])  # type: ignore[valid-type]

    return Call("GET", target, decode)


def _request_body(request: JobRequest, needs_id: bool = True) -> dict[str, Any]:
    body: dict[str, Any] = {
        "options": [[name, _option_text(value)] for name, value in request.options.items() if value is not False],
        "working_directory": request.working_directory or os.getcwd(),
        "environment": _environment() if request.environment is None else list(request.environment),
    }
    if request.client_id or needs_id:
        body["client_id"] = request.client_id or str(uuid4())
    if request.command:
        body["command"] = list(request.command)
    else:
        body |= {"script": request.script, "script_name": request.script_name, "arguments": list(request.arguments)}
    return body


def _environment() -> list[str]:
    """The caller's variables, except those that are no text: JSON cannot carry them."""
    pairs = (f"{name}={value}" for name, value in os.environ.items())
    return [pair for pair in pairs if not any("\ud800" <= letter <= "\udfff" for letter in pair)]


def _option_text(value: str | int | float | bool) -> str:
    return "" if value is True else str(value)


def _field(body: bytes, name: str) -> Any:
    return msgspec.json.decode(body)[name]


def _ids(text: str) -> list[JobId]:
    """`20-22,17` as 20, 21, 22, 17: the order is that of the requests."""
    return [JobId(number) for part in text.split(",") if part for number in members(parse_ranges(part))]
