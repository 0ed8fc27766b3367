"""Recoverable sessions: whichever process is killed, each task has one result; what was given is not made anew."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from hal_core.client import attach, session
from hal_core.client.session_directory import JOURNAL, known_sessions, sessions_directory
from hal_core.errors import NotFound, Refused, SessionError
from tests.support import tasks
from tests.tidy.tree import ROOT


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    """Sessions of a test are its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def runs_of(directory: Path) -> dict[int, int]:
    """How often each task was begun, by the marks that `tasks.mark` leaves."""
    return {int(path.name): path.stat().st_size for path in directory.iterdir()}


def test_a_recoverable_session_leaves_nothing_when_it_is_over():
    with session(workers=2, recoverable=True, server="local") as opened:
        assert known_sessions(os.environ) == [opened.id]
        assert list(opened.map(tasks.square, range(20_000))) == [number * number for number in range(20_000)]
    assert known_sessions(os.environ) == []


def test_a_killed_broker_is_started_again_and_the_client_notices_nothing(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    with session(workers=2, recoverable=True, server="local") as opened:
        stream = opened.stream(tasks.mark, ((number, str(marks)) for number in range(600)))
        given = []
        for kill in range(5):
            given += [next(stream) for _ in range(20)]
            finished_before = set(given)
            runs_before = {number: runs_of(marks)[number] for number in finished_before}
            os.kill(opened.broker_pid, signal.SIGKILL)
            given.append(next(stream))
            assert {number: runs_of(marks)[number] for number in finished_before} == runs_before, f"kill {kill}"
        given += list(stream)
        assert given == list(range(600))
        assert opened.figures().done_count == 600


def test_calls_survive_a_broker_that_is_killed_while_they_are_sent():
    with session(workers=1, recoverable=True, server="local") as opened:
        futures = []
        for number in range(3000):
            futures.append(opened.submit(tasks.square, number))
            if number % 1000 == 500:
                with contextlib.suppress(ProcessLookupError):  # It may not be back yet.
                    os.kill(opened.broker_pid, signal.SIGKILL)
        assert [future.result(timeout=60) for future in futures] == [number * number for number in range(3000)]


def test_a_client_may_leave_and_another_comes_back():
    opened = session(workers=1, recoverable=True, server="local")
    first = opened.map(tasks.quotient, [8, 1, 6], [2, 0, 3])
    assert first[0] == 4
    left = opened.leave()
    with pytest.raises(SessionError):
        opened.submit(tasks.square, 1).result(timeout=30)
    with attach(left[:5]) as again:
        assert again.task_count == 3
        results = again.results()
        assert results[0] == 4
        assert results[2] == 2
        with pytest.raises(ZeroDivisionError):
            results[1]
        assert again.submit(tasks.square, 7).result(timeout=30) == 49
        assert list(again.results(3)) == [49]
    with pytest.raises(NotFound, match="you have no session"):
        attach(left)


def test_a_client_that_is_killed_loses_no_task(tmp_path):
    program = """
import os, signal, sys
from hal_core.client import session
from tests.support import tasks
opened = session(workers=2, recoverable=True, server="local")
print(opened.id, flush=True)
results = opened.map(tasks.square, range(5000))
assert results[10] == 100
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with attach(done.stdout.strip()) as again:
        assert again.task_count == 5000
        assert list(again.results()) == [number * number for number in range(5000)]


def test_what_was_cancelled_stays_so_for_those_who_come_back():
    opened = session(workers=1, recoverable=True, server="local")
    assert opened.submit(tasks.square, 2).result(timeout=30) == 4
    opened.map(tasks.square, range(100))
    opened.cancel()
    opened.figures()  # The broker has heard it.
    with attach(opened.leave()) as again:
        results = again.results(1)
        with pytest.raises(CancelledError):
            results[99]


def test_a_torn_end_of_the_journal_is_cut_off():
    opened = session(workers=1, recoverable=True, server="local")
    assert list(opened.map(tasks.square, range(10))) == [number * number for number in range(10)]
    left = opened.leave()
    path = sessions_directory(os.environ) / left / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:30])
    with attach(left) as again:
        assert list(again.results()) == [number * number for number in range(10)]
        assert again.submit(tasks.square, 11).result(timeout=30) == 121
    opened.leave()


def test_only_a_recoverable_session_can_be_left():
    with session(workers=1, server="local") as opened, pytest.raises(Refused, match="recoverable=True"):
        opened.leave()


def test_two_clients_do_not_share_one_session_by_accident():
    """The later one has it, and the numbers of its tasks are its own; the earlier one is told."""
    with session(workers=1, recoverable=True, server="local") as opened:
        assert opened.submit(tasks.square, 3).result(timeout=30) == 9
        later = attach(opened.id)
        with pytest.raises(SessionError, match="another client has come back"):
            opened.submit(tasks.square, 4).result(timeout=30)
        assert later.submit(tasks.square, 5).result(timeout=30) == 25
        assert list(later.results()) == [9, 25]
    assert later.submit(tasks.square, 6).result(timeout=30) == 36, "the earlier one's end is not the session's"
    later.shutdown()
    assert known_sessions(os.environ) == []


def test_what_a_client_sent_before_it_left_is_there_for_the_next():
    opened = session(workers=1, recoverable=True, server="local")
    opened.map(tasks.square, range(30_000))
    with attach(opened.leave()) as again:
        assert again.task_count == 30_000
        assert list(again.results(29_998)) == [29_998**2, 29_999**2]


def test_results_may_be_asked_for_in_any_parts_and_more_than_once():
    opened = session(workers=2, recoverable=True, server="local")
    opened.map(tasks.square, range(100))
    with attach(opened.leave()) as again:
        parts = [again.results(3, 50), again.results(0, 7), again.results(), again.results(5, 6)]
        more = again.submit(tasks.square, 100)
        assert [list(part) for part in parts] == [
            [number**2 for number in numbers] for numbers in (range(3, 50), range(7), range(100), [5])
        ]
        assert more.result(timeout=30) == 10_000
        assert again.task_count == 101


def test_a_broker_that_cannot_write_its_journal_says_so():
    """A limit on the size of files stands for a full disk."""
    program = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
from hal_core.client import session
from hal_core.errors import SessionError
from tests.support import tasks
opened = session(workers=1, recoverable=True, server="local")
try:
    list(opened.map(tasks.square, range(100_000)))
except SessionError as error:
    print(error)
opened.shutdown()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "journal cannot be written: File too large" in done.stdout, done.stderr
