"""One plain HTTP request with exactly these headers."""

from __future__ import annotations

import http.client
from collections.abc import Mapping


def status_of(port: int, method: str, target: str, headers: Mapping[str, str]) -> int:
    """The status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()
