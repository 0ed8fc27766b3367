"""What a server's answer means: whether it is the file, from where on, how long, and which version of it. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

import attrs

from hal_core.errors import NotFound, Refused

LATER = {408, 421, 425, 429}
"""Statuses below 500 after which the same request may succeed."""

CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
REPR_DIGEST = re.compile(r"sha-256=:([^:]*):", re.IGNORECASE)
SHA_256 = re.compile(r"[A-Za-z0-9+/]{43}=")
"""In base64: 32 bytes."""


Headers = Mapping[str, str]


@attrs.frozen
class Extent:
    """What an answer has of a file: the bytes from `begin` on, `count` of them; None: it does not say how many."""

    begin: int
    count: int | None


def check_status(status: int, name: str) -> None:
    """Raises UserError where asking again would not help, else OSError. 416 is left to the caller."""
    if status in (200, 206, 416):
        return
    if status in (404, 410):
        raise NotFound(f"there is no {name} (the server says {status})")
    if status in (401, 403):
        raise Refused(f"the server does not let us read {name} (it says {status})")
    if status >= 500 or status in LATER:
        raise ConnectionError(f"the server of {name} says {status}")
    raise Refused(f"the server does not give {name} (it says {status})")


def extent_of(status: int, headers: Headers, name: str) -> Extent:
    """Of 200 or 206. Raises OSError for an answer that contradicts itself."""
    length = headers.get("content-length", "")
    count = int(length) if length.isdecimal() else None
    if status == 200:
        return Extent(0, count)
    found = CONTENT_RANGE.match(headers.get("content-range", ""))
    if found is None or found[1] is None:
        raise ConnectionError(f"the server sends a part of {name} and does not say which")
    begin, end = int(found[1]), int(found[2]) + 1
    if (count is not None and count != end - begin) or (found[3] != "*" and end != int(found[3])):
        raise ConnectionError(f"the server sends bytes {begin} to {end} of {name}, which is not what was asked for")
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
    """SHA-256 of the whole file, if the server tells it: as RFC 9530 says, or as object stores do. Theirs of an object
    that came in parts is one of the parts' digests (it ends in `-3`), and says nothing here."""
    told = REPR_DIGEST.search(headers.get("repr-digest", ""))
    found = SHA_256.fullmatch(told[1] if told else headers.get("x-amz-checksum-sha256", ""))
    return base64.b64decode(found[0]) if found else None
