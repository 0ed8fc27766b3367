"""One call of the API: what a handler is given, and the ASGI endpoint around it that reads, refuses and answers.

Everything that all routes have in common happens here once: identity, browser safety, media type, strict reading,
errors.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from hal_core import errors
from hal_core.models.role import Role
from hal_core.rest.answers import Answer, BadRequest, HttpError, error_answer
from hal_core.rest.asgi import ClientGone, Receive, Scope, Send
from hal_core.rest.network import REMOTE, is_our_host, is_our_page
from hal_core.rest.port import Context
from hal_core.rest.query import Parameter, read_query
from hal_core.rest.rates import Buckets
from hal_core.rest.rights import Caller
from hal_core.rest.shared import SharedAnswers
from hal_core.rest.strict_json import read_body
from hal_core.rest.tokens import Unauthenticated, bearer

CALLER_KEPT_S = 60.0
CALLERS_MAX = 4096
JOURNAL_COST = 20.0
"""Of what a user may ask for, if much of the journal is read for it."""


@attrs.frozen
class Call:
    """What a handler works with. `body` is an instance of the route's request class, or the raw bytes."""

    context: Context
    caller: Caller
    method: str
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    headers: Mapping[bytes, bytes]
    receive: Receive

    def charge(self, cost: float) -> None:
        """Count so much more than the route's own cost, because of what is asked for."""
        if (buckets := buckets_of(self.context, self.caller, self.method)) is not None:
            buckets.charge(self.caller.uid, cost, self.context.monotonic_s())

    async def until_gone(self) -> bool:
        """Return when the client has left, or the server is finishing: then False."""
        while (message := await self.receive())["type"] != "http.disconnect":
            pass
        return not message.get("hal.is_finishing", False)

    async def while_there(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it is done, the client has left or the server is finishing."""
        failure: errors.HalError | OSError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_gone, nursery.cancel_scope)
            try:
                await work()
            except (errors.HalError, OSError) as error:  # not through the nursery, which would wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _cancel_when_gone(self, scope: trio.CancelScope) -> None:
        await self.until_gone()
        scope.cancel()

    async def wait_for(self, is_reached: Callable[[], bool], timeout_s: float) -> None:
        """Return when the state reached something, or the time is over, or nobody waits any more."""
        kernel = self.context.kernel

        async def wait() -> None:
            while True:
                sequence = kernel.durable_sequence
                if is_reached():
                    return
                await kernel.wait_beyond(sequence)

        with trio.move_on_after(timeout_s):
            await self.while_there(wait)


class Stream:
    """An answer without an end: the handler writes to the client itself."""

    def __init__(self, media_type: str, run: Callable[[Send], Awaitable[None]]) -> None:
        self.media_type = media_type
        self._run = run

    async def send(self, send: Send) -> None:
        headers = [(b"content-type", self.media_type.encode("ascii")), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._run(send)


Handler = Callable[[Call], Awaitable[Answer | Stream]]


@attrs.frozen(kw_only=True)
class Route:
    """One row of the table from which both the router and the OpenAPI document are made."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[Any] | None = None
    body: type[Any] | None = None
    is_body_raw: bool = False
    """The handler reads the body itself (`body` is then for the document)."""
    query: tuple[Parameter, ...] = ()
    statuses: tuple[int, ...] = (200,)
    media_type: str = "application/json"
    cost: float = 1.0
    """How much of what a user may ask for it uses up; `Call.charge` adds what only some questions cost."""
    reads_state: bool = True
    """The answer is made from the live state and must wait until that is on disk."""
    is_shared: bool = False
    """It is the same for all callers of a role, and so made once for all who ask at the same moment."""


class Callers:
    """Who is asking, from what the listener knows of the connection. There is no other way in.

    Names and roles are kept for a minute: the machine's user database may be a directory far away, so it is asked in a
    thread, and not for every request.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[int, tuple[float, str | None, Role]] = {}

    async def of(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Caller:
        extensions = scope.get("extensions", {})
        if "hal.peer" in extensions:
            if b"authorization" in headers:
                raise Unauthenticated("here callers are known by their user id; leave out the header Authorization")
            _, uid, gid = extensions["hal.peer"]
            user, role = await self._named(uid)
            return Caller(user, uid, gid, role)
        if REMOTE not in extensions or self._context.tokens is None:
            raise Unauthenticated("HAL does not know who is at the other end of this connection")
        if not is_our_host(headers.get(b"host", b""), extensions[REMOTE]):
            raise HttpError(421, "misdirected", "the daemon does not go by that name; see listen.hosts")
        claims = self._context.tokens.check(bearer(headers.get(b"authorization")), self._context.now_s())
        user, role = await self._named(claims.uid)
        if user != claims.user:
            raise Unauthenticated("the user of this token has another name now; get a new one with `hal token`")
        return Caller(user, claims.uid, claims.gid, role, is_local=False)

    async def _named(self, uid: int) -> tuple[str, Role]:
        """Name and role of a user id. Raises HttpError if it has no name."""
        now_s = self._context.now_s()
        time_s, user, role = self._kept.get(uid, (-math.inf, None, Role.USER))
        if not 0 <= now_s - time_s < CALLER_KEPT_S:
            user, role = await trio.to_thread.run_sync(self._look_up, uid)
            if len(self._kept) >= CALLERS_MAX:
                self._kept.clear()
            self._kept[uid] = (now_s, user, role)
        if user is None:
            raise HttpError(403, "forbidden", f"user id {uid} has no name on this machine")
        return user, role

    def _look_up(self, uid: int) -> tuple[str | None, Role]:
        user = self._context.user_of(uid)
        return user, Role.USER if user is None else self._context.role_of(user)


class Endpoint:
    """The ASGI app of one path: chooses the route by method, and turns errors into answers."""

    def __init__(self, context: Context, callers: Callers, routes: Sequence[Route]) -> None:
        self._context = context
        self._callers = callers
        self._by_method = {route.method: route for route in routes}
        self._shared = SharedAnswers(context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: Answer | Stream
        try:
            answer = await self._answer(scope, receive)
        except errors.HalError as error:
            told = error_answer(error)
            if told is None:
                raise
            answer = told
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | Stream:
        headers = dict(scope["headers"])
        if b"origin" in headers and not is_our_page(headers[b"origin"], scope):
            raise HttpError(403, "forbidden", "requests made by other web pages (header Origin) are refused")
        caller = await self._callers.of(scope, headers)
        route = self._route(scope["method"])
        self._take(route, caller)
        query = read_query(scope["query_string"], route.query)
        body = await self._body(route, headers, receive)
        call = Call(self._context, caller, route.method, scope["path_params"], query, body, headers, receive)
        if route.is_shared:
            question = (caller.role, scope["path"], scope["query_string"])
            answer: Answer | Stream = await self._shared.of(question, partial(route.handler, call))
        else:
            answer = await route.handler(call)
        if route.reads_state:
            await self._context.kernel.settled()
        return answer

    def _take(self, route: Route, caller: Caller) -> None:
        """Count the request against what its user may ask for. Raises TooOften."""
        if (buckets := buckets_of(self._context, caller, route.method)) is not None:
            buckets.take(caller.uid, route.cost, self._context.monotonic_s())

    def _route(self, method: str) -> Route:
        route = self._by_method.get("GET" if method == "HEAD" else method)
        if route is None or (method == "HEAD" and route.media_type == "text/event-stream"):
            allowed = ", ".join(sorted(self._by_method))
            text = f"this route does not know {method}; it knows {allowed}"
            raise HttpError(405, "method_not_allowed", text, [("allow", allowed)])
        return route

    async def _body(self, route: Route, headers: Mapping[bytes, bytes], receive: Receive) -> Any:
        if route.body is None:
            if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
                raise BadRequest("this route takes no body")
            return None
        media_type, _, charset = headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
        if media_type.strip() != "application/json" or charset.strip() not in ("", "charset=utf-8", 'charset="utf-8"'):
            raise HttpError(415, "unsupported_media_type", "send `Content-Type: application/json`")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise HttpError(415, "unsupported_media_type", "compressed bodies are not understood; send it as it is")
        content = await read_all(receive)
        return content if route.is_body_raw else read_body(content, route.body)


def buckets_of(context: Context, caller: Caller, method: str) -> Buckets | None:
    """Where such a request of the caller is counted; None: nobody counts."""
    return None if context.rates is None or caller.role is not Role.USER else context.rates.of(method)


async def read_all(receive: Receive) -> bytes:
    """The whole body. Its size is bounded by the listener."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client left before its request was complete")
        if message["body"]:
            pieces.append(message["body"])
        if not message.get("more_body", False):
            return b"".join(pieces)
