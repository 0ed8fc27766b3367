"""Which URLs are ours. A URL is compared part by part: as text, `https://data.example.org@elsewhere/` begins well too.

The daemon and the agents fetch what users name, from inside the cluster's network; so they fetch only what is listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

import attrs

PORTS = {"http": 80, "https": 443}
VISIBLE = re.compile(r"[!-~]+")
"""A URL as it is sent: ASCII without blanks; what else a name has is percent-encoded."""

DOTS = (".", "..")


@attrs.frozen
class Place:
    """A URL as (scheme, host, port, path). As a prefix, an empty host stands for all, and the path ends in a slash."""

    scheme: str
    host: str
    port: int
    path: str

    def covers(self, other: Place) -> bool:
        is_server = not self.host or (self.host, self.port) == (other.host, other.port)
        return self.scheme == other.scheme and is_server and (other.path + "/").startswith(self.path)


def place_of(url: str) -> Place | None:
    """None: it is no http: or https: URL, or one that tells two readers two things."""
    if not VISIBLE.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    if parts.username is not None or parts.password is not None or parts.fragment or "\\" in url:
        return None
    if any(segment in DOTS for segment in unquote(parts.path).split("/")):
        return None
    return Place(parts.scheme, parts.hostname or "", port, parts.path or "/")


def prefixes_of(texts: Iterable[str]) -> tuple[Place, ...]:
    """Raises ValueError, for the one who configures."""
    found = []
    for text in texts:
        place = place_of(text)
        if place is None or urlsplit(text).query:
            raise ValueError(f"expected http: or https: URLs, such as https://data.example.org/public/, not {text!r}")
        found.append(attrs.evolve(place, path=place.path.rstrip("/") + "/"))
    return tuple(found)


def is_below(url: str, prefixes: Iterable[Place]) -> bool:
    place = place_of(url)
    return place is not None and bool(place.host) and any(prefix.covers(place) for prefix in prefixes)


def is_strange(url: str, prefixes: Iterable[Place]) -> bool:
    """Whether it is only below prefixes that stand for all servers."""
    place = place_of(url)
    return place is None or not any(prefix.host and prefix.covers(place) for prefix in prefixes)
