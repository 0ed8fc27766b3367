"""The raw head of an HTTP/1.1 request, checked before the parser sees it.

h11 is lenient where the old RFCs were (bare LF, folded lines, repeated equal lengths, Transfer-Encoding beside
Content-Length). Two readers that are lenient in different ways are how requests are smuggled, so HAL refuses all of
it here.
"""

from __future__ import annotations

import re

HEAD_END = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"[A-Z]{1,16} (/[!-\"$-~]*) HTTP/1\.([01])")
_BEGIN = re.compile(rb"[A-Z]{1,16}( .*)?\Z", re.DOTALL)
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*+([ \t!-~\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_SINGLE = frozenset({b"host", b"content-type", b"content-encoding", b"authorization", b"origin", b"expect"})


class HeadError(Exception):
    """The head is not what HAL accepts; the connection must be closed after the answer."""


def check_begin(begin: bytes) -> None:
    """Refuse what cannot become a request line (TLS, HTTP/2, HTTP/0.9, random bytes) as soon as it can be seen.

    `begin` is what has arrived so far, perhaps less than a line.
    """
    line, newline, _ = begin.partition(b"\n")
    if newline:
        if _REQUEST_LINE.fullmatch(line.removesuffix(b"\r")) is None or not line.endswith(b"\r"):
            raise HeadError("the request line is not `METHOD /path HTTP/1.1`")
    elif _BEGIN.match(begin) is None:
        raise HeadError("this is not HTTP/1.1")


def check_head(head: bytes) -> None:
    """Refuse a head (without the final empty line) that two readers might understand differently."""
    first, *lines = head.split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    if request_line is None:
        raise HeadError("the request line is not `METHOD /path HTTP/1.1`")
    seen: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise HeadError(
                "a header line is malformed (folded line, bare newline, or a character that is not allowed)"
            )
        name = field[1].lower()
        if name in (b"content-length", b"transfer-encoding"):
            if b"content-length" in seen or b"transfer-encoding" in seen:
                raise HeadError("the length of the body is given twice")
        elif name in _SINGLE and name in seen:
            raise HeadError(f"header {name.decode('ascii')} is given twice")
        seen[name] = field[2].rstrip(b" \t")
    length = seen.get(b"content-length")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise HeadError("Content-Length is not a number")
    coding = seen.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or request_line[2] == b"0"):
        raise HeadError("the only Transfer-Encoding understood is `chunked`, in HTTP/1.1")
    if not seen.get(b"host") and request_line[2] == b"1":
        raise HeadError("header Host is missing")
