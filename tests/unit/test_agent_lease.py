"""The lease and its guard, on files alone: when what is under the lease is ended, and that it never starts late."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hal_core.agent.guard import Guard
from hal_core.agent.launcher import records
from hal_core.agent.lease import Lease, Terms, boot_time_s, read_terms

KEY = "7.0.1"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / records.CLAIMS).mkdir()
    return tmp_path


def lease_of(directory: Path, length_s: float, heard_s: float) -> Lease:
    lease = Lease(directory, records.boot_id())
    lease.begin(length_s, heard_s)
    return lease


def terms_of(directory: Path) -> Terms:
    terms = read_terms(directory, records.boot_id())
    assert terms is not None
    return terms


@pytest.mark.parametrize(("length_s", "margin_s"), [(300.0, 10.0), (50.0, 5.0), (8.0, 0.8)])
def test_all_has_ended_before_the_daemon_may_start_it_again(directory: Path, length_s: float, margin_s: float) -> None:
    lease_of(directory, length_s, 1000.0)
    terms = terms_of(directory)
    assert terms.deadline_s == pytest.approx(1000.0 + length_s - margin_s)
    assert terms.end_s(0.0) == terms.deadline_s
    assert terms.end_s(1e9) == terms.deadline_s - length_s / 4, "a long grace does not use up the lease"
    assert terms.grace_left_s(terms.deadline_s - 1) == pytest.approx(1.0)
    assert terms.grace_left_s(terms.deadline_s + 1) == 0.0


def test_another_agent_and_another_boot(directory: Path) -> None:
    lease_of(directory, 100.0, boot_time_s() - 1000.0)
    assert Lease(directory, records.boot_id()).is_over, "a restart of the agent is no new lease"
    assert not Lease(directory, "another boot").is_over
    assert read_terms(directory, "another boot") is None


def test_without_a_lease_nothing_ends(directory: Path) -> None:
    lease = lease_of(directory, 0.0, 1.0)
    lease.put_under(KEY, 5.0)
    assert Guard(directory).look(boot_time_s() + 1e9) == (False, False)
    assert not lease.is_over


def test_what_was_not_launched_is_claimed_and_never_starts(directory: Path) -> None:
    lease = lease_of(directory, 100.0, 1000.0)
    lease.put_under(KEY, 5.0)
    guard = Guard(directory)
    assert guard.look(terms_of(directory).end_s(5.0) - 0.1) == (False, False)
    assert not guard.has_nothing_left(), "a spawner may have the order and not have read it"
    assert not (directory / records.CLAIMS / KEY).exists()
    guard.look(terms_of(directory).end_s(5.0) + 0.1)
    record = records.parse((directory / records.CLAIMS / KEY).read_bytes())
    assert record.end is not None
    assert record.end[0] == "cancelled"
    assert guard.has_nothing_left()
    lease.release(KEY)
    assert guard.look(boot_time_s()) == (False, True)


@pytest.fixture
def claims(directory: Path) -> Callable[[], int]:
    return lambda: os.open(directory / records.CLAIMS, os.O_RDONLY | os.O_DIRECTORY)


def test_an_ended_attempt_is_left_alone(directory: Path, claims: Callable[[], int]) -> None:
    lease = lease_of(directory, 100.0, 1000.0)
    lease.put_under(KEY, 5.0)
    folder = claims()
    claim = records.claim(folder, KEY, records.end_line(records.End("exited", 1.0)), "test.new")
    assert claim is not None
    before = (directory / records.CLAIMS / KEY).read_bytes()
    assert Guard(directory).look(1e9) == (False, False)
    assert (directory / records.CLAIMS / KEY).read_bytes() == before
    os.close(claim)
    os.close(folder)


def test_whom_nobody_looks_after_gets_no_signal(directory: Path, claims: Callable[[], int]) -> None:
    """The record names a process, ours, but its lock is not held: the number may belong to anybody by now."""
    lease = lease_of(directory, 100.0, 1000.0)
    lease.put_under(KEY, 5.0)
    folder = claims()
    lines = records.claim_line(records.boot_id()) + records.run_line(os.getpid())
    claim = records.claim(folder, KEY, lines, "test.new")
    assert claim is not None
    os.close(claim)
    guard = Guard(directory)
    assert guard.look(1e9) == (True, False), "and it is looked at again"
    assert not guard.has_nothing_left()
    record = records.parse((directory / records.CLAIMS / KEY).read_bytes())
    assert record.cancel_grace_s == 0.0
    os.close(folder)
