"""The journal: every event, durable before anybody sees it or acts on it.

`append` is synchronous and is called from one writer thread at a time; what waits together goes in together (group
commit). When it returns, the events are synced in SQLite, and the high-water mark outside it is synced too. Reading is
safe from any thread. This module must not know what an event means (journal_history keeps the one projection), and
must never retry after a failed sync: the journal then refuses everything until it is opened, and so verified, again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from hal_core import errors
from hal_core.failpoints import reach
from hal_core.kernel.journal_files import Disk, FileLock, FileSystem, Mark, MarkFile, lock_directory, make_private
from hal_core.kernel.journal_format import (
    DATABASE_ERRORS,
    DATABASE_NAME,
    FORMAT_VERSION,
    INSERT_EVENT,
    RETRYABLE,
    SCHEMA,
    EventRow,
    clear_first_start,
    connect_writer,
    error_name,
    event_rows,
)
from hal_core.kernel.journal_history import clear_history, write_history
from hal_core.kernel.journal_reader import PAGE_EVENT_COUNT, JournalReader
from hal_core.kernel.journal_recovery import Recovery, find_position, plan_recovery
from hal_core.models.event import Event
from hal_core.models.history import HistoryEntry, HistoryFilters, HistoryPage
from hal_core.models.job import JobId
from hal_core.models.prediction import Prediction

Connect = Callable[[Path], sqlite3.Connection]

SNAPSHOT_EVENT_COUNT: Final = 50_000
"""Events after which the kernel starts `python -m hal_core.kernel.snapshot STATE_DIR` again."""

_CHECKPOINT_COMMIT_COUNT: Final = 1000
_CHECKPOINT_EVENT_COUNT: Final = 20_000
"""Whichever comes first. Keeps the log below some 40 MB, and a checkpoint to a few milliseconds."""

_RETRY_AFTER_S: Final = 5.0


class Journal:
    """An open journal, the only one of its directory. Use `Journal.open`."""

    def __init__(self, directory: Path, file_system: FileSystem, connect: Connect) -> None:
        """`open` with the errors of SQLite and the operating system as they are."""
        make_private(directory)
        self._directory = directory
        self._file_system = file_system
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._commit_count = self._event_count = 0
        self._directory_lock: FileLock = lock_directory(directory)
        reach("journal.locked")
        self._reader = JournalReader(directory)
        self._writer: sqlite3.Connection | None = None
        try:
            self._mark_file = MarkFile(directory, file_system)
            if not self._mark_file.exists():
                clear_first_start(directory / DATABASE_NAME)
            position = find_position(self._reader, self._mark_file)
            reach("journal.position_found")
            self._mark = self._begin(position, connect)
            reach("journal.opened")
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, directory: Path, file_system: FileSystem | None = None, connect: Connect = connect_writer) -> Journal:
        """Create or open the journal in a private directory, for writing.

        Raises JournalDamaged if acknowledged events are missing, Refused for another format or a directory that is
        not private, Unavailable if another daemon has it open or the disk refuses.
        """
        try:
            return cls(directory, Disk() if file_system is None else file_system, connect)
        except OSError as error:
            raise errors.Unavailable(f"the journal in {directory} cannot be opened: {error}", _RETRY_AFTER_S) from error
        except DATABASE_ERRORS as error:
            raise _open_error(directory / DATABASE_NAME, error) from error

    @property
    def epoch(self) -> int:
        """Larger at each open; on disk before the first append."""
        return self._mark.epoch

    @property
    def sequence(self) -> int:
        """The last durable event; 0 if there is none."""
        return self._mark.sequence

    @property
    def failure(self) -> str | None:
        """Why nothing can be appended until the journal is opened again, or None."""
        return self._failure

    def append(self, events: Sequence[Event]) -> int:
        """Make the events durable, all or none, and return the sequence of the last.

        Raises Unavailable and changes nothing if the disk refuses; call again when there is space, unless `failure`.
        """
        with self._lock:
            if self._failure is not None:
                raise errors.Unavailable(self._failure, _RETRY_AFTER_S)
            if not events:
                return self._mark.sequence
            rows = event_rows(events, self._mark.sequence, self._mark.hash)
            self._checkpoint_if_due()
            self._commit(rows, events)
            reach("journal.after_commit")
            mark = Mark(self._mark.epoch, rows[-1][0], rows[-1][5], FORMAT_VERSION)
            try:
                self._mark_file.write(mark)
            except OSError as error:
                raise self._failed(f"its mark cannot be written ({error})") from error
            reach("journal.after_mark")
            self._mark = mark
            self._commit_count += 1
            self._event_count += len(rows)
            return mark.sequence

    def recover(self, uses_snapshots: bool = True) -> Recovery:
        """The newest usable snapshot and the verified events after it, up to `sequence`.

        Without snapshots for a state that cannot be loaded by this version. Iterating raises JournalDamaged at the
        first event that is not what was written, and Refused for one of a kind or version that is not known.
        """
        return plan_recovery(self._reader, self._directory, self._file_system, self.sequence, uses_snapshots)

    def latest(self, count: int) -> Iterator[Event]:
        """The last so many events, in order. Callable from any thread."""
        after_sequence, last_sequence = max(0, self.sequence - count), self.sequence
        while page := self._reader.read(after_sequence, PAGE_EVENT_COUNT, last_sequence):
            yield from (event for _, event in page)
            after_sequence = page[-1][0]

    def read(self, after_sequence: int, limit: int) -> list[tuple[int, Event]]:
        """At most `limit` durable events after `after_sequence`, with their sequence numbers."""
        return self._reader.read(after_sequence, limit, self.sequence)

    def history(self, filters: HistoryFilters, limit: int, cursor: int | None = None) -> HistoryPage:
        """A page of ended jobs."""
        return self._reader.history(filters, limit, cursor, self.sequence)

    def events_of(self, job_id: JobId, is_over: bool = False, last: int | None = None) -> list[Event]:
        """All durable events about one job; `is_over`: it is not queued again any more. Callable from any thread.

        `last`: those as far as that event.
        """
        return self._reader.events_of(job_id, self.sequence if last is None else last, is_over)

    def predictions_of(self, ends: Sequence[HistoryEntry]) -> dict[int, Prediction]:
        """What was said of each by its start, by the sequence number of the end. Callable from any thread."""
        return self._reader.predictions_of(ends)

    def rebuild_history(self) -> None:
        """Project the history again from all events, which are verified on the way."""
        with self._lock, self._transaction() as writer:
            clear_history(writer)
            for first in range(0, self.sequence, PAGE_EVENT_COUNT):
                page = self._reader.read(first, PAGE_EVENT_COUNT, self.sequence)
                write_history(writer, first + 1, [event for _, event in page])

    def close(self) -> None:
        """Give the directory back. The journal is complete on disk at any time, so this is only tidiness."""
        self._reader.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._failure = self._failure or "the journal is closed"
        self._directory_lock.release()

    def _begin(self, position: Mark | None, connect: Connect) -> Mark:
        """Write the tables if there are none, and the new epoch: first in the mark, which cannot lose it."""
        path = self._directory / DATABASE_NAME
        last = position or self._mark_file.read() or Mark(0, 0, bytes(32), FORMAT_VERSION)
        mark = Mark(last.epoch + 1, last.sequence, last.hash, FORMAT_VERSION)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        if self._mark_file.exists():
            self._mark_file.write(mark)
        reach("journal.epoch_marked")
        self._writer = connect(path)
        self._writer.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA if position is None else ():
            self._writer.execute(statement)
        meta = [("format", FORMAT_VERSION), ("epoch", mark.epoch)]
        self._writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)
        self._writer.execute("COMMIT")
        reach("journal.tables_written")
        if not self._mark_file.exists():
            self._mark_file.create(mark)
        return mark

    def _commit(self, rows: list[EventRow], events: Sequence[Event]) -> None:
        reach("journal.before_transaction")
        with self._transaction() as writer:
            writer.executemany(INSERT_EVENT, rows)
            write_history(writer, rows[0][0], events)
            reach("journal.before_commit")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done in it is on disk afterwards, or nothing is. Raises Unavailable if SQLite refuses it."""
        writer = self._writer
        assert writer is not None
        try:
            writer.execute("BEGIN IMMEDIATE")
            yield writer
            writer.execute("COMMIT")
        except BaseException as error:
            self._roll_back(writer)
            if isinstance(error, sqlite3.Error):
                raise self._refusal(error) from error
            raise

    def _roll_back(self, writer: sqlite3.Connection) -> None:
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._failed(f"a transaction cannot be rolled back ({error})")

    def _checkpoint_if_due(self) -> None:
        """Move the log into the database. Readers that are busy only postpone the rest of it."""
        if self._commit_count < _CHECKPOINT_COMMIT_COUNT and self._event_count < _CHECKPOINT_EVENT_COUNT:
            return
        assert self._writer is not None
        reach("journal.before_checkpoint")
        try:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise self._refusal(error) from error
        reach("journal.after_checkpoint")
        self._commit_count = self._event_count = 0

    def _refusal(self, error: sqlite3.Error) -> errors.Unavailable:
        if error_name(error) not in RETRYABLE:
            return self._failed(str(error))
        return errors.Unavailable(
            f"the journal in {self._directory} cannot be written ({error}): nothing was changed; free some space",
            _RETRY_AFTER_S,
        )

    def _failed(self, why: str) -> errors.Unavailable:
        """No write can be believed from now on."""
        self._failure = (
            f"the journal in {self._directory} failed: {why}. HAL refuses new work until it is started again and has "
            "verified the journal"
        )
        return errors.Unavailable(self._failure, _RETRY_AFTER_S)


def _open_error(path: Path, error: Exception) -> errors.HalError:
    """What SQLite means, with the journal closed again."""
    with closing(JournalReader(path.parent)) as reader:
        # A damaged header makes SQLite treat a file as read-only that anybody can see is not.
        if error_name(error) != "SQLITE_READONLY" or not os.access(path, os.W_OK):
            return reader.translated(error, None)
        sequence = reader.first_damaged()
    return errors.JournalDamaged(
        f"the header of {path} is damaged, event {sequence} may be lost; restore a backup", sequence
    )
