"""The journal in good order: opening, appending, recovering, refusing what is not its own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hal_core import errors
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk, Mark, MarkFile
from hal_core.kernel.journal_format import FORMAT_VERSION, chain_hash, sqlite_warning
from hal_core.kernel.journal_reader import JournalReader
from tests.support.journal_events import digest_of, events_between, in_child, opened, recovered


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


def change(directory: Path, statement: str, *parameters: object) -> None:
    """What a damaged disk or another version might have left: written past the journal, while it is closed."""
    connection = sqlite3.connect(directory / "journal.sqlite")
    connection.execute(statement, parameters)
    connection.commit()
    connection.close()


def test_a_new_journal_is_private_and_empty(directory: Path) -> None:
    with opened(directory) as journal:
        assert (journal.epoch, journal.sequence) == (1, 0)
        assert journal.append([]) == 0
        assert journal.read(0, 10) == []
        recovery = journal.recover()
        assert (recovery.snapshot, list(recovery.events)) == (None, [])
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_appended_events_are_there_after_a_crash(directory: Path) -> None:
    def append_and_die() -> None:
        Journal.open(directory).append(events_between(1, 10))

    assert in_child(append_and_die) == 0
    assert recovered(directory) == (10, digest_of(events_between(1, 10)))


def test_the_epoch_grows_even_if_the_database_forgets_it(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 1))
    with opened(directory) as journal:
        assert journal.epoch == 2
    change(directory, "UPDATE meta SET value = 'x' WHERE key = 'epoch'")
    with opened(directory) as journal:
        assert journal.epoch == 3
    change(directory, "DELETE FROM meta WHERE key = 'epoch'")
    with opened(directory) as journal:
        assert journal.epoch == 4


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(directory: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hal_core.kernel.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(directory)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(errors.Unavailable, match=rf"in use by another HAL daemon \(pid {first.pid}\)"):
            Journal.open(directory)
        first.communicate()
    assert recovered(directory)[0] == 0


def test_a_directory_that_others_can_enter_is_refused_unless_empty(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    with opened(directory):
        assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o755)
    with pytest.raises(errors.Refused, match="chmod 0700"):
        Journal.open(directory)


def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.Unavailable, match="cannot be opened"):
        Journal.open(tmp_path / "file" / "state")


def test_a_mark_ahead_of_the_journal_names_the_first_missing_event(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 10))
    change(directory, "DELETE FROM events WHERE sequence > 7")
    with pytest.raises(errors.JournalDamaged, match="event 8 is missing") as caught:
        Journal.open(directory)
    assert caught.value.sequence == 8
    assert check_journal(directory, Disk()).damaged_sequence == 8


def test_rows_that_were_never_acknowledged_are_adopted(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 5))
        mark = (directory / "mark").read_bytes()
        journal.append(events_between(6, 8))
    (directory / "mark").write_bytes(mark)
    assert recovered(directory) == (8, digest_of(events_between(1, 8)))
    found = MarkFile(directory, Disk()).read()
    assert found is not None
    assert found.sequence == 8


def test_a_missing_event_in_the_middle_is_named(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 10))
    change(directory, "DELETE FROM events WHERE sequence = 4")
    with opened(directory) as journal:
        with pytest.raises(errors.JournalDamaged, match="event 4 is missing"):
            list(journal.recover().events)
        assert len(journal.read(4, 10)) == 0
        with pytest.raises(errors.JournalDamaged, match="event 4"):
            journal.read(0, 10)


@pytest.mark.parametrize("column", ["time_s", "kind", "version", "body", "hash"])
def test_every_column_is_covered_by_the_chain(directory: Path, column: str) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 10))
    other = {"time_s": 1.5, "kind": "JobHeld", "version": 7, "body": b"", "hash": bytes(32)}[column]
    change(directory, f"UPDATE events SET {column} = ? WHERE sequence = 5", other)
    with opened(directory) as journal, pytest.raises(errors.JournalDamaged, match="event 5"):
        list(journal.recover().events)


def test_an_event_of_another_version_is_refused_by_name(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 2))
        previous = journal.recover()
    reader = JournalReader(directory)
    link = reader.hash_at(2)
    reader.close()
    assert previous.last_sequence == 2
    assert link is not None
    columns = (3, 1.0, "JobTeleported", 4, b"body")
    row = (*columns, chain_hash(link, columns))
    change(directory, "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", *row)
    with opened(directory) as journal, pytest.raises(errors.Refused, match=r"event 3 .* JobTeleported version 4"):
        list(journal.recover().events)
    report = check_journal(directory, Disk())
    assert report.damaged_sequence == 3
    assert "JobTeleported" in report.problems[0]


def test_another_format_is_refused_with_a_clear_text(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 2))
    MarkFile(directory, Disk()).create(Mark(1, 2, bytes(32), FORMAT_VERSION - 1))
    with pytest.raises(
        errors.Refused,
        match=f"has format {FORMAT_VERSION - 1}, and this HAL reads and writes only format {FORMAT_VERSION}",
    ):
        Journal.open(directory)
    (directory / "mark").unlink()
    change(directory, "UPDATE meta SET value = 9 WHERE key = 'format'")
    with pytest.raises(errors.Refused, match="has format 9"):
        Journal.open(directory)


def test_a_foreign_database_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    change(directory, "CREATE TABLE shopping (item TEXT)")
    with pytest.raises(errors.JournalDamaged):
        Journal.open(directory)


def test_a_journal_without_its_mark_is_refused(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(1, 2))
    (directory / "mark").unlink()
    with pytest.raises(errors.JournalDamaged, match=r"mark .* is missing"):
        Journal.open(directory)
    (directory / "mark").write_bytes(b"?" * 8192)
    with pytest.raises(errors.JournalDamaged, match=r"mark .* is damaged"):
        Journal.open(directory)


def test_a_mark_of_another_journal_is_refused(directory: Path, tmp_path: Path) -> None:
    for place, first in ((directory, 1), (tmp_path / "other", 5)):
        with opened(place) as journal:
            journal.append(events_between(first, first + 3))
    shutil.copy(tmp_path / "other" / "mark", directory / "mark")
    with pytest.raises(errors.JournalDamaged, match="not what was acknowledged"):
        Journal.open(directory)


def test_a_closed_journal_refuses_politely(directory: Path) -> None:
    journal = Journal.open(directory)
    journal.close()
    journal.close()
    with pytest.raises(errors.Unavailable, match="closed"):
        journal.append(events_between(1, 1))
    with pytest.raises(errors.Unavailable, match="closed"):
        journal.read(0, 1)


def test_readers_in_many_threads_see_only_whole_batches(directory: Path) -> None:
    wrong: list[object] = []
    with opened(directory) as journal:
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                found = journal.read(0, 10_000)
                if len(found) % 4 or [sequence for sequence, _ in found] != list(range(1, len(found) + 1)):
                    wrong.append(found)

        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        for first in range(1, 201, 4):
            journal.append(events_between(first, first + 3))
        is_over.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_the_log_is_moved_into_the_database_by_and_by(directory: Path) -> None:
    with opened(directory) as journal:
        batch = events_between(1, 10_000)
        for _ in range(3):
            journal.append(batch)
        size = (directory / "journal.sqlite").stat().st_size
        log_size = (directory / "journal.sqlite-wal").stat().st_size
        for _ in range(6):
            journal.append(batch)
        assert (directory / "journal.sqlite").stat().st_size > size
        assert (directory / "journal.sqlite-wal").stat().st_size < 2 * log_size
        assert journal.sequence == 90_000


def test_a_reader_never_moves_or_removes_the_log(directory: Path) -> None:
    def append_and_die() -> None:
        Journal.open(directory).append(events_between(1, 10))

    assert in_child(append_and_die) == 0
    log = (directory / "journal.sqlite-wal").read_bytes()
    database = (directory / "journal.sqlite").read_bytes()
    reader = JournalReader(directory)
    assert len(reader.read(0, 100)) == 10
    with reader.connection() as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM events")
    reader.close()
    assert (directory / "journal.sqlite-wal").read_bytes() == log
    assert (directory / "journal.sqlite").read_bytes() == database


def test_the_warning_about_sqlite() -> None:
    for version in [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 0), (3, 51, 2)]:
        assert "WAL-reset bug" in sqlite_warning(version)
    for version in [(3, 6, 23), (3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 52, 0), (4, 0, 0)]:
        assert sqlite_warning(version) == ""
