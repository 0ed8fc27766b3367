"""The HTTP server alone, with small ASGI apps: smuggling, slow and greedy clients, shutdown, the socket file."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from hal_core.errors import Refused
from hal_core.rest.asgi import AsgiApp, Limits, Peer, Receive, Scope, Send
from hal_core.rest.connection import Connection
from hal_core.rest.http_head import HeadError, check_begin, check_head
from hal_core.rest.listener import turn_away
from hal_core.rest.unix_socket import check_directory, open_unix_socket
from tests.support.http_client import Client, connect, request_bytes
from tests.support.rest_api import ADA, BOB, serving, serving_api, until


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it was sent."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def client_of(app: AsgiApp, tmp_path: Path, limits: Limits | None = None) -> AsyncIterator[Client]:
    async with serving(app, tmp_path / "s", limits or Limits()), await connect(tmp_path / "s") as client:
        yield client


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
SMUGGLING = [
    pytest.param(POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="CL and TE"),
    pytest.param(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", id="TE and CL"),
    pytest.param(POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", id="two CL"),
    pytest.param(POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", id="two equal CL"),
    pytest.param(POST + b"Content-Length: 5, 5\r\n\r\nhello", id="CL list"),
    pytest.param(POST + b"Content-Length: +5\r\n\r\nhello", id="CL with sign"),
    pytest.param(POST + b"Content-Length: -1\r\n\r\n", id="negative CL"),
    pytest.param(POST + b"Content-Length: 0x5\r\n\r\nhello", id="hex CL"),
    pytest.param(POST + b"Content-Length: 5 5\r\n\r\nhello", id="CL with space inside"),
    pytest.param(POST + b"Content-Length: \r\n\r\n", id="empty CL"),
    pytest.param(POST + b"Content-Length: \xc2\xb25\r\n\r\nhello", id="CL of other digits"),
    pytest.param(POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", id="huge CL"),
    pytest.param(POST + b"Content-Length : 5\r\n\r\nhello", id="space before colon"),
    pytest.param(POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="TE xchunked"),
    pytest.param(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="TE list"),
    pytest.param(POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", id="two TE"),
    pytest.param(POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", id="TE with vertical tab"),
    pytest.param(POST + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="folded first header"),
    pytest.param(POST + b"X: a\r\n b\r\n\r\n", id="obs-fold"),
    pytest.param(POST + b"X: a\r\n\tb\r\n\r\n", id="obs-fold with tab"),
    pytest.param(POST + b"X: a\nContent-Length: 5\r\n\r\nhello", id="bare LF in header"),
    pytest.param(POST + b"X: a\rContent-Length: 5\r\n\r\nhello", id="bare CR in header"),
    pytest.param(POST + b"X: a\0b\r\n\r\n", id="NUL in header"),
    pytest.param(POST + b"X\r\n\r\n", id="header without colon"),
    pytest.param(POST + b": x\r\n\r\n", id="header without name"),
    pytest.param(POST + b"Host: y\r\n\r\n", id="two Host"),
    pytest.param(POST + b"Authorization: a\r\nAuthorization: b\r\n\r\n", id="two Authorization"),
    pytest.param(b"POST / HTTP/1.1\r\nX: y\r\n\r\n", id="no Host"),
    pytest.param(b"POST / HTTP/1.1\nHost: x\n\n", id="LF lines"),
    pytest.param(b"POST  / HTTP/1.1\r\nHost: x\r\n\r\n", id="two spaces"),
    pytest.param(b"POST /a b HTTP/1.1\r\nHost: x\r\n\r\n", id="space in path"),
    pytest.param(b"POST / HTTP/1.1 \r\nHost: x\r\n\r\n", id="space after version"),
    pytest.param(b"POST / HTTP/2.0\r\nHost: x\r\n\r\n", id="HTTP/2.0"),
    pytest.param(b"POST http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", id="absolute form"),
    pytest.param(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", id="CONNECT"),
    pytest.param(b"POST /#x HTTP/1.1\r\nHost: x\r\n\r\n", id="fragment"),
    pytest.param(b"post / HTTP/1.1\r\nHost: x\r\n\r\n", id="small method"),
    pytest.param(b"GET /\r\n", id="43 HTTP/0.9"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="43 HTTP/2 preface"),
    pytest.param(bytes.fromhex("16030100a0010000"), id="43 TLS hello"),
    pytest.param(bytes(range(256)), id="43 bytes"),
    pytest.param(b"\r\n\r\n", id="empty lines"),
    pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", id="32 chunk size -1"),
    pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", id="32 chunk size 0x1"),
    pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", id="32 bad chunk end"),
    pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n", id="32 huge chunk size"),
]
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("raw", SMUGGLING)
async def test_what_two_readers_could_read_differently_is_refused(
    raw: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await echo(scope, receive, send)

    with caplog.at_level(logging.DEBUG, "hal.rest"), trio.fail_after(30):
        async with client_of(app, tmp_path) as client:
            await client.send(raw + HIDDEN)
            answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer
    assert answer.count(b"\r\nconnection: ") == 1
    assert b"\r\nconnection: close\r\n" in answer
    assert "/hidden" not in asked
    assert caplog.records == []


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([*POST.splitlines(True), b"\r\n", b" ", b"x: y", b"GET "])).map(b"".join)
)
def test_any_head_is_passed_or_refused(head: bytes) -> None:
    for check in (check_begin, check_head):
        with contextlib.suppress(HeadError):
            check(head)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([case.values[0] for case in SMUGGLING] + [request_bytes("GET", "/"), b"\0"]), max_size=3),
    st.data(),
)
def test_no_bytes_bring_the_connection_down(pieces: list, data: st.DataObject) -> None:
    """Any cut of any mixture ends with answers and a closed connection, and raises nothing."""
    raw = b"".join(pieces)
    cut = data.draw(st.integers(0, len(raw)))

    async def run() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        connection = Connection(echo, theirs, Peer("x"), Limits(linger_s=0.0), lambda: 0.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.serve)
            for piece in (raw[:cut], raw[cut:]):
                if piece:
                    try:
                        await ours.send_all(piece)
                    except trio.BrokenResourceError:
                        break
            try:
                await ours.send_eof()
                while await ours.receive_some(65536):
                    pass
            except trio.BrokenResourceError:
                pass

    trio.run(run)


async def test_keep_alive_and_pipelining_answer_in_order(tmp_path: Path) -> None:
    async with client_of(echo, tmp_path) as client:
        await client.send(b"".join(request_bytes("POST", "/", b"%d" % number) for number in range(20)))
        assert [(await client.response()).body for _ in range(20)] == [b"%d" % number for number in range(20)]


async def test_chunked_bodies_and_100_continue(tmp_path: Path) -> None:
    async with client_of(echo, tmp_path) as client:
        await client.send(POST + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert await client.stream.receive_some(100) == b"HTTP/1.1 100 \r\n\r\n"
        await client.send(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        assert (await client.response()).body == b"abcde"
        assert (await client.request("POST", "/", b"again")).body == b"again"


async def test_http_1_0_is_answered_and_closed(tmp_path: Path) -> None:
    async with client_of(echo, tmp_path) as client:
        await client.send(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        assert (await client.rest()).endswith(b"\r\n\r\nhi")


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_too_large_is_refused_without_being_read(tmp_path: Path, is_announced: bool) -> None:
    async with client_of(echo, tmp_path, Limits(body_bytes_max=lambda path: 100_000)) as client:
        length = b"Content-Length: 1073741824\r\n\r\n" if is_announced else b"Transfer-Encoding: chunked\r\n\r\n"
        await client.send(POST + length)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            try:
                while True:
                    await client.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                    sent += 0x4000
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            assert b"413" in (await client.rest())[:20]
        assert sent < 100_000 + 4 * 65536 + 300_000  # what was read, and what the socket's buffers took


async def test_headers_too_large_are_refused(tmp_path: Path) -> None:
    for raw in (POST + b"X: " + b"x" * 33_000 + b"\r\n\r\n", POST + b"X: " + b"x" * 60_000, POST + b"X: y\r\n" * 9000):
        async with client_of(echo, tmp_path) as client:
            await client.send(raw)
            assert (await client.rest()).startswith(b"HTTP/1.1 431 ")


async def test_slow_headers_bodies_and_idle_connections_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def time_until_closed(raw: bytes, drip_s: float | None) -> tuple[float, bytes]:
        start = trio.current_time()
        async with client_of(echo, tmp_path) as client:

            async def drip(nursery: trio.Nursery) -> None:
                try:
                    await client.send(raw)
                    while drip_s is not None:
                        await trio.sleep(drip_s)
                        await client.send(b"x")
                except trio.BrokenResourceError:
                    return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, nursery)
                answer = await client.rest()
                nursery.cancel_scope.cancel()
            return trio.current_time() - start, answer

    took_s, answer = await time_until_closed(POST + b"X: ", 1.0)
    assert (10 <= took_s < 13, answer[:12]) == (True, b"HTTP/1.1 408")
    took_s, answer = await time_until_closed(POST + b"Content-Length: 10\r\n\r\n", None)
    assert (30 <= took_s < 33, answer[:12]) == (True, b"HTTP/1.1 408")
    took_s, answer = await time_until_closed(POST + b"Content-Length: 1000\r\n\r\n", 5.0)
    assert (30 <= took_s < 36, answer[:12]) == (True, b"HTTP/1.1 408")
    took_s, answer = await time_until_closed(request_bytes("GET", "/"), None)
    assert (60 <= took_s < 63, answer[:12]) == (True, b"HTTP/1.1 200")


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    ended = trio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        finally:
            ended.set()

    async with client_of(endless, tmp_path) as client:
        await client.send(request_bytes("GET", "/"))
        start = trio.current_time()
        await ended.wait()
        assert 30 <= trio.current_time() - start < 40


async def test_a_streaming_app_sees_the_client_leave(tmp_path: Path) -> None:
    left = trio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    async with client_of(stream, tmp_path) as client:
        await client.send(request_bytes("GET", "/"))
        await client.stream.receive_some(1000)
        assert not left.is_set()
        await client.stream.aclose()
        with trio.fail_after(30):
            await left.wait()


async def test_connections_are_counted_by_peer(tmp_path: Path) -> None:
    async with serving(echo, tmp_path / "s", Limits(connections_per_peer=3)) as server:
        clients = [await connect(tmp_path / "s") for _ in range(3)]
        await until(lambda: server.connection_count == 3)
        async with await connect(tmp_path / "s") as refused:
            assert (await refused.rest()).startswith(b"HTTP/1.1 503 ")
        assert (await clients[0].request("POST", "/", b"x")).status == 200
        await clients[1].stream.aclose()
        await until(lambda: server.connection_count == 2)
        async with await connect(tmp_path / "s") as client:
            assert (await client.request("POST", "/", b"x")).status == 200
        for client in clients:
            await client.stream.aclose()
        await until(lambda: server.connection_count == 0)


async def test_slow_clients_of_one_user_do_not_keep_others_out(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        slow = []
        for _ in range(64):
            client = await api.connect(ADA)
            await client.send(POST[:-3])
            slow.append(client)
        async with await api.connect(ADA) as refused:
            assert (await refused.rest()).startswith(b"HTTP/1.1 503 ")
        with trio.fail_after(1):
            assert (await api.get("/v1/status", uid=BOB)).status == 200
        for client in slow:
            await trio.aclose_forcefully(client.stream)


async def test_connections_are_counted_in_all(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(echo, path, Limits(connections_max=2)) as server, await connect(path), await connect(path):
        await until(lambda: server.connection_count == 2)
        async with await connect(path) as refused:
            assert (await refused.rest()).startswith(b"HTTP/1.1 503 ")


async def test_a_bug_in_the_app_costs_one_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/silent":
            return
        raise KeyError("secret")

    for path in ("/", "/silent"):
        async with client_of(app, tmp_path) as client:
            answer = await client.request("GET", path)
            assert (answer.status, answer.kind) == (500, "internal")
            assert b"secret" not in answer.body
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_close_finishes_what_is_under_way_and_ends_the_rest(tmp_path: Path) -> None:
    entered, go_on = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await go_on.wait()
        await echo(scope, receive, send)

    path = tmp_path / "s"
    async with serving(app, path, Limits()) as server, await connect(path) as idle, await connect(path) as busy:
        await busy.send(request_bytes("POST", "/", b"done"))
        await entered.wait()
        half = await connect(path)
        await half.send(POST)
        await until(lambda: server.connection_count == 3)
        server.close()
        with trio.fail_after(30):
            assert await idle.rest() == await half.rest() == b""
        await half.stream.aclose()
        go_on.set()
        answer = await busy.response("POST")
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert await busy.rest() == b""
        with pytest.raises(OSError, match=r"refused|No such file"):
            await connect(path)


def test_the_socket_file_has_its_mode_and_is_removed(tmp_path: Path) -> None:
    async def run() -> None:
        opened = open_unix_socket(tmp_path / "s", 0o660)
        assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o660
        with pytest.raises(Refused, match="another daemon listens"):
            open_unix_socket(tmp_path / "s")
        await opened.listener.aclose()
        replaced = open_unix_socket(tmp_path / "s")  # a dead daemon's file
        opened.remove()
        assert (tmp_path / "s").exists()  # not the dead one's to take away
        await replaced.listener.aclose()
        replaced.remove()
        replaced.remove()
        assert os.listdir(tmp_path) == []

    trio.run(run)


def test_unsafe_places_for_the_socket_are_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("precious")
    for path, why in [
        (tmp_path / "open" / "s", "others may write"),
        (tmp_path / "link" / "s", "symbolic link"),
        (tmp_path / "none" / "s", "does not exist"),
        (tmp_path / "file", "not a socket"),
        (tmp_path / ("x" * 120), "listen.socket: paths of sockets have at most 103 bytes here"),
    ]:
        with pytest.raises(Refused, match=why):
            open_unix_socket(path)
    with pytest.raises(Refused, match="belongs to"):
        check_directory(tmp_path, own_uid=os.geteuid() + 1) if os.geteuid() else check_directory(_foreign(tmp_path))


def _foreign(tmp_path: Path) -> Path:
    """As root: a directory of somebody else."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 4711, 4711)
    return tmp_path / "theirs"


