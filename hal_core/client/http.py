"""The little of HTTP/1.1 that a client needs, without input or output: bytes to send, and a reader for what comes back.

Both transports (sockets, trio streams) share it. It uses no HTTP library because importing one costs more than a whole
`hal submit`. It must stay strict: an answer that breaks the protocol raises ValueError and is never guessed at.
"""

from __future__ import annotations

HEAD_BYTES_MAX = 64 * 1024
LOCAL_IDENTITY = "host: hal\r\n"
"""A Unix socket has no host name, and its peer is known to the daemon."""


def query(path: str, **parameters: object) -> str:
    """`path?name=value&...` without those that are None."""
    given = [f"{name}={quoted(str(value))}" for name, value in parameters.items() if value is not None]
    return path + ("?" + "&".join(given) if given else "")


def quoted(text: str) -> str:
    """Percent-encoded for a path segment or query value (urllib would cost 5 ms at start)."""
    safe = "-._~,"
    plain = text.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if chr(b).isascii() and (chr(b).isalnum() or chr(b) in safe) else f"%{b:02X}" for b in plain)


def request_bytes(
    method: str,
    target: str,
    body: bytes | None = None,
    accept: str = "application/json",
    identity: str = LOCAL_IDENTITY,
) -> bytes:
    """One request. `identity`: the header lines that say who is called, and by whom."""
    head = f"{method} {target} HTTP/1.1\r\n{identity}accept: {accept}\r\n"
    if body is not None:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    elif method != "GET":
        head += "content-length: 0\r\n"
    return head.encode("ascii") + b"\r\n" + (body or b"")


class ResponseReader:
    """Reads one response as it arrives: `feed` takes bytes and gives back the part of the body that became readable."""

    def __init__(self) -> None:
        self.status = 0
        """0 until the head is complete."""
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self._buffer = b""
        self._rest_bytes = 0
        """Of the body, or of the present chunk."""
        self._phase = "head"

    @property
    def can_be_reused(self) -> bool:
        """Whether the connection may carry another request after this response."""
        return self.is_complete and self.headers.get("connection", "").lower() != "close"

    def feed(self, data: bytes) -> bytes:
        """Body bytes that became readable. Raises ValueError if the peer breaks the protocol."""
        self._buffer += data
        body = []
        while not self.is_complete:
            before = self._phase, len(self._buffer)
            if self._phase == "head":
                self._read_head()
            elif self._phase in ("body", "chunk"):
                body.append(self._take_body())
            elif self._phase == "close":
                body.append(self._buffer)
                self._buffer = b""
            else:
                self._read_chunk_line()
            if before == (self._phase, len(self._buffer)):
                break
        return b"".join(body)

    def end(self) -> None:
        """The peer closed. Raises ValueError if the response was not whole."""
        if self._phase == "close":
            self.is_complete = True
        if not self.is_complete:
            raise ValueError("the connection was closed in the middle of an answer")

    def _read_head(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise ValueError("the head of the answer is too long")
            return
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest_of_line = status_line.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not rest_of_line[:3].isdecimal():
            raise ValueError("the peer does not speak HTTP/1.1")
        self._buffer = rest
        if int(rest_of_line[:3]) < 200:
            return
        self.status = int(rest_of_line[:3])
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(f"not a header: {line[:80]!r}")
            self.headers[name.lower()] = value.strip()
        self._choose_body()

    def _choose_body(self) -> None:
        length = self.headers.get("content-length", "")
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._phase = "size"
        elif self.status in (204, 304) or length == "0":
            self.is_complete = True
        elif length:
            if not length.isdecimal():
                raise ValueError(f"content-length is {length[:40]!r}")
            self._phase, self._rest_bytes = "body", int(length)
        else:
            self._phase = "close"

    def _take_body(self) -> bytes:
        piece, self._buffer = self._buffer[: self._rest_bytes], self._buffer[self._rest_bytes :]
        self._rest_bytes -= len(piece)
        if self._rest_bytes == 0:
            if self._phase == "body":
                self.is_complete = True
            else:
                self._phase = "chunk end"
        return piece

    def _read_chunk_line(self) -> None:
        """The line before a chunk (its size), after a chunk (empty), or of the trailer (until an empty one)."""
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            if len(line) > HEAD_BYTES_MAX:
                raise ValueError("a chunk of the answer has no end")
            return
        self._buffer = rest
        if self._phase == "chunk end":
            if line:
                raise ValueError("a chunk of the answer is longer than it says")
            self._phase = "size"
        elif self._phase == "size":
            digits = line.partition(b";")[0].strip()
            if not digits or digits.strip(b"0123456789abcdefABCDEF"):
                raise ValueError(f"a chunk of the answer has size {digits[:40]!r}")
            self._rest_bytes = int(digits, 16)
            self._phase = "chunk" if self._rest_bytes else "trailer"
        elif not line:
            self.is_complete = True
