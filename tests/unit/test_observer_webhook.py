"""The webhook observer against real HTTP servers: signed, in order, each until it is taken."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio

from hal_core import (
    End,
    EndKind,
    Event,
    HalError,
    InvalidInput,
    JobEnded,
    JobId,
    JobSpec,
    JobSubmitted,
    NodeDrained,
    NodeName,
    Owner,
    PartitionName,
    SessionChange,
    SessionChanged,
    SessionChangeKind,
    structure_options,
)
from hal_core.testing import FakeEventLog, check_observer
from hal_observer_webhook.observer import WebhookObserver
from hal_observer_webhook.options import WebhookOptions

WITHIN_S = 60.0
ADA, BOB = Owner("ada", 1000, 1000), Owner("bob", 1001, 1001)


def submitted(job_id: int, owner: Owner = ADA) -> Event:
    spec = JobSpec(name="train", partition=PartitionName("all"), script="CANARY", environment=("TOKEN=CANARY",))
    return JobSubmitted(1.0, JobId(job_id), "c", owner, spec)


def ended(job_id: int) -> Event:
    return JobEnded(2.0, JobId(job_id), ((0, 1),), 1, End(EndKind.EXITED, 3), 1.0, 2.0)


class Receiver:
    """A real HTTP server. `answers` is what it says next (status, headers), then 200; `taken` is what it was told."""

    def __init__(self) -> None:
        self.requests: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.answers: list[tuple[int, dict[str, str]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                owner.requests.put(({name.lower(): value for name, value in self.headers.items()}, body))
                status, headers = owner.answers.pop(0) if owner.answers else (200, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    async def next(self) -> tuple[dict[str, str], dict[str, Any]]:
        headers, body = await trio.to_thread.run_sync(lambda: self.requests.get(timeout=WITHIN_S))
        return headers, json.loads(body)

    async def ids(self, count: int) -> list[int]:
        return [(await self.next())[1]["id"] for _ in range(count)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def observer(url: str, **options: Any) -> WebhookObserver:
    return WebhookObserver.from_options({"receivers": {"chat": {"url": url, **options}}})


def impatient(url: str, **options: Any) -> WebhookObserver:
    given = structure_options(WebhookOptions, {"receivers": {"chat": {"url": url, **options}}})
    return WebhookObserver(given, pause_s=0.01)


async def kept(log: FakeEventLog, sequence: int) -> None:
    with trio.fail_after(WITHIN_S):
        await log.until_kept("webhook.chat", sequence)


async def test_each_event_comes_once_in_order_signed_and_without_secrets(receiver: Receiver, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    log = FakeEventLog([submitted(7)])
    log.places["webhook.chat"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(observer(receiver.url, secret_file=str(secret)).read_log, log)
        headers, body = await trio.to_thread.run_sync(lambda: receiver.requests.get(timeout=WITHIN_S))
        assert headers["x-hal-signature"] == "sha256=" + hmac.new(b"hunter2", body, hashlib.sha256).hexdigest()
        assert (headers["x-hal-event"], headers["x-hal-delivery"]) == ("JobSubmitted", "1")
        assert b"CANARY" not in body
        log.append(ended(7))
        _, told = await receiver.next()
        assert {name: told[name] for name in ("id", "event", "text", "job_id", "job_name", "user")} == {
            "id": 2, "event": "JobEnded", "text": "job 7 ended: exit code 3", "job_id": 7, "job_name": "train",
            "user": "ada",
        }  # fmt: skip
        assert told["data"]["end"]["exit_code"] == 3
        await kept(log, 2)
        nursery.cancel_scope.cancel()


async def test_what_was_not_taken_is_posted_again_and_nothing_overtakes_it(receiver: Receiver) -> None:
    receiver.answers = [(503, {"retry-after": "0"}), (404, {}), (302, {"location": "/other"}), (200, {}), (429, {})]
    log = FakeEventLog([submitted(1), submitted(2)])
    log.places["webhook.chat"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient(receiver.url).read_log, log)
        assert await receiver.ids(6) == [1, 1, 1, 1, 2, 2]
        await kept(log, 2)
        nursery.cancel_scope.cancel()


async def test_an_event_that_is_refused_for_good_stops_no_other(receiver: Receiver) -> None:
    receiver.answers = [(422, {})]
    log = FakeEventLog([submitted(1), submitted(2)])
    log.places["webhook.chat"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient(receiver.url).read_log, log)
        assert await receiver.ids(2) == [1, 2]
        nursery.cancel_scope.cancel()


async def test_after_a_restart_it_goes_on_where_it_was(receiver: Receiver) -> None:
    log = FakeEventLog([submitted(1)])
    for first in (2, 3):
        async with trio.open_nursery() as nursery:
            if first == 3:
                log.append(submitted(3))  # while it was away
            nursery.start_soon(observer(receiver.url).read_log, log)
            if first == 2:
                await kept(log, 1)  # its place is known from now on
                log.append(submitted(2))
            assert await receiver.ids(1) == [first]
            await kept(log, first)
            nursery.cancel_scope.cancel()
    assert receiver.requests.empty()


async def test_only_what_is_wanted(receiver: Receiver) -> None:
    drained = NodeDrained(1.0, NodeName("n1"), "disk", "root")
    log = FakeEventLog([submitted(1), submitted(2, BOB), ended(1), ended(2), drained, ended(1)])
    log.places["webhook.chat"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(observer(receiver.url, events=["JobEnded", "NodeDrained"], users=["ada"]).read_log, log)
        assert await receiver.ids(2) == [3, 6]
        nursery.cancel_scope.cancel()


async def test_what_happens_to_a_users_session_is_that_users(receiver: Receiver) -> None:
    change = SessionChange(number=1, time_s=1.0, kind=SessionChangeKind.WORKERS_JOINED, count=3, worker_count=3)
    log = FakeEventLog([SessionChanged(2.0, "0123456789ab", user, change) for user in ("bob", "ada")])
    log.places["webhook.chat"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(observer(receiver.url, events=["SessionChanged"], users=["ada"]).read_log, log)
        _, told = await receiver.next()
        assert (told["id"], told["user"], told["job_id"]) == (2, "ada", None)
        assert told["text"] == "session 0123456789ab of ada: 3 workers joined, it has 3"
        assert told["data"]["change"]["kind"] == "workers_joined"
        nursery.cancel_scope.cancel()


async def test_a_receiver_that_hangs_is_left_after_its_deadline(receiver: Receiver) -> None:
    """It takes the connection and never answers; the other receiver is told meanwhile."""
    log = FakeEventLog([submitted(1)])
    log.places = {"webhook.dead": 0, "webhook.chat": 0}
    with socket.create_server(("127.0.0.1", 0)) as dead:
        receivers = {
            "dead": {"url": f"http://127.0.0.1:{dead.getsockname()[1]}/", "timeout_s": 0.05},
            "chat": {"url": receiver.url},
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(WebhookObserver.from_options({"receivers": receivers}).read_log, log)
            assert await receiver.ids(1) == [1]
            for _ in range(2):
                connection, _ = await trio.to_thread.run_sync(dead.accept)
                connection.close()
            nursery.cancel_scope.cancel()
    assert log.places["webhook.dead"] == 0


async def test_the_contract_of_observers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        await check_observer(lambda: observer(f"http://127.0.0.1:{silent.getsockname()[1]}/"))


@pytest.mark.parametrize(
    ("options", "place", "text"),
    [
        ({}, "webhook", "receivers"),
        ({"receivers": {}}, "webhook", "at least one"),
        ({"receivers": {"A/b": {"url": "http://x/"}}}, "webhook", "a-z"),
        ({"receivers": {"a": {"url": "ftp://x/"}}}, "webhook.receivers", "expected http"),
        ({"receivers": {"a": {"url": "http://x/", "events": ["JobEnd"]}}}, "webhook.receivers", "JobEnded"),
        ({"receivers": {"a": {"url": "http://x/", "evnts": []}}}, "webhook.receivers", "did you mean 'events'"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], place: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=place) as caught:
        WebhookObserver.from_options(options)
    assert text in str(caught.value)


def test_a_secret_that_others_can_read_is_none(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    with pytest.raises(HalError, match="No such file"):
        observer("http://x/", secret_file=str(secret))
    secret.write_text("hunter2")
    secret.chmod(0o644)
    with pytest.raises(HalError, match="chmod 0600"):
        observer("http://x/", secret_file=str(secret))
