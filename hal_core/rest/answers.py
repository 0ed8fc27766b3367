"""Answers: JSON bodies, and the one place where HAL's errors become HTTP statuses (docs/reference/rest.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from hal_core import errors
from hal_core.rest.asgi import Send
from hal_core.rest.rates import TooOften
from hal_core.rest.rights import Forbidden

JSON = "application/json"


class HttpError(errors.HalError):
    """What only HTTP can get wrong: routes, methods, media types, syntax."""

    def __init__(self, status: int, kind: str, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.status, self.kind, self.headers = status, kind, tuple(headers)
        super().__init__(text)


class BadRequest(HttpError):
    """The request cannot be read at all."""

    def __init__(self, text: str) -> None:
        super().__init__(400, "bad_request", text)


class Gone(HttpError):
    """Events were asked for that are no longer kept."""

    def __init__(self, text: str) -> None:
        super().__init__(410, "gone", text)


@attrs.frozen
class Answer:
    """A whole answer, ready to be sent."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    async def send(self, send: Send) -> None:
        headers = [
            (b"content-type", self.media_type.encode("ascii")),
            (b"content-length", b"%d" % len(self.body)),
            (b"cache-control", b"no-store"),
            *((name.encode("ascii"), value.encode("latin-1")) for name, value in self.headers),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


_ENCODER = msgspec.json.Encoder()


def json_answer(value: Any, status: int = 200) -> Answer:
    """`value` (attrs classes, plain values) as JSON. Infinity and NaN become null."""
    return Answer(_ENCODER.encode(value), status)


_STATUS_OF: tuple[tuple[type[errors.HalError], int, str], ...] = (
    (errors.InvalidInput, 422, "invalid_input"),
    (errors.NotFound, 404, "not_found"),
    (Forbidden, 403, "forbidden"),
    (errors.Refused, 409, "refused"),
    (errors.Conflict, 409, "conflict"),
    (TooOften, 429, "too_often"),
    (errors.Unavailable, 503, "unavailable"),
)
"""The first class that fits. All others are bugs or the daemon's own affair: 500, told in the log only."""


def error_answer(error: errors.HalError) -> Answer | None:
    """The answer that an error means; None if it is not for the caller."""
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, HttpError):
        status, kind, headers = error.status, error.kind, error.headers
    else:
        found = next(((status, kind) for cls, status, kind in _STATUS_OF if isinstance(error, cls)), None)
        if found is None:
            return None
        status, kind = found
    if isinstance(error, errors.Unavailable):
        headers = (("retry-after", str(max(1, math.ceil(error.retry_after_s)))),)
    problems = error.problems if isinstance(error, errors.InvalidInput) else ()
    body = _ENCODER.encode({"error": {"kind": kind, "text": str(error), "problems": problems}})
    return Answer(body, status, headers=headers)
