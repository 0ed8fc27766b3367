"""Which addresses are reached for a server that a user named and the site did not list by its name.

A prefix such as `https://` stands for all servers, and a user may own a name that leads anywhere. So the name is looked
up once, every address that it has is looked at, and the connection goes to one of those, not to what the name means a
moment later. Machines have more rights with themselves and with their cloud's metadata service than users have.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Final

import httpx
import trio

from hal_core.errors import Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
)
"""Services of clouds for their own machines that are not on a link-local address."""
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


async def looked_up(url: httpx.URL, name: str) -> httpx.URL:
    """The same URL with an address in place of the host. Raises Refused if any address of it must not be reached."""
    try:
        found = await trio.socket.getaddrinfo(url.host, url.port or url.scheme, type=trio.socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectionError(f"the server of {name} is not found: {error}") from error
    addresses = [str(each[4][0]).partition("%")[0] for each in found]
    if not addresses or not all(is_reachable(ipaddress.ip_address(each)) for each in addresses):
        raise Refused(
            f"the server of {name} has an address of this machine or of its cloud's own services; a site that means it "
            "lists the server by its name"
        )
    return url.copy_with(host=addresses[0])


def is_reachable(address: Address) -> bool:
    """Not what only this machine, or its network segment, is meant to reach, however it is written."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_reachable(inner)
    is_special = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    return not (is_special or address.is_reserved or address in METADATA or is_own(address))


def is_own(address: Address) -> bool:
    """Whether it is one of this machine, to which a socket of its own can be bound. What cannot be told is."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
