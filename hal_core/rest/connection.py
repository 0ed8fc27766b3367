"""One HTTP/1.1 connection: reads requests with h11, runs an ASGI app for each, writes the answers.

The peer is believed nothing: every wait has an end, every buffer a bound, and whatever breaks the protocol is
answered with an error and a closed connection, never with a traceback. It knows nothing about HAL beyond the shape
of its error bodies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import h11
import trio

from hal_core.rest.asgi import AsgiApp, AsgiMessage, ClientGone, Limits, Peer, Scope, error_body
from hal_core.rest.http_head import HEAD_END, HeadError, check_begin, check_head

RECEIVE_BYTES = 65_536
WRITE_BYTES = 16_384

log = logging.getLogger("hal.rest")

__all__ = ["Connection", "Limits"]


class _Refusal(Exception):
    """The peer broke the protocol or a limit: answer so, then close."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        self.status, self.kind, self.text = status, kind, text
        super().__init__(text)


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode("ascii") if status in _KNOWN_STATUSES else b""


@lru_cache(maxsize=1)
def _date(time_s: int) -> bytes:
    return formatdate(time_s, usegmt=True).encode("ascii")


_KNOWN_STATUSES = frozenset(int(status) for status in HTTPStatus)


class Connection:
    """Serves one stream until either side closes it."""

    def __init__(
        self, app: AsgiApp, stream: trio.abc.Stream, peer: Peer, limits: Limits, now_s: Callable[[], float]
    ) -> None:
        self._app = app
        self._stream = stream
        self._peer = peer
        self._limits = limits
        self._now_s = now_s
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes_max + RECEIVE_BYTES)
        self._wait_scope: trio.CancelScope | None = None
        self._is_finishing = False
        self._has_eof = False

    async def serve(self) -> None:
        """Serve requests one after the other. Never raises for what the peer does."""
        try:
            while not self._is_finishing and await self._serve_one():
                self._h11.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ClientGone):
            pass
        finally:
            with trio.move_on_after(self._limits.linger_s, shield=True):
                await self._stream.aclose()

    @property
    def is_finishing(self) -> bool:
        """The server takes no more requests; the peer may well be there."""
        return self._is_finishing

    def finish(self) -> None:
        """Take no further request: an idle connection closes now, a request under way is finished first."""
        self._is_finishing = True
        if self._wait_scope is not None:
            self._wait_scope.cancel()

    async def _serve_one(self) -> bool:
        """One request and its answer. True if another may follow on this connection."""
        exchange: _Exchange | None = None
        try:
            request = await self._read_head()
            if request is None:
                return False
            exchange = _Exchange(self, request)
            exchange.check_length()
            await self._run_app(exchange)
            if exchange.end():
                return True
            if exchange.is_body_unread:
                await self._linger(exchange.body_bytes_left)
            return False
        except _Refusal as refusal:
            await self._refuse(refusal, exchange.body_bytes_left if exchange is not None else 0)
            return False

    async def _run_app(self, exchange: _Exchange) -> None:
        """The wall around the app: its bug costs one answer, never the server."""
        try:
            await self._app(exchange.scope(self._peer), exchange.receive, exchange.send)
        except ClientGone:
            if exchange.refusal is None:
                raise
        except Exception:
            if exchange.refusal is None:
                log.exception("bug: %s %s raised", exchange.method, ascii(exchange.path))
                raise _Refusal(500, "internal", "HAL made a mistake; the daemon's log has the details") from None
        if exchange.refusal is not None:
            raise exchange.refusal

    async def _read_head(self) -> h11.Request | None:
        """The next request, or None if the peer closed, idled too long, or the server is finishing."""
        head = self._h11.trailing_data[0]
        if not head:
            with self._wait(self._limits.idle_timeout_s):
                head = await self.more()
            if not head:
                return None
        if HEAD_END not in head:
            head = await self._complete_head(head)
            if not head:
                return None
        end = head.find(HEAD_END)
        if end < 0 or end > self._limits.head_bytes_max:
            raise _Refusal(431, "headers_too_large", f"more than {self._limits.head_bytes_max} bytes of headers")
        self._check(check_head, head[:end])
        event = self.next_event()
        assert isinstance(event, h11.Request), f"h11 gave {event!r} for a complete head"
        return event

    async def _complete_head(self, head: bytes) -> bytes:
        """`head` with what was missing of it, or as much as is allowed; empty if the peer gave up."""
        with self._wait(self._limits.head_timeout_s) as scope:
            while HEAD_END not in head and len(head) <= self._limits.head_bytes_max:
                self._check(check_begin, head)
                data = await self.more()
                if not data:
                    return b""
                head += data
        if scope.cancelled_caught:
            if self._is_finishing:
                return b""
            raise _Refusal(408, "timeout", "the header of the request did not arrive in time")
        return head

    @staticmethod
    def _check(check: Callable[[bytes], None], head: bytes) -> None:
        try:
            check(head)
        except HeadError as error:
            raise _Refusal(400, "bad_request", str(error)) from None

    def next_event(self) -> Any:
        """h11's next event; what it refuses becomes an answer."""
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise _Refusal(error.error_status_hint, "bad_request", f"not a valid HTTP/1.1 request: {error}") from None

    async def more(self) -> bytes:
        """Receive more bytes into h11. Empty: the peer will send nothing more."""
        if self._has_eof:
            return b""
        try:
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except trio.BrokenResourceError:
            data = b""
        self._has_eof = not data
        self._h11.receive_data(data)
        return data

    @contextmanager
    def _wait(self, timeout_s: float) -> Iterator[trio.CancelScope]:
        """A wait that `finish` ends at once."""
        with trio.CancelScope(deadline=trio.current_time() + timeout_s) as scope:
            self._wait_scope = scope
            if self._is_finishing:
                scope.cancel()
            yield scope
        self._wait_scope = None

    async def until_gone(self) -> None:
        """Return when the peer has closed or the server is finishing. Pipelined bytes are kept, within a bound."""
        with self._wait(math.inf):
            while await self.more():
                if len(self._h11.trailing_data[0]) > RECEIVE_BYTES:
                    await trio.sleep_forever()

    async def write(self, data: bytes) -> None:
        """Send all, in pieces that each must be taken in time."""
        for at in range(0, len(data), WRITE_BYTES):
            with trio.move_on_after(self._limits.write_timeout_s) as scope:
                try:
                    await self._stream.send_all(data[at : at + WRITE_BYTES])
                except trio.BrokenResourceError:
                    raise ClientGone("the client closed the connection") from None
            if scope.cancelled_caught:
                raise ClientGone("the client does not read")

    async def _refuse(self, refusal: _Refusal, body_bytes_left: int) -> None:
        """Answer with an error if nothing was answered yet."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = error_body(refusal.kind, refusal.text)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"date", self.date()),
        ]
        out = self.encode(h11.Response(status_code=refusal.status, headers=headers, reason=_reason(refusal.status)))
        with suppress(h11.LocalProtocolError):  # the answer to HEAD has no body
            out += self.encode(h11.Data(data=body))
        await self.write(out)
        await self._linger(body_bytes_left)

    async def _linger(self, body_bytes_left: int) -> None:
        """Before closing on a peer that may still be sending, and so not reading: take what it sends, and drop it.

        As much as an allowed body could still have held, and a little; not for long.
        """
        with trio.move_on_after(self._limits.linger_s):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            dropped = 0
            while dropped < body_bytes_left + RECEIVE_BYTES and (
                data := await self._stream.receive_some(RECEIVE_BYTES)
            ):
                dropped += len(data)

    def encode(self, event: Any) -> bytes:
        return self._h11.send(event) or b""

    def date(self) -> bytes:
        return _date(int(self._now_s()))


class _Exchange:
    """One request and its answer, as the ASGI app sees it."""

    def __init__(self, connection: Connection, request: h11.Request) -> None:
        self._connection = connection
        self._h11 = connection._h11
        self._limits = connection._limits
        self._request = request
        self.method = request.method.decode("ascii")
        raw_path, _, self._query = request.target.partition(b"?")
        self._raw_path = raw_path
        self.path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        self._body_bytes_max = self._limits.body_bytes_max(self.path)
        self._body_bytes = 0
        self._body_start = trio.current_time()
        self._is_body_done = False
        self._start: AsgiMessage | None = None
        self.refusal: _Refusal | None = None

    @property
    def is_body_unread(self) -> bool:
        """The app answered without reading the body, all of which has not come yet."""
        return self._h11.their_state is h11.SEND_BODY and not self._h11.they_are_waiting_for_100_continue

    @property
    def body_bytes_left(self) -> int:
        """What may still come before the body is too large."""
        return max(0, self._body_bytes_max - self._body_bytes)

    def scope(self, peer: Peer) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self._request.http_version.decode("ascii"),
            "method": self.method,
            "scheme": peer.scheme,
            "path": self.path,
            "raw_path": self._raw_path,
            "query_string": self._query,
            "root_path": "",
            "headers": list(self._request.headers),
            "client": peer.client,
            "server": peer.server,
            "extensions": dict(peer.extensions),
            "state": {},
        }

    def check_length(self) -> None:
        """Refuse by the announced length before a byte of the body is read."""
        for name, value in self._request.headers:
            if name == b"content-length" and int(value) > self._body_bytes_max:
                raise self._too_large()

    async def receive(self) -> AsgiMessage:
        """ASGI receive: the body piece by piece, then `http.disconnect` when the peer leaves or the server finishes.

        A peer that breaks the protocol looks to the app like one that left; the connection gives it the right answer.
        """
        if self.refusal is None and not self._is_body_done:
            try:
                return await self._receive_body()
            except _Refusal as refusal:
                self.refusal = refusal
        if self.refusal is None:
            await self._connection.until_gone()
        return {"type": "http.disconnect", "hal.is_finishing": self._connection.is_finishing}

    async def _receive_body(self) -> AsgiMessage:
        if self._h11.they_are_waiting_for_100_continue:
            await self._connection.write(
                self._connection.encode(h11.InformationalResponse(status_code=100, headers=[]))
            )
        event = self._connection.next_event()
        while event is h11.NEED_DATA:
            await self._more_body()
            event = self._connection.next_event()
        if isinstance(event, h11.EndOfMessage):
            self._is_body_done = True
            return {"type": "http.request", "body": b"", "more_body": False}
        assert isinstance(event, h11.Data), f"h11 gave {event!r} within a body"
        self._body_bytes += len(event.data)
        if self._body_bytes > self._body_bytes_max:
            raise self._too_large()
        return {"type": "http.request", "body": bytes(event.data), "more_body": True}

    async def _more_body(self) -> None:
        now = trio.current_time()
        average = self._body_start + self._limits.body_timeout_s + self._body_bytes / self._limits.body_rate_min
        with trio.CancelScope(deadline=min(now + self._limits.body_timeout_s, average)) as scope:
            await self._connection.more()
        if scope.cancelled_caught:
            raise _Refusal(408, "timeout", "the body of the request did not arrive in time")

    def _too_large(self) -> _Refusal:
        return _Refusal(413, "too_large", f"the body is larger than {self._body_bytes_max} bytes")

    async def send(self, message: AsgiMessage) -> None:
        """ASGI send. Head and first piece of the body go out together."""
        if self.refusal is not None:
            raise ClientGone("the request was refused")
        if message["type"] == "http.response.start":
            assert self._start is None, "the app answered twice"
            self._start = message
            return
        assert message["type"] == "http.response.body", "the app broke ASGI"
        assert self._start is not None, "the app sent a body without a start"
        out = b""
        if self._h11.our_state is h11.SEND_RESPONSE:
            headers = [*self._start.get("headers", ()), (b"date", self._connection.date())]
            if self._connection._is_finishing:
                headers.append((b"connection", b"close"))
            status = self._start["status"]
            out = self._connection.encode(h11.Response(status_code=status, headers=headers, reason=_reason(status)))
        body = message.get("body", b"")
        if body and self.method != "HEAD":
            out += self._connection.encode(h11.Data(data=body))
        if not message.get("more_body", False):
            out += self._connection.encode(h11.EndOfMessage())
        await self._connection.write(out)

    def end(self) -> bool:
        """After the app: finish the answer, and say whether the connection can be used again."""
        if self._h11.our_state is h11.SEND_RESPONSE:
            log.error("bug: %s %s was not answered", self.method, ascii(self.path))
            raise _Refusal(500, "internal", "HAL made a mistake; the daemon's log has the details")
        if self._h11.our_state is not h11.DONE:
            return False
        if self._h11.their_state is h11.SEND_BODY:
            # A body that nobody read: if all of it is here already, the connection stays in step.
            event = self._connection.next_event()
            while isinstance(event, h11.Data):
                event = self._connection.next_event()
        return self._h11.their_state is h11.DONE
