"""Network addresses: `host:port`, where the host is a name, an IPv4 address or an IPv6 address in brackets."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from hal_core.errors import InvalidInput
from hal_core.parsing.text import parse_count, shown, wrong

PORT_MAX: Final = 65_535
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_LIKE_NUMBERS = re.compile(r"[0-9.]+|0x[0-9a-f]+")
_LOOPBACK_NAME: Final = "localhost"


def parse_address(text: str) -> str:
    """The text itself, if it is `host:port`."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise wrong(f"{shown(text)} has no port; write host:port, such as 10.0.0.1:8443")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise wrong(f"{shown(text)} is not an address; put an IPv6 address in brackets, such as [::1]:8443")
    parse_network_host(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    try:
        parse_count(port, 1, PORT_MAX)
    except InvalidInput:
        raise wrong(f"{shown(port)} is not a port; it can be 1 to {PORT_MAX}") from None
    return text


def parse_network_host(text: str) -> str:
    """A DNS name, an IPv4 address or an IPv6 address (without brackets)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # 127.1 and 0x7f000001 are addresses to some programs and names to others
        if not _NAME.fullmatch(text) or _LIKE_NUMBERS.fullmatch(text.lower()):
            raise wrong(f"{shown(text)} is neither a host name nor an IP address") from None
    return text


def host_of(address: str) -> str:
    """The host of what `parse_address` let pass, without brackets."""
    host, _, _ = address.rpartition(":")
    return host.strip("[]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == _LOOPBACK_NAME:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_any_address(host: str) -> bool:
    """Whether it stands for all addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
