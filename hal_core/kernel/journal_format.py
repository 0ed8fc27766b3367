"""The journal's form inside SQLite: tables, the hash chain, how a connection is opened, and what an SQLite error means.

Nothing here decides when to write. Exactly one connection (the writer's) may write and checkpoint; all others are
opened by `connect_reader`, which can do neither: SQLite versions before 3.51.3 may lose data otherwise (the WAL-reset
bug, https://sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hal_core import errors
from hal_core.kernel.journal_history import HISTORY_SCHEMA
from hal_core.models.event import Event, decode_event, encode_event

DATABASE_NAME: Final = "journal.sqlite"
FORMAT_VERSION: Final = 2

EventColumns = tuple[int, float, str, int, bytes]
"""sequence, time_s, kind, version, body: all that the hash of a row seals."""
EventRow = tuple[int, float, str, int, bytes, bytes]
"""The same, and the hash."""

SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    """CREATE TABLE events (sequence INTEGER PRIMARY KEY, time_s REAL NOT NULL, kind TEXT NOT NULL,
    version INT NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL)""",
    *HISTORY_SCHEMA,
)
INSERT_EVENT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"
SELECT_EVENTS: Final = """
    SELECT sequence, time_s, kind, version, body, hash FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?
"""

_PREFIX: Final = struct.Struct(">QdIH")

BUSY_S: Final = 60.0
"""So long it is waited for a lock. Nobody holds one but who reads first after a crash, and so puts the log in order:
perhaps the process of a snapshot, which has the least right to a processor."""
RETRYABLE: Final = frozenset(
    {
        "SQLITE_FULL",
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_NOMEM",
        "SQLITE_IOERR_WRITE",
        "SQLITE_IOERR_NOMEM",
        "SQLITE_IOERR_SHMSIZE",
        "SQLITE_IOERR_SHMMAP",
    }
)
"""Errors after which the same connection may go on: nothing was synced, and what was written is written again.

A failed sync is not among them: the kernel may have dropped the pages and call the next sync a success."""


DATABASE_ERRORS: Final = (sqlite3.Error, ValueError)
"""What a damaged database can raise. ValueError: a text, even that of SQLite's own message, which is no UTF-8."""

_DAMAGE: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_FORMAT", "SQLITE_SCHEMA", "SQLITE_TOOBIG")


def chain_hash(previous: bytes, columns: EventColumns) -> bytes:
    """The link of one event. Lengths are fixed or hashed too, so that no two events read the same."""
    sequence, time_s, kind, version, body = columns
    name = kind.encode()
    # Adding 0.0: SQLite does not keep the sign of a zero.
    prefix = _PREFIX.pack(sequence, time_s + 0.0, version, len(name))
    return hashlib.sha256(b"".join((previous, prefix, name, body))).digest()


def event_rows(events: Sequence[Event], sequence: int, previous: bytes) -> list[EventRow]:
    """The rows that follow the event `sequence` with chain hash `previous`."""
    rows: list[EventRow] = []
    for event in events:
        sequence += 1
        columns = (sequence, event.time_s, *encode_event(event))
        previous = chain_hash(previous, columns)
        rows.append((*columns, previous))
    return rows


def verified(rows: Iterable[EventRow], sequence: int, previous: bytes) -> Iterator[EventRow]:
    """The same rows, each checked to follow the one before. Raises JournalDamaged at the first that does not."""
    for row in rows:
        sequence += 1
        if row[0] != sequence:
            raise errors.JournalDamaged(f"event {sequence} is missing from the journal", sequence)
        if not _is_link(previous, row):
            raise errors.JournalDamaged(f"event {sequence} is not what was written (its hash does not match)", sequence)
        previous = row[5]
        yield row


def decode_row(row: EventRow) -> Event:
    """The event. Refuses, by name, what this HAL does not know."""
    sequence, _, kind, version, body, _ = row
    try:
        return decode_event(kind, version, body)
    except ValueError as error:
        raise errors.Refused(
            f"event {sequence} of the journal cannot be read: {error}; start the version of HAL that wrote it"
        ) from None


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes. It checkpoints when told to, so that a failed checkpoint is seen."""
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise errors.Unavailable(f"SQLite cannot use a write-ahead log on the file system of {path.parent}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = -16000")
    return connection


def clear_first_start(path: Path) -> None:
    """Undo what a power cut left of the very first start: a rollback journal, which no reader can clear away.

    Only for a journal that was never open, and so has no mark: later there is none but the write-ahead log.
    """
    if path.with_name(f"{path.name}-journal").exists():
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and never checkpoints."""
    location = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(location, timeout=BUSY_S, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def error_name(error: Exception) -> str:
    """`SQLITE_FULL` and the like; the module's own errors have none."""
    if isinstance(error, ValueError):
        return "SQLITE_CORRUPT"
    return getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"


def is_damage(error: Exception) -> bool:
    """Whether the error says that the file is wrong, rather than that the disk or the rights are."""
    name = error_name(error)
    return name.startswith(_DAMAGE)


def sqlite_warning(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    """For `hal doctor`: what to know about the SQLite in use, or the empty string."""
    is_fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if is_fixed or version < (3, 7):
        return ""
    return (
        f"SQLite {'.'.join(map(str, version))} has the WAL-reset bug (fixed in 3.51.3, 3.50.7 and 3.44.6). HAL is safe "
        "from it, because only one connection writes; do not open a running journal for writing with other programs"
    )


def _is_link(previous: bytes, row: EventRow) -> bool:
    _, time_s, kind, version, body, link = row
    # A flipped bit can change the type of a stored value.
    if type(body) is not bytes or type(kind) is not str or type(time_s) is not float or type(version) is not int:
        return False
    return 0 <= version < 1 << 32 and chain_hash(previous, row[:5]) == link
