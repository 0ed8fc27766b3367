"""Who is let in to a session's broker, over TLS as from another machine."""

from __future__ import annotations

import contextlib
import socket
import ssl

import msgspec
import pytest
import trio

from hal_core.sessions.broker import Broker
from hal_core.sessions.door import Door
from hal_core.sessions.node_worker import dial
from hal_core.sessions.node_workers import NodeWorkers
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.orders import WorkerOrder
from hal_core.sessions.reception import Reception
from hal_core.wire.sessions import PROTOCOL_VERSION, Hello, Inbox, Refusal, encode, receive


@pytest.fixture
def nodes(tmp_path):
    tmp_path.chmod(0o700)
    made = NodeWorkers(BrokerOptions("s1", 0, 1, directory=str(tmp_path)))
    yield made
    made.listener.close()


@pytest.fixture
async def host(nodes, nursery):
    ours, theirs = socket.socketpair()
    broker = Broker(BrokerOptions("s1", 0, 1), ours, None, nodes)
    nursery.start_soon(Reception(broker, nursery).listen_to_nodes, nodes)
    yield broker
    ours.close()
    theirs.close()


def order(nodes, **changed):
    door = nodes._door
    fields = {"directory": "/nowhere", "host": "127.0.0.1", "port": door.port, "authority_pem": door.authority_pem}
    return WorkerOrder(**{**fields, "secret": door.secret, "import_path": (), **changed})


def ask(given, role="worker", secret=None, name="1_0_1"):
    """What the broker answers to a Hello, or None if it takes it and has nothing to say yet."""
    connection = dial(given)
    assert connection is not None
    with connection:
        secret = given.secret if secret is None else secret
        connection.sendall(encode(Hello(PROTOCOL_VERSION, role, secret, name)))
        connection.settimeout(0.5)
        messages = receive(connection, Inbox())
        return messages[0] if messages else None


async def test_the_secret_opens_and_nothing_else_does(host, nodes):
    async def asked(**given):
        return await trio.to_thread.run_sync(lambda: ask(order(nodes), **given))

    assert await asked() is None
    assert await asked(secret="") == Refusal("you are no worker of this session")
    assert await asked(secret=nodes._door.secret[:-1]) == Refusal("you are no worker of this session")
    assert await asked(role="client") == Refusal("the role 'client' is not for you")
    assert await asked(role="visitor") == Refusal("the role 'visitor' is not for you")


async def test_one_secret_is_good_for_one_worker_at_a_time(host, nodes):
    first = await trio.to_thread.run_sync(dial, order(nodes))
    with first:
        first.sendall(encode(Hello(PROTOCOL_VERSION, "worker", nodes._door.secret, "1_0_1")))
        while host.figures().worker_count < 1:
            await trio.lowlevel.checkpoint()
        answer = await trio.to_thread.run_sync(lambda: ask(order(nodes)))
        assert answer == Refusal("worker 1_0_1 is here already")
    while host.figures().worker_count:
        await trio.lowlevel.checkpoint()
    assert await trio.to_thread.run_sync(lambda: ask(order(nodes))) is None


async def test_a_worker_trusts_no_broker_of_another_session(host, nodes, tmp_path):
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    another = NodeWorkers(BrokerOptions("s2", 0, 1, directory=str(other)))
    another.listener.close()
    forged = order(nodes, authority_pem=another._door.authority_pem)
    assert await trio.to_thread.run_sync(dial, forged) is None


async def test_who_speaks_no_tls_is_sent_away(host, nodes):
    stream = await trio.open_tcp_stream("127.0.0.1", nodes._door.port)
    async with stream:
        await stream.send_all(encode(Hello(PROTOCOL_VERSION, "worker", nodes._door.secret, "1_0_1")))
        with trio.fail_after(60), contextlib.suppress(trio.BrokenResourceError):
            assert (await stream.receive_some(100))[:1] in (b"", b"\x15"), "nothing, or a TLS alert"
    assert host.figures().worker_count == 0


async def test_a_daemon_that_cannot_be_found_at_all_is_said_as_that(nodes, monkeypatch):
    """Also by the task that only tells it the figures."""
    nodes._options = msgspec.structs.replace(nodes._options, server="https://")
    nodes.figures = lambda: pytest.fail("nobody is there to be told")
    with trio.fail_after(60):
        assert (await nodes.run()).startswith("no workers: ")


def test_a_broker_that_comes_back_has_the_same_door(nodes, tmp_path):
    nodes.listener.close()
    again = NodeWorkers(BrokerOptions("s1", 0, 1, directory=str(tmp_path)))
    assert isinstance(again._door, Door)
    assert again._door == nodes._door
    assert again.listener.getsockname()[1] == nodes._door.port
    assert again.context.minimum_version == ssl.TLSVersion.TLSv1_3
    again.listener.close()
