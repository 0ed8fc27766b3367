"""REST over TCP, for callers on other machines: the listener, its TLS, and what is known of a peer before it speaks.

Nothing is known but an address, and an address is nobody: who it is, a token must say with every request. A browser
can be talked into connecting here, so only names under which the daemon is meant to be reached are answered.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import trio

from hal_core.errors import Refused
from hal_core.parsing.addresses import host_of, is_loopback
from hal_core.rest.asgi import Peer, Scope
from hal_core.wire.private_files import check_private

BACKLOG = 4096
REMOTE = "hal.remote"
"""Extension of the ASGI scope: the peer came over the network, and these host names are ours."""


@attrs.frozen
class NetworkAddress:
    """Where to listen and as whom."""

    address: str
    """host:port; port 0 is any free one."""
    certificate: str = ""
    key: str = ""
    hosts: tuple[str, ...] = ()
    """Names by which clients may call the daemon, besides the address itself."""


class NetworkListener:
    """An open listener. `port` is the one it got."""

    def __init__(self, listener: trio.abc.Listener[Any], port: int, hosts: frozenset[str]) -> None:
        self.listener = listener
        self.port = port
        self._scheme = "https" if isinstance(listener, trio.SSLListener) else "http"
        self._hosts = hosts

    async def identify(self, stream: trio.abc.Stream) -> Peer | None:
        """The peer's address. A TLS handshake is made when the first bytes are read, so it counts as a connection."""
        tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        assert isinstance(tcp, trio.SocketStream), "addresses exist on sockets only"
        try:
            host, port = tcp.socket.getpeername()[:2]
        except OSError:
            return None
        return Peer(f"address {host}", self._scheme, (host, port), extensions={REMOTE: self._hosts})


async def open_network(wanted: NetworkAddress) -> NetworkListener:
    """Listen. Raises Refused, naming the path, for a key that others can read, and for TLS that cannot be."""
    host, port = host_of(wanted.address), int(wanted.address.rpartition(":")[2])
    context = None
    if wanted.certificate:
        check_private(Path(wanted.key))
        context = tls_context(wanted.certificate, wanted.key)
    elif not is_loopback(host):
        raise Refused(f"{wanted.address} can be reached from other machines; that takes a certificate and its key")
    try:
        (listener,) = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except ValueError:
        raise Refused(f"{host} means several addresses; write the one to listen on as a number") from None
    except OSError as error:
        raise Refused(f"cannot listen on {wanted.address}: {error.strerror or error}") from None
    own_port = listener.socket.getsockname()[1]
    names = {host, *wanted.hosts} | ({"localhost", "127.0.0.1", "::1"} if is_loopback(host) else set())
    serving: trio.abc.Listener[Any] = listener
    if context is not None:
        serving = trio.SSLListener(listener, context, https_compatible=True)
    forms = {form for name in names for form in host_headers(name, own_port)}
    return NetworkListener(serving, own_port, frozenset(forms))


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.3 with the daemon's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # clients keep their connections; tickets would only look like data to them
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError, too
        raise Refused(f"{certificate} and {key} cannot be used for TLS: {error.strerror or error}") from None
    return context


def host_headers(name: str, port: int) -> list[str]:
    """What clients may write into `Host` for this name and port."""
    host = f"[{name}]" if ":" in name else name.lower()
    return [f"{host}:{port}", *([host] if port in (80, 443) else [])]


def is_our_page(origin: bytes, scope: Scope) -> bool:
    """Whether a browser says that the request comes from the daemon's own page: over the network, from our address."""
    scheme, _, host = origin.partition(b"://")
    extensions = scope.get("extensions", {})
    return scheme.decode("latin-1") == scope["scheme"] and is_our_host(host, extensions.get(REMOTE, ()))


def is_our_host(header: bytes, hosts: Iterable[str]) -> bool:
    """Whether the request was meant for us: a web page under another name that points here (DNS rebinding) is not."""
    given = header.decode("latin-1").lower()
    return given in hosts
