"""The words between the HTTP server and the apps on it: ASGI's types, limits, who a peer is, the shape of errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import attrs
import msgspec

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@attrs.frozen
class Limits:
    """What a peer may take from the server. `body_bytes_max` asks for the path, since a bulk route may take more."""

    body_bytes_max: Callable[[str], int] = lambda path: 1 << 20
    head_bytes_max: int = 32 << 10
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    """Longest silence within a body, and the time after which `body_rate_min` is demanded on average."""
    body_rate_min: float = 1024.0
    """Bytes per second."""
    write_timeout_s: float = 30.0
    """For each 16 KiB of an answer."""
    idle_timeout_s: float = 60.0
    linger_s: float = 1.0
    """After a refusal: how long what still comes is read and dropped, so that the peer gets to see the answer."""
    connections_per_peer: int = 64
    connections_max: int = 512
    connections_reserved: int = 32
    """Of `connections_max` (an eighth at most): for operators and administrators, who must always get in."""
    close_grace_s: float = 10.0
    """How long requests under way may take at shutdown."""


@attrs.frozen
class Peer:
    """Who is at the other end. `key` is what connections are counted by (user id or address)."""

    key: str
    scheme: str = "http"
    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    is_trusted: bool = False
    """May use the reserved connections, and more than others."""
    extensions: dict[str, Any] = attrs.field(factory=dict)


class ClientGone(OSError):
    """Raised into an app that writes to a client which is no longer there (as ASGI 2.4 wants it)."""


def error_body(kind: str, text: str, problems: list[dict[str, str]] | None = None) -> bytes:
    """The one shape of an error (docs/reference/rest.md)."""
    return msgspec.json.encode({"error": {"kind": kind, "text": text, "problems": problems or []}})
