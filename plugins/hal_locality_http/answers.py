"""What a server's answer means: whether it is the file, from where on, how long, and which version of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

import attrs

from hal_core import NotFound, Refused

LATER = {408, 421, 425, 429}
"""Statuses below 500 after which the same request may succeed."""

CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
SHA_256 = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):", re.IGNORECASE)

Headers = Mapping[str, str]


@attrs.frozen
class Extent:
    """What an answer has of a file: the bytes from `begin` on, `count` of them; None: it does not say how many."""

    begin: int
    count: int | None


def check_status(status: int, url: str) -> None:
    """Raises UserError where asking again would not help, else OSError. 416 is left to the caller."""
    if status in (200, 206, 416):
        return
    if status in (404, 410):
        raise NotFound(f"there is no {url} (the server says {status})")
    if status in (401, 403):
        raise Refused(f"the server does not give {url} to everybody (it says {status})")
    if status >= 500 or status in LATER:
        raise ConnectionError(f"the server of {url} says {status}")
    raise Refused(f"the server does not give {url} (it says {status})")


def extent_of(status: int, headers: Headers, url: str) -> Extent:
    """Raises OSError for an answer that contradicts itself, Refused for one in a form that we did not ask for."""
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Refused(f"the server gives {url} only encoded ({encoding}), which has another size and other offsets")
    length = headers.get("content-length", "")
    count = int(length) if length.isdecimal() else None
    if status == 200:
        return Extent(0, count)
    found = CONTENT_RANGE.match(headers.get("content-range", ""))
    if status == 416:
        if found is None or found[1] is not None or found[3] == "*":
            raise Refused(f"the server has no such range of {url}, and does not tell its size")
        return Extent(int(found[3]), 0)
    if found is None or found[1] is None:
        raise ConnectionError(f"the server sends a part of {url} and does not say which")
    begin, end = int(found[1]), int(found[2]) + 1
    if (count is not None and count != end - begin) or (found[3] != "*" and end != int(found[3])):
        raise ConnectionError(f"the server sends bytes {begin} to {end} of {url}, which is not what was asked for")
    return Extent(begin, end - begin)


def total_of(headers: Headers) -> int | None:
    """The size of the whole file from a `Content-Range`."""
    found = CONTENT_RANGE.match(headers.get("content-range", ""))
    return int(found[3]) if found is not None and found[3] != "*" else None


def version_of(headers: Headers) -> str:
    """What tells two versions of a file apart; empty: nothing does. A weak ETag (W/...) promises too little."""
    etag = headers.get("etag", "")
    return etag if etag.startswith('"') else headers.get("last-modified", "")


def digest_of(headers: Headers) -> bytes | None:
    """SHA-256 of the whole file, if the server tells it (`Repr-Digest`, RFC 9530)."""
    found = SHA_256.search(headers.get("repr-digest", ""))
    try:
        return base64.b64decode(found[1], validate=True) if found else None
    except binascii.Error:
        return None
