"""The options of the Redis locality, as they stand in the YAML.

localities:
  redis:
    key_prefix: "data:"
    servers:
      - {address: cache1:6379, node: n1}
      - {address: cache2:6379, node: n2}
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from hal_core import NodeName, Secret


def _is_host_and_port(_: object, __: object, text: str) -> None:
    host, _colon, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host or "@" in host:
        raise ValueError(f"expected HOST:PORT, such as cache1:6379, not {text!r}")


@attrs.frozen
class Server:
    """`node`: where it runs; a copy from there to there does not cross the network."""

    address: str = attrs.field(validator=_is_host_and_port)
    node: NodeName | None = None


def _are_some_and_different(_: object, __: object, servers: tuple[Server, ...]) -> None:
    if not servers:
        raise ValueError("expected at least one server, such as {address: cache1:6379}")
    twice = sorted(name for name, count in Counter(server.address for server in servers).items() if count > 1)
    if twice:
        raise ValueError(f"each server may be listed once; listed more often: {', '.join(twice)}")


_is_positive: Any = attrs.validators.gt(0)


@attrs.frozen
class RedisOptions:
    """Keys without the prefix are not looked at. `rescan_s`: how old an inventory may be when events were lost."""

    servers: tuple[Server, ...] = attrs.field(validator=_are_some_and_different)
    key_prefix: str = ""
    username: str = "default"
    password: Secret | None = None
    has_tls: bool = False
    ca_file: str = ""
    key_count_max: int = attrs.field(default=1_000_000, validator=_is_positive)
    rescan_s: float = attrs.field(default=300.0, validator=_is_positive)
    timeout_s: float = attrs.field(default=10.0, validator=_is_positive)
    bytes_per_s: float = attrs.field(default=1e9, validator=_is_positive)
    local_bytes_per_s: float = attrs.field(default=4e9, validator=_is_positive)