async def test_a_listening_backlog_that_is_full_still_counts_as_listening(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(os.fspath(tmp_path / "s"))
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(os.fspath(tmp_path / "s"))
        with pytest.raises(Refused, match="another daemon listens"):
            open_unix_socket(tmp_path / "s")
        for each in waiting:
            each.close()


async def test_a_crowd_that_is_turned_away_keeps_nobody_waiting(tmp_path: Path) -> None:
    """All of it is answered in one turn of the loop; who comes after it, is let in."""
    opened = open_unix_socket(tmp_path / "s")
    turned_away = 0

    def is_of_the_crowd(connection: socket.socket) -> bool:
        nonlocal turned_away
        if turned_away == 100:
            return False
        turned_away += 1
        turn_away(connection)
        return True

    opened.listener.turn_away = is_of_the_crowd
    crowd = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(101)]
    try:
        for each in crowd:
            each.connect(os.fspath(tmp_path / "s"))
        with trio.fail_after(30):
            async with await opened.listener.accept() as last:
                assert turned_away == 100
                await last.send_all(b"welcome")
        assert crowd[-1].recv(100) == b"welcome"
        assert all(each.recv(100).startswith(b"HTTP/1.1 503 ") for each in crowd[:-1])
    finally:
        for each in crowd:
            each.close()
        await opened.listener.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await opened.listener.accept()
