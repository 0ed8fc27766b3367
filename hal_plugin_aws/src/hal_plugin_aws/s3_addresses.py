"""`s3://bucket/key` as a place of an endpoint. The key is written as in a URL, with what is special percent-encoded."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import attrs

ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)")


@attrs.frozen
class S3Address:
    bucket: str
    key: str

    def url(self, endpoint: str) -> str:
        """With the bucket in the path, which every store understands, whatever its name and certificate."""
        return f"{endpoint.rstrip('/')}/{self.bucket}/{quote(self.key, safe='/~')}"


def parse_address(text: str) -> S3Address | None:
    """None: it is no address, or one that a server on the way could read as that of another bucket."""
    found = ADDRESS.fullmatch(text)
    key = unquote(found[2]) if found else ""
    if found is None or not key.isprintable() or any(part in (".", "..") for part in key.split("/")):
        return None
    return S3Address(found[1], key)
