"""What owners are mailed for `--mail-type`: each occasion once, arrays as a whole or by element, over a restart."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from hal_core import (
    ArraySpec,
    Arrival,
    AttemptKey,
    End,
    EndKind,
    Event,
    JobEnded,
    JobId,
    JobPlaced,
    JobRequeued,
    JobSpec,
    JobSubmitted,
    NodeName,
    Owner,
    PartitionName,
    PartStarted,
    Share,
    Standing,
)
from hal_core.errors import InvalidInput
from hal_core.parsing.mail import ALL, check_mail, parse_mail_types, parse_mail_user
from hal_core.testing import FakeEventLog
from hal_observer_mail.jobs import MailedJob
from hal_observer_mail.late import FREE, PLACES, PLACES_OF_ONE
from hal_observer_mail.observer import MailObserver
from hal_observer_mail.options import MailOptions
from tests.support.mail_relay import Relay

N1 = NodeName("n1")
WITHIN_S = 60.0
WELL, BADLY = End(EndKind.EXITED, 0), End(EndKind.EXITED, 3)


def submitted(*types: str, **fields: Any) -> JobSubmitted:
    spec = JobSpec("train", PartitionName("all"), command=("x",), mail_types=types, **fields)
    return JobSubmitted(0.0, JobId(7), "c", Owner("ada", 1000, 1000), spec)


def begun(index: int = 0, time_s: float = 1.0, attempt: int = 1) -> list[Event]:
    key = AttemptKey(JobId(7), index, attempt)
    placed = JobPlaced(time_s, JobId(7), attempt, ((index, index + 1),), (Share(N1, 1, "0"),))
    return [placed, PartStarted(time_s, key, N1, time_s)]


def ended(end: End = WELL, index: int = 0, stop: int | None = None) -> Event:
    return JobEnded(9.0, JobId(7), ((index, stop or index + 1),), 1, end, 1.0, 9.0)


def told(first: JobSubmitted, *events: Event) -> list[str]:
    job = MailedJob(Arrival(first.job_id, first.owner, first.spec, first.time_s))
    return [each.text.partition(") ")[2] for event in events for each in job.follow(event)]


@pytest.mark.parametrize(
    ("types", "end", "wanted"),
    [
        (("BEGIN", "END"), WELL, ["has begun", "has ended: completed, exit code 0"]),
        (("END", "FAIL"), BADLY, ["has ended: failed, exit code 3"]),
        (("FAIL",), WELL, []),
        (("FAIL",), End(EndKind.CANCELLED, by="ada"), []),
        (("TIME_LIMIT",), End(EndKind.TIME_LIMIT), ["has ended: timeout, time limit"]),
        (("INVALID_DEPEND",), BADLY, []),
    ],
)
def test_each_occasion_is_told_once(types: tuple[str, ...], end: End, wanted: list[str]) -> None:
    assert told(submitted(*types), *begun(), *begun(), ended(end)) == wanted


def test_a_job_that_can_never_start_and_one_that_runs_again() -> None:
    never = JobEnded(9.0, JobId(7), ((0, 1),), 0, End(EndKind.DEPENDENCY_NEVER_SATISFIED), None, 9.0)
    assert told(submitted("INVALID_DEPEND"), never) == ["has ended: cancelled, dependency never satisfied"]
    again = JobRequeued(5.0, AttemptKey(JobId(7), 0, 1), "root", End(EndKind.NODE_LOST))
    lines = told(submitted(*ALL), *begun(), again, *begun(attempt=2), ended())
    assert lines == ["has begun", "waits again, after node lost", "has begun", "has ended: completed, exit code 0"]


def test_an_array_is_told_of_as_a_whole_or_by_element() -> None:
    array = ArraySpec(((0, 4),))
    events = [*begun(0), *begun(1), ended(index=0), ended(BADLY, 1), ended(End(EndKind.CANCELLED), 2, 4)]
    whole = submitted("BEGIN", "END", "FAIL", array=array)
    assert told(whole, *events) == ["has begun", "has ended, 1 of its elements not well"]
    assert told(submitted("FAIL", array=array), *events) == ["has ended, 1 of its elements not well"]
    each = submitted("FAIL", "ARRAY_TASKS", array=array)
    assert told(each, *events) == ["has ended: failed, exit code 3"]


def test_a_time_limit_that_nears_is_told_once() -> None:
    first = submitted("TIME_LIMIT_50", "TIME_LIMIT_80", walltime_s=100.0)
    job = MailedJob(Arrival(first.job_id, first.owner, first.spec, 0.0))
    assert job.next_s() is None
    for event in begun(time_s=10.0):
        assert list(job.follow(event)) == []
    assert job.next_s() == 60.0
    assert [each.text for each in job.nears(70.0)] == ["job 7 (train) has used 50 % of its time limit"]
    assert list(job.nears(70.0)) == []
    assert job.next_s() == 90.0
    list(job.follow(ended()))
    assert list(job.nears(95.0)) == []


def observer(relay: Relay, now_s: float = 0.0) -> MailObserver:
    options = MailOptions(sender="hal@example.org", relay=relay.address, domain="example.org", pause_s=0.0)
    return MailObserver(options, first_pause_s=0.01, now_s=lambda: now_s)


async def test_an_owner_is_mailed_at_the_sites_domain_or_where_the_job_says() -> None:
    with Relay() as relay:
        log = FakeEventLog([submitted("END"), *begun(), ended()])
        log.places["mail"] = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer(relay).read_log, log)
            address, mail = await relay.next()
            assert address == "ada@example.org"
            assert mail["Subject"] == "HAL: job 7 (train) has ended: completed, exit code 0"
            with trio.fail_after(WITHIN_S):
                await log.until_kept("mail", 4)
            other = submitted("END", mail_user="grace@example.net")
            log.append(JobSubmitted(1.0, JobId(8), "d", other.owner, other.spec))
            log.append(JobEnded(9.0, JobId(8), ((0, 1),), 0, End(EndKind.CANCELLED, by="ada"), None, 9.0))
            assert (await relay.next())[0] == "grace@example.net"
            nursery.cancel_scope.cancel()


async def test_a_restarted_daemon_knows_what_runs_and_what_it_has_told() -> None:
    with Relay() as relay:
        first = submitted("BEGIN", "TIME_LIMIT_50", "TIME_LIMIT_80", array=ArraySpec(((0, 2),)), walltime_s=100.0)
        later = JobSubmitted(60.0, JobId(9), "e", first.owner, submitted().spec)
        log = FakeEventLog([first, *begun(0), later])
        log.places["mail"] = 4
        restarted = observer(relay, now_s=85.0)
        restarted.begin(Standing(4, (), ((JobId(7), 0, True),), ()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restarted.read_log, log)
            _, mail = await relay.next()
            assert mail["Subject"] == "HAL: job 7 (train) has used 80 % of its time limit", "half of it was told before"
            for event in begun(1, 86.0):
                log.append(event)
            for event in (ended(index=0), ended(BADLY, 1)):
                log.append(event)
            nursery.cancel_scope.cancel()


def mailed(job_id: int, address: str, user: str = "ada") -> list[Event]:
    spec = submitted("END", mail_user=address).spec
    return [JobSubmitted(1.0, JobId(job_id), "d", Owner(user, 1000, 1000), spec), end_of(job_id)]


def end_of(job_id: int) -> Event:
    return JobEnded(9.0, JobId(job_id), ((0, 1),), 0, WELL, None, 9.0)


async def test_what_is_no_address_after_all_stops_nobodys_mail() -> None:
    with Relay() as relay:
        log = FakeEventLog([*mailed(8, ".:t@example.net"), *mailed(9, "grace@example.net")])
        log.places["mail"] = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer(relay).read_log, log)
            assert (await relay.next())[0] == "grace@example.net"
            nursery.cancel_scope.cancel()


async def test_an_address_that_the_relay_cannot_look_up_stops_nobodys_mail_and_is_told_once_when_it_can() -> None:
    with Relay() as relay:
        relay.refused["ada@example.nte"] = b"450 4.1.2 domain not found\r\n"
        log = FakeEventLog([*mailed(8, "ada@example.nte"), *mailed(9, "grace@example.net")])
        log.places["mail"] = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer(relay).read_log, log)
            assert (await relay.next())[0] == "grace@example.net"
            with trio.fail_after(WITHIN_S):
                await log.until_kept("mail", 4)
            assert log.places["mail-late-1"] == 1, "just before the first that it was not told"
            nursery.cancel_scope.cancel()
        for event in (*mailed(10, "ada@example.nte"), *mailed(11, "grace@example.net")):
            log.append(event)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer(relay).read_log, log)
            assert (await relay.next())[1]["Subject"].startswith("HAL: job 11")
            with trio.fail_after(WITHIN_S):
                await log.until_kept("mail", 8)
            del relay.refused["ada@example.nte"]
            address, mail = await relay.next()
            assert address == "ada@example.nte"
            assert [line.split()[:3] for line in mail.get_content().splitlines()[:2]] == [
                ["2", "job", "8"],
                ["6", "job", "10"],
            ]
            with trio.fail_after(WITHIN_S):
                await log.until_kept("mail-late-1", 0)
            nursery.cancel_scope.cancel()
        assert relay.mails.empty()


DEAD = 20
"""Addresses at dead domains: more than there are places for."""


def refuse_all_dead(relay: Relay, letter: str) -> list[str]:
    addresses = [f"{letter}{number:02}@example.nte" for number in range(DEAD)]
    relay.refused |= dict.fromkeys(addresses, b"450 4.1.2 domain not found\r\n")
    return addresses


async def test_one_owner_with_many_dead_addresses_stops_nobodys_mail_and_takes_nobodys_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Relay() as relay:
        dead = refuse_all_dead(relay, "b")
        relay.refused["a@example.org"] = b"450 4.2.0 greylisted\r\n"
        first = mailed(100, "a@example.org", "bob")
        more = [event for number, address in enumerate(dead) for event in mailed(200 + number, address)]
        log = FakeEventLog([*first, *more, *mailed(300, "grace@example.net", "grace")])
        log.places["mail"] = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer(relay).read_log, log)
            assert (await relay.next())[0] == "grace@example.net"
            with trio.fail_after(WITHIN_S):
                await log.until_kept("mail", len(first) + len(more) + 2)
                while sum(log.places[place] != FREE for place in PLACES) != 1 + PLACES_OF_ONE:
                    await trio.lowlevel.checkpoint()
            del relay.refused["a@example.org"]
            assert (await relay.next())[0] == "a@example.org", "who was late before is told when it can be"
            nursery.cancel_scope.cancel()
    lost = [line for line in caplog.messages if "passed over" in line]
    assert [line.split()[2] for line in lost] == dead[:-PLACES_OF_ONE], "the oldest first"


async def test_many_owners_with_dead_addresses_stop_nobodys_mail(caplog: pytest.LogCaptureFixture) -> None:
    with Relay() as relay:
        dead = refuse_all_dead(relay, "b")
        more = [event for at, address in enumerate(dead) for event in mailed(200 + at, address, f"user{at}")]
        log = FakeEventLog([*more, *mailed(300, "grace@example.net", "grace")])
        log.places["mail"] = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer(relay).read_log, log)
            assert (await relay.next())[0] == "grace@example.net"
            nursery.cancel_scope.cancel()
    lost = [line for line in caplog.messages if "passed over" in line]
    assert [line.split()[2] for line in lost] == dead[: DEAD - len(PLACES)], "the oldest first"


@pytest.mark.parametrize(
    ("text", "types"),
    [("end,Fail", ("END", "FAIL")), ("ALL", ALL), ("NONE", ()), ("ARRAY_TASKS,END,END", ("END", "ARRAY_TASKS"))],
)
def test_types_are_read_as_in_slurm(text: str, types: tuple[str, ...]) -> None:
    assert parse_mail_types(text) == types


@pytest.mark.parametrize("text", ["ENDE", "", "STAGE_OUT", "NONE,END", "END;FAIL"])
def test_other_types_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_mail_types(text)


@pytest.mark.parametrize(
    "text",
    [
        "a b@c",
        "ada@",
        "@x",
        "ada@x\nBcc: y@z",
        "Ada",
        "ada@exa mple.org",
        "x" * 300,
        ".:t@x.org",
        "a,b@x.org",
        "a..b@x.org",
        "a@x..org",
        "ada<grace@x.org",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no address"):
        parse_mail_user(text)


def test_what_nobody_would_send_is_refused_with_the_way_out() -> None:
    assert check_mail((), None, None) == ""
    assert "--mail-type" in check_mail((), "ada@x.org", None)
    assert check_mail(("END",), None, "x.org") == check_mail(("END",), "ada@x.org", "") == ""
    with pytest.raises(InvalidInput, match="no observer `mail`"):
        check_mail(("END",), "ada@x.org", None)
    for user in (None, "ada"):
        with pytest.raises(InvalidInput, match="--mail-user"):
            check_mail(("END",), user, "")
