"""The mail observer against a real, small SMTP server: each event in one mail, whatever the relay does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from hal_core import (
    ArraySpec,
    End,
    EndKind,
    Event,
    InvalidInput,
    JobEnded,
    JobId,
    JobSpec,
    JobSubmitted,
    NodeName,
    NodeWentDown,
    Owner,
    PartitionName,
    structure_options,
)
from hal_core.testing import FakeEventLog, check_observer
from hal_observer_mail.observer import MailObserver
from hal_observer_mail.options import MailOptions
from tests.support.mail_relay import Relay

WITHIN_S = 60.0


def submitted(job_id: int, user: str = "ada", **fields: Any) -> Event:
    spec = JobSpec(name="train\n", partition=PartitionName("all"), script="CANARY", **fields)
    return JobSubmitted(1.0, JobId(job_id), "c", Owner(user, 1000, 1000), spec)


def ended(job_id: int, exit_code: int = 3, index: int = 0) -> Event:
    end = End(EndKind.EXITED, exit_code)
    return JobEnded(2.0, JobId(job_id), ((index, index + 1),), 1, end, 1.0, 2.0)


@pytest.fixture
def relay() -> Iterator[Relay]:
    running = Relay()
    yield running
    running.close()


def observer(relay: str, **recipient: Any) -> MailObserver:
    recipients = {"ada": {"address": "ada@example.org", **recipient}}
    options = {"relay": relay, "sender": "hal@example.org", "recipients": recipients, "pause_s": 0.0}
    return MailObserver(structure_options(MailOptions, options), first_pause_s=0.01)


async def test_what_gathered_is_one_mail_and_its_id_follows_from_the_log(relay: Relay) -> None:
    log = FakeEventLog([submitted(7), submitted(8, "bob"), ended(7), ended(8), ended(7)])
    log.places["mail.ada"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(observer(relay.address, users=["ada"]).read_log, log)
        recipient, mail = await relay.next()
        assert recipient == "ada@example.org"
        assert mail["Subject"] == "HAL: 2 events, the first: job 7 ended: exit code 3 (train?)"
        assert mail["Message-ID"] == "<hal.5.ada@example.org>"
        body = mail.get_content()
        assert body.splitlines()[:2] == ["3 job 7 ended: exit code 3 (train?)", "5 job 7 ended: exit code 3 (train?)"]
        assert "CANARY" not in body
        with trio.fail_after(WITHIN_S):
            await log.until_kept("mail.ada", 5)
        nursery.cancel_scope.cancel()


async def test_a_mail_is_sent_until_it_is_taken_with_the_same_id(relay: Relay) -> None:
    relay.answers = [b"451 later\r\n", b"421 closing\r\n"]
    log = FakeEventLog([submitted(7), ended(7)])
    log.places["mail.ada"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(observer(relay.address).read_log, log)
        assert [(await relay.next())[1]["Message-ID"] for _ in range(3)] == ["<hal.2.ada@example.org>"] * 3
        with trio.fail_after(WITHIN_S):
            await log.until_kept("mail.ada", 2)
        nursery.cancel_scope.cancel()


async def test_what_is_refused_for_good_stops_no_other(relay: Relay) -> None:
    relay.answers = [b"554 never\r\n"]
    log = FakeEventLog([submitted(7), ended(7)])
    log.places["mail.ada"] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(observer(relay.address).read_log, log)
        await relay.next()
        with trio.fail_after(WITHIN_S):
            await log.until_kept("mail.ada", 2)
        log.append(ended(7))
        assert (await relay.next())[1]["Message-ID"] == "<hal.3.ada@example.org>"
        nursery.cancel_scope.cancel()


async def test_only_what_is_wanted_also_of_nodes(relay: Relay) -> None:
    array = submitted(7, array=ArraySpec(((0, 9),)))
    down = NodeWentDown(1.0, NodeName("n1"), "contact lost")
    log = FakeEventLog([array, ended(7, 0, 0), ended(7, 3, 0), down])
    log.places["mail.ada"] = 0
    async with trio.open_nursery() as nursery:
        wanted = {"events": ["JobEnded", "NodeWentDown"], "only_failures": True}
        nursery.start_soon(observer(relay.address, **wanted).read_log, log)
        lines = (await relay.next())[1].get_content().splitlines()
        assert lines[:2] == ["3 job 7_0 ended: exit code 3 (train?)", "4 node n1 is down: contact lost"]
        nursery.cancel_scope.cancel()


async def test_the_contract_of_observers(relay: Relay) -> None:
    await check_observer(lambda: observer(relay.address))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"domain": "exa mple"}, "a domain such as"),
        ({"recipients": {"ada": {"address": "ada"}}}, "ada@example.org"),
        ({"recipients": {"ada": {"address": "a@b\nBcc: x@y"}}}, "ada@example.org"),
        ({"recipients": {"ada": {"address": "a@b", "events": ["JobEnd"]}}}, "JobEnded"),
        ({"relay": "host:smtp"}, "host:port"),
        ({"sendr": "x"}, "did you mean 'sender'"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], text: str) -> None:
    good = {"sender": "hal@example.org", "recipients": {"ada": {"address": "ada@example.org"}}}
    with pytest.raises(InvalidInput) as caught:
        MailObserver.from_options(good | change)
    assert text in str(caught.value)
