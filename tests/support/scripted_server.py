"""A small real HTTP server on a Unix socket that answers as a test tells it to. For the CLI and the clients.

It runs in threads of the test and is written on the standard library's `http.server`, so that our own reader of HTTP is
tested against somebody else's writer.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """`stream` is sent in chunks as it comes; `raw` replaces the whole answer, then the connection is closed."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterable[bytes] | None = None
    raw: bytes | None = None


Responder = Callable[[Request], Reply]


def error(status: int, kind: str, text: str, problems: Iterable[tuple[str, str]] = (), **headers: str) -> Reply:
    listed = [{"place": place, "text": problem} for place, problem in problems]
    return Reply({"error": {"kind": kind, "text": text, "problems": listed}}, status, headers)


class ScriptedServer:
    """`with ScriptedServer(path) as server:` serves what `answer` was told; everything else is 404."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Request] = []
        self._responders: dict[tuple[str, str], Responder] = {}
        self._server = _Server(str(path), _Handler)
        self._server.scripted = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop as a daemon does that is killed: nobody listens any more, and every connection is cut."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self._server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, method: str, path: str, reply: Reply | Responder | dict[str, Any]) -> None:
        """Answer this method and path (without query) with a reply, a body, or whatever the function says."""
        if isinstance(reply, dict):
            reply = Reply(reply)
        self._responders[method, path] = reply if callable(reply) else lambda _, fixed=reply: fixed

    def reply_to(self, request: Request) -> Reply:
        self.requests.append(request)
        responder = self._responders.get((request.method, request.path))
        return responder(request) if responder else error(404, "not_found", f"no route {request.path}")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    scripted: ScriptedServer

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(path, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        content = self.rfile.read(length)
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = json.loads(content) if content else None
        request = Request(self.command, parts.path, query, dict(self.headers.items()), body)
        self._send(self.server.scripted.reply_to(request))

    do_POST = do_GET

    def _send(self, reply: Reply) -> None:
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name.replace("_", "-"), value)
        if reply.stream is not None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            for piece in reply.stream:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
            return
        content = json.dumps(reply.body).encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Silent: pytest shows what matters."""
