"""The TCP port for agents, over real TLS on this machine: who comes in, as whom, and how a certificate is had."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from hal_core.agent.identity import Identity, enrol
from hal_core.errors import Refused, WireError
from hal_core.models.access import AccessChange
from hal_core.models.node import Node, NodeName
from hal_core.wire import certificates, messages, tls
from hal_core.wire.authority import Authority, JoinToken
from hal_core.wire.frames import FrameStream
from hal_core.wire.private_files import read_private
from hal_executor_metal.executor import MetalExecutor
from tests.support.node import Reports

PATIENCE_S = 30.0


class Site:
    """An executor with a port, and its authority."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority.create(directory / "ca", "test", time.time())
        options = {
            "socket": str(directory / "agents.sock"),
            "listen": "127.0.0.1:1",
            "authority": str(directory / "ca"),
        }
        self.executor = MetalExecutor.from_options({**options, "listen": f"127.0.0.1:{_free_port()}"})
        self.reports = Reports()

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.executor.port}"

    @property
    def alarms(self) -> dict[str, int]:
        return dict(self.executor.alarms.counts)

    async def enrol(self, node: str) -> Identity:
        token = self.authority.make_token(node, time.time(), by="ada")
        await enrol(self.server, node, token.text(), self.directory / node)
        found = Identity.find(self.directory / node)
        assert found is not None
        return found

    async def hello(self, identity: Identity, node: str) -> FrameStream:
        frames = FrameStream(await identity.dial(), messages.FROM_DAEMON)
        await frames.send(messages.Hello(messages.PROTOCOL_VERSION, Node(NodeName(node), 4, 1 << 30), "boot", 0))
        return frames

    async def alarmed(self, kind: str) -> None:
        with trio.fail_after(PATIENCE_S):
            while not self.alarms.get(kind):  # noqa: ASYNC110 - a counter, as an operator sees it
                await trio.sleep(0.01)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def site_of(directory: Path) -> AsyncIterator[Site]:
    site = Site(directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(site.executor.run, site.reports.report)
        yield site
        nursery.cancel_scope.cancel()


async def test_a_node_enrols_and_is_welcomed(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        identity = await site.enrol("n1")
        async with await site.hello(identity, "n1") as frames:
            (welcome,) = await frames.receive()
            assert isinstance(welcome, messages.Welcome)
        assert (tmp_path / "n1" / "tls" / "agent.key").stat().st_mode & 0o777 == 0o600
        (note,) = site.reports.notes
        assert (note.change, note.subject, note.by) == (AccessChange.NODE_ENROLLED, "n1", "ada")
        assert note.detail.startswith("from 127.0.0.1:")
        assert site.alarms == {}


async def test_a_key_speaks_for_its_own_node_only(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        identity = await site.enrol("n1")
        async with await site.hello(identity, "n2") as frames:
            (refusal,) = await frames.receive()
            assert "key of node n1" in refusal.text
        assert site.alarms == {"wrong_node": 1}
        assert site.reports.nodes == []


async def test_a_token_works_once_and_for_its_node(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        token = site.authority.make_token("n1", time.time())
        with pytest.raises(Refused, match="for node n1"):
            await enrol(site.server, "n2", token.text(), tmp_path / "n2")
        await enrol(site.server, "n1", token.text(), tmp_path / "n1")
        with pytest.raises(Refused, match="used already"):
            await enrol(site.server, "n1", token.text(), tmp_path / "again")
        assert not (tmp_path / "again").exists()
        assert site.alarms == {"token": 1}


async def test_a_token_of_another_cluster_meets_a_stranger(tmp_path: Path) -> None:
    """The node does not send the secret to a daemon that its token's authority has not certified."""
    other = Authority.create(tmp_path / "other", "other", time.time())
    async with site_of(tmp_path) as site:
        foreign = other.make_token("n1", time.time())
        with pytest.raises(WireError, match="certificate verify failed"):
            await enrol(site.server, "n1", foreign.text(), tmp_path / "n1")
        await site.alarmed("handshake")


def _foreign_context(site: Site, directory: Path) -> ssl.SSLContext:
    """Trusts the right daemon, but shows a certificate of another authority for the same node."""
    other = Authority.create(directory / "forger", "test", time.time())
    key = certificates.make_key()
    pem = directory / "forged.pem"
    pem.write_bytes(other.issue("n1", certificates.make_request(key, "n1"), time.time()) + key)
    context = tls.enrolment_context(read_private(site.authority.directory / "authority.pem").decode())
    context.load_cert_chain(str(pem))
    return context


async def test_a_forged_certificate_opens_nothing(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        # In TLS 1.3 the client's end is ready before the server has seen its certificate.
        stream = await tls.dial(site.server, _foreign_context(site, tmp_path))
        async with FrameStream(stream, messages.FROM_DAEMON) as frames:
            with suppress(WireError):
                await frames.send(messages.Hello(1, Node(NodeName("n1"), 4, 1 << 30), "boot", 0))
            assert await frames.receive() == []
        await site.alarmed("handshake")
        assert site.reports.nodes == []


async def test_a_node_cannot_pass_for_the_daemon(tmp_path: Path) -> None:
    """Whatever the node is called: an agent that meets its certificate at the daemon's end goes away."""
    async with site_of(tmp_path) as site:
        identity = await site.enrol("hal-daemon")
        own = tmp_path / "hal-daemon" / "tls"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(own / "agent.pem"), str(own / "agent.key"))
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        false_server = f"127.0.0.1:{listener.socket.getsockname()[1]}"

        async def pretend(tcp: trio.SocketStream) -> None:
            try:
                await trio.SSLStream(tcp, context, server_side=True).do_handshake()
            except trio.BrokenResourceError:
                await trio.aclose_forcefully(tcp)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, pretend, [listener])
            with pytest.raises(WireError, match="certificate verify failed"):
                await Identity(own, false_server).dial()
            nursery.cancel_scope.cancel()
        assert identity.server == site.server


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x05hello", b"\x16\x03\x01\xff\xff" + b"x" * 99])
async def test_what_is_no_tls_is_closed_and_counted(tmp_path: Path, data: bytes) -> None:
    async with site_of(tmp_path) as site:
        async with await trio.open_tcp_stream("127.0.0.1", site.executor.port) as stream:
            await stream.send_all(data)
            with trio.fail_after(PATIENCE_S):
                try:
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
        await site.alarmed("handshake")


async def test_without_a_certificate_one_may_only_enrol(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        context = tls.enrolment_context(read_private(site.authority.directory / "authority.pem").decode())
        async with FrameStream(await tls.dial(site.server, context), messages.FROM_DAEMON) as frames:
            await frames.send(messages.Hello(1, Node(NodeName("n1"), 4, 1 << 30), "boot", 0))
            assert await frames.receive() == []
        await site.alarmed("handshake")
        assert site.reports.nodes == []


async def test_a_certificate_is_renewed_over_its_own_connection(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        identity = await site.enrol("n1")
        before = read_private(tmp_path / "n1" / "tls" / "agent.pem")
        assert not identity.is_due(time.time())
        assert identity.is_due(time.time() + certificates.NODE_LIFE_S * 0.7)
        async with await site.hello(identity, "n1") as frames:
            await frames.receive()
            await frames.send(messages.Renew(identity.request("n2")))
            (certificate,) = await frames.receive()
        identity.store(certificate.pem)
        assert read_private(tmp_path / "n1" / "tls" / "agent.pem") != before
        async with await site.hello(identity, "n1") as frames:
            assert isinstance((await frames.receive())[0], messages.Welcome), "still n1, whatever the request said"


async def test_whoever_is_inside_when_its_key_is_revoked_gets_no_other(tmp_path: Path) -> None:
    """Its connection is ended a moment later: until then it must not fetch itself a key that is not on the list."""
    with trio.fail_after(PATIENCE_S):
        async with site_of(tmp_path) as site:
            identity = await site.enrol("n1")
            async with await site.hello(identity, "n1") as frames:
                (welcome,) = await frames.receive()
                assert isinstance(welcome, messages.Welcome)
                Authority(site.authority.directory).revoke("n1", "eve")
                await frames.send(messages.Renew(identity.request("n1")))
                with suppress(WireError):
                    assert await frames.receive() == []


async def test_a_revoked_key_is_disconnected_and_stays_out(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        identity, other = await site.enrol("n1"), await site.enrol("n2")
        async with await site.hello(identity, "n1") as frames, await site.hello(other, "n2") as others:
            await frames.receive()
            await others.receive()
            assert Authority(site.authority.directory).revoke("n1", "eve") == 1
            with trio.fail_after(PATIENCE_S):
                assert await frames.receive() == []
            await others.send(messages.Heartbeat(1.0))
            assert await others.receive() == [messages.Heartbeat(1.0)]
        async with await site.hello(identity, "n1") as frames:
            assert await frames.receive() == []
        await site.alarmed("revoked")
        await site.reports.until(lambda: len(site.reports.notes) == 3)
        assert (site.reports.notes[-1].change, site.reports.notes[-1].by) == (AccessChange.NODE_REVOKED, "eve")
        assert site.reports.notes[-1].subject == "n1"


def test_a_token_survives_a_line_end() -> None:
    token = JoinToken("n1", "pem", "secret")
    assert JoinToken.parse(f" {token.text()}\n") == token


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "host:٣", "a:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        tls.parse_address(text)


def test_addresses() -> None:
    assert tls.parse_address("[::1]:7444") == ("::1", 7444)
    assert tls.parse_address("head.cluster:7444") == ("head.cluster", 7444)
