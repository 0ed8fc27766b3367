"""Reading the journal, from any thread and any process, without ever changing it.

Every event that is handed out was checked against its neighbour in the hash chain. What SQLite finds wrong becomes
JournalDamaged with the first sequence number that cannot be trusted.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hal_core import errors
from hal_core.kernel.job_events import events_of, predictions_of, with_run_times
from hal_core.kernel.journal_files import GENESIS_HASH
from hal_core.kernel.journal_format import (
    DATABASE_ERRORS,
    DATABASE_NAME,
    SELECT_EVENTS,
    EventRow,
    connect_reader,
    decode_row,
    is_damage,
    verified,
)
from hal_core.kernel.journal_history import read_history
from hal_core.models.event import Event
from hal_core.models.history import HistoryEntry, HistoryFilters, HistoryPage
from hal_core.models.job import JobId
from hal_core.models.prediction import Prediction

PAGE_EVENT_COUNT: Final = 4000
_IDLE_CONNECTION_COUNT_MAX: Final = 4
_SEQUENCE_MAX: Final = (1 << 63) - 1


class JournalReader:
    """Read-only connections to one journal, as many as there are threads that read at the same time."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / DATABASE_NAME
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def read(self, after_sequence: int, limit: int, last_sequence: int = _SEQUENCE_MAX) -> list[tuple[int, Event]]:
        """At most `limit` events after `after_sequence` and up to `last_sequence`, in order."""
        previous = self.hash_at(after_sequence)
        if previous is None:
            return []
        limit = min(limit, last_sequence - after_sequence)
        return [(row[0], decode_row(row)) for row in self.rows(after_sequence, previous, limit)]

    def rows(self, after_sequence: int, previous: bytes, limit: int) -> list[EventRow]:
        """The same as rows, checked to follow the event `after_sequence` with chain hash `previous`."""
        rows: list[EventRow] = []
        with self.connection() as connection:
            try:
                found = connection.execute(SELECT_EVENTS, (after_sequence, max(limit, 0)))
                rows.extend(verified(found, after_sequence, previous))
            except DATABASE_ERRORS as error:
                raise self.translated(error, after_sequence + len(rows) + 1) from error
        return rows

    def all_rows(self, after_sequence: int, previous: bytes, last_sequence: int) -> Iterator[EventRow]:
        """Every row up to `last_sequence`, read in pages so that no long read keeps the log from being recycled."""
        while after_sequence < last_sequence:
            rows = self.rows(after_sequence, previous, min(PAGE_EVENT_COUNT, last_sequence - after_sequence))
            if not rows:
                raise missing(after_sequence + 1, last_sequence)
            yield from rows
            after_sequence, previous = rows[-1][0], rows[-1][5]

    def history(
        self, filters: HistoryFilters, limit: int, cursor: int | None = None, last_sequence: int = _SEQUENCE_MAX
    ) -> HistoryPage:
        """A page of ended jobs."""
        with self.connection() as connection:
            try:
                return with_run_times(connection, read_history(connection, filters, limit, cursor, last_sequence))
            except DATABASE_ERRORS as error:
                raise self.translated(error, None) from error

    def events_of(self, job_id: JobId, last_sequence: int, is_over: bool) -> list[Event]:
        """All about one job (job_events.py)."""
        with self.connection() as connection:
            try:
                return events_of(connection, job_id, last_sequence, is_over)
            except DATABASE_ERRORS as error:
                raise self.translated(error, None) from error

    def predictions_of(self, ends: Sequence[HistoryEntry]) -> dict[int, Prediction]:
        """What was said of each by its start (job_events.py)."""
        with self.connection() as connection:
            try:
                return predictions_of(connection, ends)
            except DATABASE_ERRORS as error:
                raise self.translated(error, None) from error

    def last(self) -> tuple[int, bytes]:
        """Sequence and chain hash of the last row; (0, GENESIS_HASH) of an empty journal."""
        row = self._one("SELECT sequence, hash FROM events ORDER BY sequence DESC LIMIT 1", ())
        return (0, GENESIS_HASH) if row is None else row

    def hash_at(self, sequence: int) -> bytes | None:
        """The chain hash of an event, or None if there is no such row."""
        if sequence == 0:
            return GENESIS_HASH
        if not 0 < sequence <= _SEQUENCE_MAX:
            return None
        row = self._one("SELECT sequence, hash FROM events WHERE sequence = ?", (sequence,))
        return None if row is None else row[1]

    def first_damaged(self) -> int:
        """The first event that cannot be trusted, found by reading from the beginning (seconds for millions)."""
        sequence, previous = 0, GENESIS_HASH
        try:
            while rows := self.rows(sequence, previous, PAGE_EVENT_COUNT):
                sequence, previous = rows[-1][0], rows[-1][5]
        except errors.JournalDamaged as error:
            return error.sequence
        return sequence + 1

    def translated(self, error: Exception, sequence: int | None) -> errors.HalError:
        """The error that a person can use. `sequence` None: look for the first damaged event."""
        if not is_damage(error):
            return errors.Unavailable(f"the journal {self.path} cannot be used: {error}")
        sequence = self.first_damaged() if sequence is None else sequence
        return errors.JournalDamaged(
            f"the journal {self.path} is damaged at event {sequence} ({error}); restore it from a backup", sequence
        )

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one thread. Returned to the others only if nothing went wrong."""
        with self._lock:
            if self._is_closed:
                raise errors.Unavailable("the journal is closed")
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            try:
                connection = connect_reader(self.path)
            except DATABASE_ERRORS as error:
                raise self.translated(error, 1) from error
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._is_closed and len(self._idle) < _IDLE_CONNECTION_COUNT_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _one(self, statement: str, parameters: tuple[int, ...]) -> tuple[int, bytes] | None:
        with self.connection() as connection:
            try:
                row: tuple[int, bytes] | None = connection.execute(statement, parameters).fetchone()
            except DATABASE_ERRORS as error:
                raise self.translated(error, None) from error
        return row


def missing(sequence: int, last_sequence: int) -> errors.JournalDamaged:
    """The error for acknowledged events that are not there."""
    return errors.JournalDamaged(
        f"event {sequence} is missing from the journal, but everything up to event {last_sequence} was acknowledged; "
        "restore the state directory from a backup",
        sequence,
    )
