"""TLS between daemon and agents: both show a certificate of the cluster's authority, version 1.3 or nothing.

Only a connection without a certificate may enrol, and it may do nothing else. What a certificate says of its holder is
read here; who that may be is decided by whoever asks.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import attrs
import trio

from hal_core.errors import WireError
from hal_core.wire.private_files import check_private

DAEMON_NAME: Final = "hal-daemon"
NODE_SCHEME: Final = "hal-node:"
HANDSHAKE_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S, TURN_TIMEOUT_S = 10.0, 60.0
"""To reach the daemon's machine; then for the handshake, because thousands of agents that come at once are let in by
turns: who waits costs nothing, who dials again costs another handshake.
"""


@attrs.frozen
class Peer:
    """Who is at the other end, as its certificate says."""

    node: str
    serial: int


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` or `[address]:port`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is not an address; write host:port, for example 10.0.0.1:7444")
    return host, int(port)


def daemon_context(directory: Path) -> ssl.SSLContext:
    """For the daemon's end. Certificates of agents are asked for, and checked if they are shown."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, directory / "authority.pem", directory / "daemon")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # No resumption: every connection shows its certificate.
    return context


def agent_context(directory: Path) -> ssl.SSLContext:
    """For an agent that has its certificate."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, directory / "authority.pem", directory / "agent")


def borrower_context(directory: Path) -> ssl.SSLContext:
    """For an agent that reads from another one, whose name `dial_node` compares: it stands in no DNS."""
    context = agent_context(directory)
    context.check_hostname = False
    return context


def lender_context(directory: Path) -> ssl.SSLContext:
    """For an agent that others read from: they must show a certificate."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, directory / "authority.pem", directory / "agent")
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    return context


def enrolment_context(authority_pem: str) -> ssl.SSLContext:
    """For a new node: it trusts the authority of its token and has nothing to show yet."""
    context = _bare_context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority_pem)
    return context


def _context(protocol: int, authority: Path, own: Path) -> ssl.SSLContext:
    key, certificate = own.with_suffix(".key"), own.with_suffix(".pem")
    check_private(key)
    check_private(authority)
    context = _bare_context(protocol)
    context.load_verify_locations(cafile=str(authority))
    context.load_cert_chain(str(certificate), str(key))
    return context


def _bare_context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.hostname_checks_common_name = False  # A node may be called what it likes: only the daemon has a DNS name.
    return context


async def dial(address: str, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    """A connection to the daemon, whose certificate was checked. Raises OSError or WireError."""
    host, port = parse_address(address)
    with trio.fail_after(CONNECT_TIMEOUT_S):
        tcp = await trio.open_tcp_stream(host, port)
    stream = trio.SSLStream(tcp, context, server_hostname=DAEMON_NAME)
    with trio.fail_after(TURN_TIMEOUT_S):
        await _shake_hands(stream)
    return stream


async def dial_node(address: str, context: ssl.SSLContext, node: str) -> trio.SSLStream[trio.SocketStream]:
    """A connection to the agent of that node, and of no other. Raises OSError or WireError."""
    stream = await dial(address, context)
    try:
        peer = peer_of(stream)
        if peer is None or peer.node != node:
            raise WireError(f"{address} is not node {node}")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def accept(tcp: trio.SocketStream, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    """The daemon's end. Raises WireError for whoever does not speak TLS or shows a wrong certificate."""
    stream = trio.SSLStream(tcp, context, server_side=True)
    with trio.move_on_after(HANDSHAKE_TIMEOUT_S) as timeout:
        await _shake_hands(stream)
    if timeout.cancelled_caught:
        await trio.aclose_forcefully(stream)
        raise WireError(f"no TLS handshake within {HANDSHAKE_TIMEOUT_S:g} s")
    return stream


async def _shake_hands(stream: trio.SSLStream[trio.SocketStream]) -> None:
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise WireError(f"no TLS with the peer: {error.__cause__ or error}") from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


def peer_of(stream: trio.SSLStream[trio.SocketStream]) -> Peer | None:
    """The node that the peer's (checked) certificate names; None if it showed none. Raises WireError."""
    certificate = stream.getpeercert()
    if not certificate:
        return None
    names = [text.removeprefix(NODE_SCHEME) for kind, text in certificate["subjectAltName"] if kind == "URI"]
    if len(names) != 1:
        raise WireError("the certificate names no node")
    return Peer(names[0], int(certificate["serialNumber"], 16))
