"""The metadata service of an EC2 instance, in version 2: a real server, which answers nobody without a token.

    with MetadataService() as service:
        service.interrupt(120)

What AWS says comes at paths of `said`; all else is not found. `python tests/support/metadata_service.py PORT` serves
until it is killed, on all addresses: for a host of its own.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

INTERRUPTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
CREDENTIALS = "/latest/meta-data/iam/security-credentials/role"
LIFE_HEADER, TOKEN_HEADER = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"


class MetadataService:
    """A context manager."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.said: dict[str, Any] = {CREDENTIALS: {"SecretAccessKey": "canary-of-the-role"}}
        self.said_to: dict[str, dict[str, Any]] = {}
        """By the address of who asks."""
        self.tokens: set[str] = set()
        self.token_count = 0
        self.refused_count = 0
        self._server = _Server((address, port), _Handler)
        self._server.service = self
        self.port: int = self._server.server_address[1]
        self.endpoint = f"http://{address}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def interrupt(self, within_s: float, address: str = "") -> None:
        """The instance of that address is taken back; without one, all that ask."""
        at = (datetime.now(UTC) + timedelta(seconds=within_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = self.said_to.setdefault(address, {}) if address else self.said
        said[INTERRUPTION] = {"action": "terminate", "time": at}

    def withdraw(self, address: str) -> None:
        """The instance is gone, and the next one of its address has heard nothing."""
        self.said_to.pop(address, None)

    def recommend(self) -> None:
        """The instance is likely to be taken back."""
        self.said[REBALANCE] = {"noticeTime": "2026-11-05T08:22:00Z"}

    def serve_forever(self) -> None:
        self._server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: MetadataService


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        service = self.server.service
        if self.path != "/latest/api/token" or not self.headers.get(LIFE_HEADER, "").isdigit():
            self._reply(400, "")
            return
        token = secrets.token_hex(8)
        service.tokens.add(token)
        service.token_count += 1
        self._reply(200, token)

    def do_GET(self) -> None:
        service = self.server.service
        if self.headers.get(TOKEN_HEADER) not in service.tokens:
            service.refused_count += 1
            self._reply(401, "")
        elif (said := self._said().get(self.path)) is not None:
            self._reply(200, said if isinstance(said, str) else json.dumps(said))
        else:
            self._reply(404, "")

    def _said(self) -> dict[str, Any]:
        service = self.server.service
        return {**service.said, **service.said_to.get(self.client_address[0], {})}

    def _reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    MetadataService("0.0.0.0", int(sys.argv[1])).serve_forever()
