"""Our HTTP server against Hypercorn with the same app: same status, headers and body for the same bytes."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve

from hal_core.rest.asgi import Limits, Receive, Scope, Send
from tests.support.http_client import Client, Response, connect, request_bytes
from tests.support.rest_api import serving

IGNORED = {"date", "server", "h11"}
SEEN = ("type", "method", "path", "raw_path", "query_string", "http_version", "headers", "root_path")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it saw, in the way that the path asks for."""
    body, more = b"", scope["path"] != "/unread"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    seen = repr([(name, scope[name]) for name in SEEN]).encode() + b"\n" + body
    status = {"/created": 201, "/empty": 204, "/missing": 404, "/odd": 299}.get(scope["path"], 200)
    headers = [(b"content-type", b"text/plain"), (b"x-a", b"1"), (b"x-a", b"2")]
    if scope["path"] not in ("/chunked", "/empty"):
        headers.append((b"content-length", b"%d" % len(seen)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["path"] == "/chunked":
        for piece in (seen[:10], b"", seen[10:]):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    else:
        await send({"type": "http.response.body", "body": b"" if scope["path"] == "/empty" else seen})


def chunked(*chunks: bytes) -> bytes:
    frames = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + frames


REQUESTS = [
    ("GET", request_bytes("GET", "/")),
    ("GET", request_bytes("GET", "/a/b?c=d&e=%20f")),
    ("GET", request_bytes("GET", "/%C3%A9t%C3%A9%2Fx")),
    ("GET", request_bytes("GET", "/x?")),
    ("GET", request_bytes("GET", "/../x;y=1//")),
    ("GET", request_bytes("GET", "/missing")),
    ("GET", request_bytes("GET", "/empty")),
    ("GET", request_bytes("GET", "/created")),
    ("GET", request_bytes("GET", "/chunked")),
    ("HEAD", request_bytes("HEAD", "/")),
    ("HEAD", request_bytes("HEAD", "/missing")),
    ("OPTIONS", request_bytes("OPTIONS", "/")),
    ("DELETE", request_bytes("DELETE", "/x")),
    ("POST", request_bytes("POST", "/", b"")),
    ("POST", request_bytes("POST", "/", b"hello")),
    ("POST", request_bytes("POST", "/", b"\0\xff" * 5000)),
    ("POST", request_bytes("POST", "/", b"x" * 300_000)),
    ("PUT", request_bytes("PUT", "/created", b"{}")),
    ("POST", request_bytes("POST", "/unread", b"small")),
    ("POST", chunked(b"one", b"two")),
    ("POST", chunked()),
    ("POST", chunked(b"x" * 70_000, b"y")),
    ("GET", request_bytes("GET", "/", None, {"X-Many": "a, b", "x-UPPER": " v "})),
    ("GET", request_bytes("GET", "/", None, {"cookie": "a=b; c=d"})),
    ("GET", request_bytes("GET", "/", None, {"x-empty": ""})),
    ("GET", request_bytes("GET", "/", None, {"x-latin": "\xe9"})),
    ("GET", request_bytes("GET", "/", None, {"connection": "close"})),
    ("GET", b"GET /old HTTP/1.0\r\n\r\n"),
    ("GET", b"GET /old HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"),
]
REFUSED = [
    b"nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def ask_both(tmp_path: Path, method: str, raw: bytes) -> list[tuple[Response, Response]]:
    """The same bytes twice on one connection if it stays open, to both servers."""
    config = Config()
    config.bind = [f"127.0.0.1:{free_port()}"]
    config.include_server_header = False
    config.errorlog = config.accesslog = None
    async with serving(app, tmp_path / "s", Limits()), trio.open_nursery() as nursery:
        await nursery.start(partial(hypercorn_serve, app, config))  # type: ignore[arg-type]
        host, port = config.bind[0].split(":")
        found = []
        async with await connect(tmp_path / "s") as ours, Client(await trio.open_tcp_stream(host, int(port))) as theirs:
            for _ in range(2):
                pair = []
                for client in (ours, theirs):
                    await client.send(raw)
                    pair.append(await client.response(method))
                found.append((pair[0], pair[1]))
                if "close" in (pair[0].headers.get("connection", ""), pair[1].headers.get("connection", "")):
                    break
        nursery.cancel_scope.cancel()
        return found


@pytest.mark.parametrize(("method", "raw"), REQUESTS, ids=lambda value: repr(value[:40]))
async def test_both_servers_answer_alike(tmp_path: Path, method: str, raw: bytes) -> None:
    with trio.fail_after(60):
        for ours, theirs in await ask_both(tmp_path, method, raw):
            assert (ours.status, ours.body) == (theirs.status, theirs.body)
            assert {name: value for name, value in ours.headers.items() if name not in IGNORED} == {
                name: value for name, value in theirs.headers.items() if name not in IGNORED
            }


@pytest.mark.parametrize("raw", REFUSED, ids=lambda value: repr(value[:60]))
async def test_both_servers_refuse_alike(tmp_path: Path, raw: bytes) -> None:
    with trio.fail_after(60):
        for ours, theirs in await ask_both(tmp_path, "GET", raw):
            assert (ours.status, theirs.status) == (400, 400)
            assert ours.headers["connection"] == theirs.headers["connection"] == "close"
