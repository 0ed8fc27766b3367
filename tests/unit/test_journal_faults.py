"""The journal when the disk refuses, lies about a sync, or the process is killed: nothing acknowledged is ever lost."""

from __future__ import annotations

import errno
import os
import random
import resource
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hal_core import errors
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk, FileSystem
from hal_core.kernel.journal_format import connect_reader, connect_writer
from hal_core.kernel.snapshot import make_snapshot
from tests.support.disks import small_disk
from tests.support.journal_events import Digest, digest_of, event_at, events_between, kill, opened, recovered

KILL_COUNT = 50


class FailingDisk:
    """A disk whose next writes in place fail, as long as `error` is set."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self._disk: FileSystem = Disk()

    def read(self, path: Path) -> bytes | None:
        return self._disk.read(path)

    def write_at(self, path: Path, offset: int, content: bytes) -> None:
        if self.error is not None:
            raise self.error
        self._disk.write_at(path, offset, content)

    def replace(self, path: Path, content: bytes) -> None:
        self._disk.replace(path, content)

    def names(self, directory: Path) -> list[str]:
        return self._disk.names(directory)

    def remove(self, path: Path) -> None:
        self._disk.remove(path)


class FailingConnection(sqlite3.Connection):
    """SQLite whose statements fail as `failures` says: the statement, and the name of the error."""

    failures: dict[str, str]

    def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:
        name = self.failures.get(statement)
        if name is not None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = name
            raise error
        return super().execute(statement, *arguments)  # type: ignore[arg-type]


def failing(failures: dict[str, str]) -> Callable[[Path], sqlite3.Connection]:
    def connect(path: Path) -> sqlite3.Connection:
        connect_writer(path).close()
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=FailingConnection)
        assert isinstance(connection, FailingConnection)
        connection.failures = failures
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    return connect


def append_jobs(journal: Journal) -> None:
    """More than any limit in these tests allows."""
    for _ in range(10_000):
        journal.append(events_between(journal.sequence + 1, journal.sequence + 4))


@pytest.mark.root
def test_a_full_disk_is_unavailable_until_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 1 << 20) as disk:
        with opened(disk / "state") as journal:
            (disk / "ballast").write_bytes(bytes(300 << 10))
            with pytest.raises(errors.Unavailable, match=r"full.*free some space"):
                append_jobs(journal)
            sequence = journal.sequence
            assert sequence > 40
            for _ in range(3):
                with pytest.raises(errors.Unavailable):
                    journal.append(events_between(sequence + 1, sequence + 4))
            assert journal.sequence == sequence
            assert len(journal.read(0, 10_000)) == sequence
            assert journal.failure is None
            (disk / "ballast").unlink()
            sequence = journal.append(events_between(sequence + 1, sequence + 4))
        assert recovered(disk / "state") == (sequence, digest_of(events_between(1, sequence)))


def test_a_write_error_is_unavailable_until_it_is_over(tmp_path: Path) -> None:
    """A limit on file sizes makes the kernel refuse the write itself; no root needed."""
    directory = tmp_path / "state"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(directory) as journal:
        journal.append(events_between(1, 40))
        resource.setrlimit(resource.RLIMIT_FSIZE, ((directory / "journal.sqlite-wal").stat().st_size + 6000, hard))
        try:
            with pytest.raises(errors.Unavailable, match="nothing was changed"):
                append_jobs(journal)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sequence = journal.append(events_between(journal.sequence + 1, journal.sequence + 4))
    assert recovered(directory) == (sequence, digest_of(events_between(1, sequence)))


def test_after_a_failed_mark_nothing_is_appended_until_reopened(tmp_path: Path) -> None:
    disk = FailingDisk()
    with opened(tmp_path / "state", file_system=disk) as journal:
        journal.append(events_between(1, 4))
        disk.error = OSError(errno.EIO, os.strerror(errno.EIO))
        with pytest.raises(errors.Unavailable, match="mark cannot be written"):
            journal.append(events_between(5, 6))
        disk.error = None
        with pytest.raises(errors.Unavailable, match="until it is started again"):
            journal.append(events_between(5, 6))
        assert (journal.sequence, len(journal.read(0, 10))) == (4, 4)
        assert list(journal.recover().events) == events_between(1, 4)
    assert recovered(tmp_path / "state") == (6, digest_of(events_between(1, 6)))


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC", "SQLITE_CORRUPT"])
def test_a_failed_sync_is_never_retried(tmp_path: Path, name: str) -> None:
    failures: dict[str, str] = {}
    with opened(tmp_path / "state", connect=failing(failures)) as journal:
        journal.append(events_between(1, 4))
        failures["COMMIT"] = name
        with pytest.raises(errors.Unavailable, match="until it is started again"):
            journal.append(events_between(5, 6))
        failures.clear()
        with pytest.raises(errors.Unavailable, match="until it is started again"):
            journal.append(events_between(5, 6))
        assert journal.failure is not None
    assert recovered(tmp_path / "state") == (4, digest_of(events_between(1, 4)))


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_BUSY", "SQLITE_IOERR_WRITE"])
@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
def test_what_failed_before_a_sync_is_retried(tmp_path: Path, name: str, statement: str) -> None:
    failures: dict[str, str] = {}
    with opened(tmp_path / "state", connect=failing(failures)) as journal:
        failures[statement] = name
        with pytest.raises(errors.Unavailable, match="nothing was changed"):
            journal.append(events_between(1, 2))
        failures.clear()
        assert journal.append(events_between(1, 4)) == 4
    assert recovered(tmp_path / "state") == (4, digest_of(events_between(1, 4)))


def test_a_rollback_or_checkpoint_that_fails_is_never_retried(tmp_path: Path) -> None:
    failures: dict[str, str] = {}
    with opened(tmp_path / "a", connect=failing(failures)) as journal:
        failures |= {"COMMIT": "SQLITE_FULL", "ROLLBACK": "SQLITE_IOERR_WRITE"}
        with pytest.raises(errors.Unavailable):
            journal.append(events_between(1, 2))
        assert "rolled back" in (journal.failure or "")
        failures.clear()
    with opened(tmp_path / "b", connect=failing(failures)) as journal:
        journal.append(events_between(1, 20_000))
        failures["PRAGMA wal_checkpoint(PASSIVE)"] = "SQLITE_IOERR_FSYNC"
        with pytest.raises(errors.Unavailable, match="until it is started again"):
            journal.append(events_between(20_001, 20_001))


def test_an_event_that_cannot_be_encoded_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "state") as journal:
        wrong = event_at(1)
        object.__setattr__(wrong, "client_id", "\ud800")
        with pytest.raises(UnicodeEncodeError):
            journal.append([event_at(1), wrong])
        assert journal.append(events_between(1, 4)) == 4


def test_opening_with_a_failing_disk_gives_the_lock_back(tmp_path: Path) -> None:
    disk = FailingDisk()
    with opened(tmp_path / "state", file_system=disk):
        pass
    disk.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(errors.Unavailable, match="No space left"):
        Journal.open(tmp_path / "state", disk)
    assert recovered(tmp_path / "state")[0] == 0


def test_a_first_start_that_lost_power_is_begun_again(tmp_path: Path) -> None:
    """SQLite's own rollback journal of the switch to a write-ahead log, which only a writer can clear away."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    connect_writer(directory / "journal.sqlite").close()
    header = struct.pack(">8sIIIII", bytes.fromhex("d9d505f920a163d7"), 0, 4711, 0, 512, 4096)
    (directory / "journal.sqlite-journal").write_bytes(header.ljust(512, b"\0"))
    with opened(directory) as journal:
        assert journal.append(events_between(1, 4)) == 4


