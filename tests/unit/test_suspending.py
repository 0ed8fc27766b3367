"""Letting an attempt stand still while the disk of its node is full."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hal_core.agent import suspending
from hal_core.agent.launcher import records

KEY = "1.0.1"
SUPERVISOR = "trap '' TERM; sleep 1000 & echo $!; wait"
"""It ignores the hint to look into its record."""


class Attempt:
    """A supervisor with one process, and its record, of which we hold the lock for it."""

    def __init__(self, directory: Path, supervisor_pid: int, pid: int) -> None:
        self.directory, self.pid = directory, pid
        self.path = directory / records.CLAIMS / KEY
        self.path.parent.mkdir()
        self.path.write_bytes(records.claim_line(records.boot_id()) + records.run_line(supervisor_pid))

    @property
    def has_stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def record(self) -> records.Record:
        return records.parse(self.path.read_bytes())

    def tell(self, act: Callable[..., None]) -> None:
        act(self.directory, KEY, {})

    def until(self, has_stopped: bool) -> None:
        deadline_s = time.monotonic() + 60.0
        while self.has_stopped is not has_stopped:
            assert time.monotonic() < deadline_s, "it does not stand still" if has_stopped else "it does not go on"
            os.sched_yield()

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.path.stat().st_size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    with subprocess.Popen(["sh", "-c", SUPERVISOR], stdout=subprocess.PIPE, start_new_session=True) as supervisor:
        try:
            assert supervisor.stdout is not None
            found = Attempt(tmp_path, supervisor.pid, int(supervisor.stdout.readline()))
            with found.path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield found
        finally:
            os.killpg(supervisor.pid, signal.SIGKILL)


def test_on_a_full_disk_nothing_stands_still(attempt: Attempt) -> None:
    """Nobody would know that it has to go on again."""
    with attempt.full_disk():
        attempt.tell(suspending.suspend)
    assert attempt.record.suspend_time_s is None
    assert not attempt.has_stopped
    attempt.tell(suspending.suspend)
    attempt.until(has_stopped=True)
    assert attempt.record.suspend_time_s is not None


def test_on_a_full_disk_it_goes_on_and_its_record_says_so_when_it_is_told_again(attempt: Attempt) -> None:
    attempt.tell(suspending.suspend)
    attempt.until(has_stopped=True)
    with attempt.full_disk():
        attempt.tell(suspending.resume)
    attempt.until(has_stopped=False)
    assert attempt.record.suspend_time_s is not None
    attempt.tell(suspending.resume)
    assert attempt.record.suspend_time_s is None
    assert attempt.record.stood_still_s > 0.0
