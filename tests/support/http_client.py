"""A client for tests of the HTTP server: sends exactly the bytes it is told to, and reads answers with h11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import h11
import msgspec
import trio


@attrs.frozen
class Response:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def kind(self) -> str:
        """The kind of the error."""
        return self.json()["error"]["kind"]

    @property
    def places(self) -> list[str]:
        return [problem["place"] for problem in self.json()["error"]["problems"]]


class Client:
    """One connection."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._rest = b""
        """Bytes of the next answer, which came with the last one."""

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, raw: bytes) -> None:
        await self.stream.send_all(raw)

    async def request(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Response:
        """A well-formed request and its answer. A body that is not bytes is sent as JSON."""
        await self.send(request_bytes(method, target, body, headers))
        return await self.response(method)

    async def response(self, method: str = "GET") -> Response:
        """The next answer to a request with that method."""
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        reader.send(h11.EndOfMessage())
        if self._rest:
            reader.receive_data(self._rest)
            self._rest = b""
        head, body = None, b""
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await self.stream.receive_some(65536))
                reader.receive_data(data)
                continue
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("closed without an answer")
        self._rest = reader.trailing_data[0]
        assert head is not None
        fields = {name.decode(): value.decode() for name, value in head.headers}
        return Response(head.status_code, fields, body)

    async def rest(self) -> bytes:
        """All that still comes, up to the end of the connection."""
        data, self._rest = self._rest, b""
        try:
            while piece := await self.stream.receive_some(65536):
                data += bytes(piece)
        except trio.BrokenResourceError:
            pass
        return data


def request_bytes(method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a request as a plain client writes it."""
    fields = {"host": "hal"}
    content = b""
    if body is not None:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        fields |= {"content-type": "application/json", "content-length": str(len(content))}
    fields |= headers or {}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


async def connect(path: Path) -> Client:
    return Client(await trio.open_unix_socket(path))