def append_for_ever(directory: Path, acknowledgements: int, seed: int) -> None:
    """The child: batches of random size, and each acknowledged sequence as 8 bytes into the pipe."""
    dice = random.Random(seed)
    with opened(directory) as journal:
        while True:
            sequence = journal.sequence
            journal.append(events_between(sequence + 1, sequence + dice.randint(1, 40)))
            os.write(acknowledgements, journal.sequence.to_bytes(8, "big"))


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    directory, seed = tmp_path / "state", random.randrange(1 << 32)
    dice = random.Random(seed)
    acknowledged, verified, expected = 0, 0, Digest()
    for _ in range(KILL_COUNT):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(read_end)
                append_for_ever(directory, write_end, dice.randrange(1 << 32))
            finally:
                os._exit(1)
        os.close(write_end)
        with open(read_end, "rb", buffering=0) as answers:
            for _ in range(dice.randint(1, 12)):
                answer = answers.read(8)
                assert answer, f"the child died by itself (seed {seed})"
                acknowledged = int.from_bytes(answer, "big")
            kill(child)
            for answer in iter(lambda: answers.read(8), b""):
                acknowledged = int.from_bytes(answer, "big")
        sequence, digest = recovered(directory)
        assert acknowledged <= sequence <= acknowledged + 40, f"seed {seed}"
        for event in events_between(verified + 1, sequence):
            expected.apply(event)
        assert digest == expected.value, f"seed {seed}"
        verified = make_snapshot(directory, Digest, Disk())
    report = check_journal(directory, Disk())
    assert (report.event_count, report.problems) == (verified, ()), f"seed {seed}"
    with opened(directory) as journal:
        assert journal.epoch == 2 * KILL_COUNT + 1


def test_who_opens_waits_for_a_snapshots_process_that_puts_the_log_in_order(tmp_path: Path) -> None:
    """On a busy machine that took longer than SQLite's five seconds, and the daemon did not start."""
    with (
        closing(connect_writer(tmp_path / "journal.sqlite")) as writer,
        closing(connect_reader(tmp_path / "journal.sqlite")) as reader,
    ):
        for connection in (writer, reader):
            assert connection.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
