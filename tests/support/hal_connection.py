"""REST over HAL's Unix socket with the standard library's HTTP client, on a connection that is kept.

Not HAL's own client: tests and benchmarks look at the daemon from outside, and a fault of the client must not hide one
of the daemon.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]


class HalRefused(Exception):
    """An answer with an error status. `error` is the object that docs/reference/rest.md describes."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers or {}
        try:
            self.error: Json = json.loads(body)["error"]
        except (ValueError, KeyError, TypeError):
            self.error = {"kind": "", "text": body.decode(errors="replace")}
        super().__init__(f"{status}: {self.error.get('text')}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("hal", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class HalConnection:
    """One kept connection. Use it from one thread."""

    def __init__(self, path: Path, timeout_s: float = 120.0) -> None:
        self._http = _UnixConnection(path, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, target: str) -> Json:
        return self.request("GET", target)

    def post(self, target: str, body: Json) -> Json:
        return self.request("POST", target, body)

    def request(self, method: str, target: str, body: Json | None = None) -> Json:
        """Raises HalRefused for an error status, OSError or HTTPException if the daemon is not there."""
        content = None if body is None else json.dumps(body).encode()
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            self._http.request(method, target, content, headers)
            response = self._http.getresponse()
            received = response.read()
        except (OSError, http.client.HTTPException):
            self._http.close()  # the next request connects again
            raise
        if response.status >= 400:
            raise HalRefused(response.status, received, response.headers)
        answer: Json = json.loads(received)
        return answer

    def events(self, after: int) -> Iterator[tuple[int, str, Json]]:
        """(sequence, kind, fields) of each event after that sequence number, as they come. Ends with the daemon."""
        self._http.request("GET", f"/v1/events?after={after}", headers={"Accept": "text/event-stream"})
        response = self._http.getresponse()
        if response.status >= 400:
            raise HalRefused(response.status, response.read())
        sequence, kind = 0, ""
        for line in response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                sequence = int(value)
            elif name == "event":
                kind = value
            elif name == "data":
                yield sequence, kind, json.loads(value)
