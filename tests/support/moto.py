"""Moto's server: Amazon's APIs over real HTTP on loopback, as a process of its own; and what goes wrong on the way.

Moto leaves the last stroke of XML's namespace out, which makes libcloud's parser find nothing: `MotoEc2` puts it back.
"""

from __future__ import annotations

import http.client
import os
import re
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from libcloud.compute.drivers.ec2 import EC2Connection, EC2NodeDriver, EC2Response

from hal_core.testing import Fault
from tests.support.ports import free_port
from tests.support.processes import ProcessTree

ANSWERS_WITHIN_S = 120.0
"""It imports much before it listens."""
IMAGE = "ami-12c6146b"
"""One of those that it begins with."""


class Moto:
    """A context manager. What is made in it is gone with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()
        self.tree = ProcessTree()

    def __enter__(self) -> Self:
        self.tree.__enter__()
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self._directory)}
        self._pid = self.tree.start(argv, self._directory / "moto.log", environment, directory=self._directory)
        try:
            self.tree.until("moto answers", self._answers, ANSWERS_WITHIN_S, [self._pid])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tree.__exit__(None, None, None)  # It has nothing to save.

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/", timeout=ANSWERS_WITHIN_S):
                return True
        except OSError:
            return False


def _error(code: str, text: str) -> bytes:
    errors = f"<Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors>"
    return f"<Response>{errors}<RequestID>1</RequestID></Response>".encode()


Answers = Mapping[Fault, tuple[int, bytes]]
AS_EC2_DOES: Answers = {
    Fault.ERROR: (500, _error("InternalError", "An internal error has occurred")),
    Fault.THROTTLED: (503, _error("RequestLimitExceeded", "Request limit exceeded.")),
    Fault.NO_CAPACITY: (500, _error("InsufficientInstanceCapacity", "We do not have sufficient capacity.")),
}


class FaultyWay:
    """A proxy in front of a server. The next requests for `action` meet the `faults`, in order."""

    def __init__(self, port: int, action: str, answers: Answers = AS_EC2_DOES) -> None:
        self.answers = answers
        self.faults: deque[Fault] = deque()
        self.action = action
        self.seen: list[tuple[str, dict[str, str]]] = []
        """Every request: what was asked for (path and query), and the headers."""
        self._server = _Server(("127.0.0.1", 0), _Forwarder)
        self._server.way, self._server.target = self, port
        self.port: int = self._server.server_address[1]

    @contextmanager
    def open(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    way: FaultyWay
    target: int


class _Forwarder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        way = self.server.way
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = f"{self.path} {body.decode(errors='replace')}"
        way.seen.append((asked, dict(self.headers)))
        fault = way.faults.popleft() if way.faults and f"Action={way.action}" in asked else None
        if fault in way.answers:
            self._reply(*way.answers[fault], "text/xml")
            return
        target = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=ANSWERS_WITHIN_S)
        target.request(self.command, self.path, body or None, dict(self.headers))
        answer = target.getresponse()
        content = answer.read()
        target.close()
        if fault is Fault.LOST:
            self.close_connection = True
        else:
            self._reply(answer.status, content, answer.headers.get("Content-Type", "text/xml"))

    do_POST = do_GET

    def _reply(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class _Response(EC2Response):
    def parse_body(self) -> Any:
        self.body = re.sub(r'(xmlns="[^"]*[^"/])"', r'\1/"', self.body)
        return super().parse_body()


class _Connection(EC2Connection):
    responseCls = _Response

    def add_default_params(self, params: dict[str, Any]) -> Any:
        """Unless it is asked for more, moto shows the first hundred instances; EC2 shows all, and so does libcloud."""
        more = {"MaxResults": "1000"} if params.get("Action") == "DescribeInstances" else {}
        return super().add_default_params(params | more)


class MotoEc2(EC2NodeDriver):
    """libcloud's EC2 driver, for moto. Options name it `tests.support.moto:MotoEc2`."""

    connectionCls = _Connection
