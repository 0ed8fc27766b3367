"""A real web server on a port of this machine that serves files from memory, well or badly, as a test tells it to.

Written on the standard library's `http.server`, so that our reader is tested against somebody else's writer.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import attrs


@attrs.define
class File:
    """One path. `failing`: statuses of its next answers. `sends`: how many bytes of an answer come before the
    connection is cut; with `then_hangs` nothing more comes, until the server is stopped."""

    content: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    has_ranges: bool = True
    has_length: bool = True
    failing: list[int] = attrs.field(factory=list)
    location: str = ""
    sends: int | None = None
    then_hangs: bool = False


class FileServer:
    """A context manager. `asked` has (method, path, range) of each request."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.asked: list[tuple[str, str, str]] = []
        self._is_over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, self._is_over))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, path: str, content: bytes = b"", **how: object) -> str:
        """The URL of the new file."""
        self.files[path] = File(content, **how)  # type: ignore[arg-type]
        return self.url + path


def _handler(served: FileServer, is_over: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.asked.append((self.command, self.path, self.headers.get("range", "")))
            file = served.files.get(self.path)
            if file is None:
                self.answer(404, b"no such file", {})
            elif file.failing:
                self.answer(file.failing.pop(0), b"not now", {})
            elif file.location:
                self.answer(302, b"", {"Location": file.location})
            else:
                self.serve(file)

        do_HEAD = do_GET

        def serve(self, file: File) -> None:
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
            is_same = self.headers.get("if-range", file.headers.get("ETag")) == file.headers.get("ETag")
            size = len(file.content)
            if not found or not file.has_ranges or not is_same:
                self.answer(200, file.content, file.headers, file)
                return
            begin, end = int(found[1]), min(int(found[2] or size), size - 1) + 1
            if begin >= size:
                self.answer(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            headers = {**file.headers, "Content-Range": f"bytes {begin}-{end - 1}/{size}"}
            self.answer(206, file.content[begin:end], headers, file)

        def answer(self, status: int, content: bytes, headers: Mapping[str, str], file: File | None = None) -> None:
            self.send_response(status)
            given = {"Content-Length": str(len(content))} if file is None or file.has_length else {}
            for name, value in {**given, **headers}.items():
                self.send_header(name, value)
            if not given:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "HEAD":
                return
            if file is not None and file.sends is not None and len(content) > file.sends:
                self.wfile.write(content[: file.sends])
                self.wfile.flush()
                if file.then_hangs:
                    is_over.wait()
                self.close_connection = True
                return
            self.wfile.write(content)

        def handle(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

        def log_message(self, *_: object) -> None:
            """Silent: pytest shows what matters."""

    return Handler
