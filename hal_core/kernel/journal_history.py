"""The history of ended jobs: three tables beside the events, written in the same transaction.

`jobs` has a row for each JobSubmitted, with the amounts of its last VariantChosen, and `placements` one for each range
of each JobPlaced; `history` has one for each JobEnded, with a copy of what it may be filtered by. The rest is joined
when somebody asks. So writing costs three inserts per job, and nothing is remembered between batches. Filters and order
come from fixed texts: nothing that a user gives is ever part of an SQL statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final

from hal_core import errors
from hal_core.models.event import Event, JobEnded, JobPlaced, JobSubmitted, VariantChosen
from hal_core.models.history import HISTORY_LIMIT_MAX, HistoryEntry, HistoryFilters, HistoryPage
from hal_core.models.job import EndKind, JobSpec, JobState
from hal_core.models.ranges import format_ranges
from hal_core.models.variant import Variant

HISTORY_SCHEMA: Final = (
    """CREATE TABLE jobs (job_id INTEGER PRIMARY KEY, user TEXT, name TEXT, partition TEXT, account TEXT,
    submit_time_s REAL, node_count INT, cpus INT, walltime_s REAL, is_array INT)""",
    """CREATE TABLE placements (job_id INT, attempt INT, start INT, stop INT, nodes TEXT,
    PRIMARY KEY (job_id, attempt, start)) WITHOUT ROWID""",
    """CREATE TABLE history (sequence INTEGER PRIMARY KEY, job_id INT, element INT, elements TEXT, attempt INT,
    state TEXT, kind TEXT, exit_code INT, signal INT, ended_by TEXT, detail TEXT, start_time_s REAL, end_time_s REAL,
    peak_memory_bytes INT, cpu_s REAL, user TEXT, name TEXT, partition TEXT)""",
    "CREATE INDEX history_by_end ON history (end_time_s)",
    "CREATE INDEX history_by_job ON history (job_id, end_time_s)",
    "CREATE INDEX history_by_user ON history (user, end_time_s)",
)

_TABLES: Final = {"jobs": "job_id", "placements": "job_id, attempt, start", "history": "sequence"}
"""With their primary keys."""

_INTEGER_MAX: Final = (1 << 63) - 1
"""Of SQLite. The models allow no single amount beyond it, but a product may be."""

# OR REPLACE: history is a copy, and must never be what stops the journal.
_INSERT_JOB: Final = "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CHANGE_JOB: Final = """
    UPDATE jobs SET node_count = ?2, cpus = ?3, walltime_s = ?4, partition = ifnull(nullif(?5, ''), partition)
    WHERE job_id = ?1"""
_INSERT_PLACEMENT: Final = "INSERT OR REPLACE INTO placements VALUES (?, ?, ?, ?, ?)"
_INSERT_END: Final = """
    INSERT OR REPLACE INTO history
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
           ifnull(jobs.user, ''), ifnull(jobs.name, ''), ifnull(jobs.partition, '')
    FROM (SELECT 1) LEFT JOIN jobs ON jobs.job_id = ?2
"""

SELECT_HISTORY: Final = """
    SELECT h.sequence, h.job_id, h.elements, h.attempt, h.user, h.name, h.partition,
           ifnull(jobs.account, '') AS account, h.state, h.kind, h.exit_code, h.signal, h.ended_by, h.detail,
           jobs.submit_time_s, h.start_time_s, h.end_time_s,
           (SELECT CASE WHEN p.stop > h.element THEN p.nodes END FROM placements AS p WHERE p.job_id = h.job_id
            AND p.attempt = h.attempt AND p.start <= h.element ORDER BY p.start DESC LIMIT 1) AS nodes,
           ifnull(jobs.node_count, 0) AS node_count, ifnull(jobs.cpus, 0) AS cpus, jobs.walltime_s,
           h.peak_memory_bytes, h.cpu_s, ifnull(jobs.is_array, 0) AS is_array
    FROM history AS h INDEXED BY {index} LEFT JOIN jobs ON jobs.job_id = h.job_id
    WHERE {conditions} ORDER BY h.end_time_s {order}, h.sequence {order} LIMIT :limit
"""
_CONDITIONS: Final = {
    "user": "h.user = :user",
    "name": "h.name = :name",
    "partition": "h.partition = :partition",
    "since_s": "h.end_time_s >= :since_s",
    "until_s": "h.end_time_s < :until_s",
    "job_id": "h.job_id = :job_id",
}


def write_history(connection: sqlite3.Connection, first_sequence: int, events: Sequence[Event]) -> None:
    """Add the rows for a batch of events, the first of which has `first_sequence`. Inside the caller's transaction."""
    jobs: list[tuple[Any, ...]] = []
    changes: list[tuple[Any, ...]] = []
    placements: list[tuple[Any, ...]] = []
    ends: list[tuple[Any, ...]] = []
    for sequence, event in enumerate(events, first_sequence):
        kind = type(event)
        if kind is JobSubmitted:
            jobs.append(_job_row(event))  # type: ignore[arg-type]
        elif kind is VariantChosen:
            changes.append((event.job_id, *_amounts(event.variant), event.variant.partition))  # type: ignore[union-attr]
        elif kind is JobPlaced:
            placements += _placement_rows(event)  # type: ignore[arg-type]
        elif kind is JobEnded:
            ends.append(_end_row(sequence, event))  # type: ignore[arg-type]
    # In this order: an end looks up its job, which may have been submitted in the same batch.
    rows_of = {_INSERT_JOB: jobs, _CHANGE_JOB: changes, _INSERT_PLACEMENT: placements, _INSERT_END: ends}
    for statement, rows in rows_of.items():
        if rows:
            connection.executemany(statement, rows)


class HistoryCopy:
    """The history as it must be: projected again from the events, in memory."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in HISTORY_SCHEMA:
            self._connection.execute(statement)

    def add(self, first_sequence: int, events: Sequence[Event]) -> None:
        write_history(self._connection, first_sequence, events)

    def differences(self, connection: sqlite3.Connection) -> Iterator[str]:
        """The first row of each table that is not as it must be."""
        for table, key in _TABLES.items():
            statement = f"SELECT * FROM {table} ORDER BY {key}"  # noqa: S608 - fixed names
            pairs = zip_longest(self._connection.execute(statement), connection.execute(statement))
            # By their texts, because a flipped bit may change the type of a value and not how it compares.
            different = next((pair for pair in pairs if repr(pair[0]) != repr(pair[1])), None)
            if different is not None:
                yield f"table {table} has {different[1]} instead of {different[0]}"


def clear_history(connection: sqlite3.Connection) -> None:
    """Empty the tables, also damaged ones. Inside the caller's transaction."""
    for table in _TABLES:
        connection.execute(f"DROP TABLE {table}")
    for statement in HISTORY_SCHEMA:
        connection.execute(statement)


def read_history(
    connection: sqlite3.Connection, filters: HistoryFilters, limit: int, cursor: int | None, last_sequence: int
) -> HistoryPage:
    """Entries up to `last_sequence`, newest end first (or oldest), after the one that `cursor` names.

    A cursor stays good: what was there when it was given is neither repeated nor left out.
    """
    if not 1 <= limit <= HISTORY_LIMIT_MAX:
        raise errors.InvalidInput([errors.Problem("limit", f"{limit} is not between 1 and {HISTORY_LIMIT_MAX}")])
    conditions = ["h.sequence <= :last_sequence"]
    values: dict[str, Any] = {"limit": limit + 1, "last_sequence": last_sequence}
    for name, condition in _CONDITIONS.items():
        value = getattr(filters, name)
        if value is not None:
            conditions.append(condition)
            values[name] = value
    if filters.states:
        names = {f"state_{number}": state.value for number, state in enumerate(filters.states)}
        conditions.append(f"h.state IN ({', '.join(f':{name}' for name in names)})")
        values |= names
    if cursor is not None:
        after = ">" if filters.is_oldest_first else "<"
        conditions.append(f"(h.end_time_s, h.sequence) {after} (:cursor_time_s, :cursor)")
        values |= {"cursor": cursor, "cursor_time_s": _cursor_time_s(connection, cursor)}
    statement = SELECT_HISTORY.format(
        index=_index(filters),
        conditions=" AND ".join(conditions),
        order="ASC" if filters.is_oldest_first else "DESC",
    )
    rows = connection.execute(statement, values)
    names_of_columns = [column[0] for column in rows.description]
    entries = tuple(_entry(dict(zip(names_of_columns, row, strict=True))) for row in rows)
    if len(entries) <= limit:
        return HistoryPage(entries, None)
    return HistoryPage(entries[:limit], entries[limit - 1].sequence)


def _job_row(event: JobSubmitted) -> tuple[Any, ...]:
    spec = event.spec
    return (
        *(event.job_id, event.owner.user, spec.name, spec.partition, spec.account),
        *(event.time_s, *_amounts(spec), spec.array is not None),
    )


def _amounts(of: JobSpec | Variant) -> tuple[int, int, float | None]:
    """Nodes, CPUs and the time limit."""
    parts = of.parts if isinstance(of, JobSpec) else (of,)
    cpus = sum(part.task_count * part.cpus_per_task for part in parts)
    return sum(part.node_count for part in parts), min(cpus, _INTEGER_MAX), of.walltime_s


def _placement_rows(event: JobPlaced) -> list[tuple[Any, ...]]:
    nodes = ",".join([share.node for share in event.shares])
    return [(event.job_id, event.attempt, start, stop, nodes) for start, stop in event.elements]


def _end_row(sequence: int, event: JobEnded) -> tuple[Any, ...]:
    end = event.end
    element = event.elements[0][0] if event.elements else 0
    return (
        *(sequence, event.job_id, element, format_ranges(event.elements), event.attempt),
        *(end.state.value, end.kind.value, end.exit_code, end.signal, end.by, end.detail),
        *(event.start_time_s, event.end_time_s, end.peak_memory_bytes, end.cpu_s),
    )


def _index(filters: HistoryFilters) -> str:
    """Every index ends with the time of the end, so that no choice needs a sort."""
    if filters.job_id is not None:
        return "history_by_job"
    return "history_by_end" if filters.user is None else "history_by_user"


def _cursor_time_s(connection: sqlite3.Connection, cursor: int) -> float:
    row = None
    if 0 <= cursor < 1 << 63:
        row = connection.execute("SELECT end_time_s FROM history WHERE sequence = ?", (cursor,)).fetchone()
    if row is None:
        raise errors.InvalidInput([errors.Problem("cursor", f"{cursor} was never given out; start without a cursor")])
    return float(row[0])


def _entry(row: dict[str, Any]) -> HistoryEntry:
    row["state"], row["kind"] = JobState(row["state"]), EndKind(row["kind"])
    row["is_array"] = bool(row["is_array"])
    row["nodes"] = tuple(row["nodes"].split(",")) if row["nodes"] else ()
    return HistoryEntry(**row)
