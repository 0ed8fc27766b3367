"""The events about one job, found in the journal without an index: SQLite looks for the job's number in their bodies.

A body is MessagePack, in which a number has one spelling, so an event about the job has one of two byte strings in it.
What matches by accident is dropped once it is decoded. Nothing is read before the job's submission, which its time
finds, or after the end of a job that has ended. Measured: about a second of CPU for each million events in between, in
which other threads go on.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import attrs
import msgspec

from hal_core.kernel.journal_files import GENESIS_HASH
from hal_core.kernel.journal_format import EventRow, decode_row, verified
from hal_core.models.event import ClusterDefined, Event, JobEnded, JobSubmitted, Planned, RunTimesPredicted
from hal_core.models.history import HistoryEntry, HistoryPage
from hal_core.models.job import JobId
from hal_core.models.prediction import Prediction

_SELECT: Final = """
    SELECT (SELECT p.hash FROM events AS p WHERE p.sequence = e.sequence - 1), e.sequence,
           e.time_s, e.kind, e.version, e.body, e.hash
    FROM events AS e WHERE e.sequence > :after AND e.sequence <= :last AND CASE e.kind
        WHEN 'ClusterDefined' THEN 1
        WHEN 'Planned' THEN instr(e.body, :reserve)
        WHEN 'RunTimesPredicted' THEN 0
        ELSE instr(e.body, :job_id) OR instr(e.body, :key)
    END ORDER BY e.sequence
"""
_CLUSTER: Final = """
    SELECT (SELECT p.hash FROM events AS p WHERE p.sequence = e.sequence - 1), e.sequence,
           e.time_s, e.kind, e.version, e.body, e.hash
    FROM events AS e WHERE e.sequence <= :after AND e.kind = 'ClusterDefined' ORDER BY e.sequence DESC LIMIT 1
"""
_PREDICTIONS: Final = """
    SELECT (SELECT p.hash FROM events AS p WHERE p.sequence = e.sequence - 1), e.sequence,
           e.time_s, e.kind, e.version, e.body, e.hash
    FROM events AS e WHERE e.sequence > :after AND e.sequence <= :last AND e.kind = 'RunTimesPredicted'
    ORDER BY e.sequence
"""
_ENDS: Final = """
    SELECT (SELECT p.hash FROM events AS p WHERE p.sequence = e.sequence - 1), e.sequence,
           e.time_s, e.kind, e.version, e.body, e.hash
    FROM events AS e WHERE e.sequence IN (SELECT value FROM json_each(:sequences)) AND e.kind = 'JobEnded'
"""
SLACK_S: Final = 1.0
"""A clock that is corrected by less than this costs nothing."""


def events_of(connection: sqlite3.Connection, job_id: JobId, last: int, is_over: bool) -> list[Event]:
    """In order: the cluster as it was when the job came, all about the job, and each later ClusterDefined.

    `is_over`: it has ended and will not be queued again. Empty if there is no such job. Each event was checked against
    its neighbour in the hash chain.
    """
    statement = """SELECT submit_time_s, (SELECT max(sequence) FROM history WHERE job_id = :job_id)
                   FROM jobs WHERE job_id = :job_id"""
    row = connection.execute(statement, {"job_id": job_id}).fetchone()
    if row is None:
        return []
    submit_time_s, end = row
    last = min(end, last) if is_over and end is not None else last
    found: list[Event] = []
    for after in (_before(connection, submit_time_s - SLACK_S, last), 0):  # 0: a clock was set back by more
        found = [event for event in _rows(connection, _SELECT, job_id, after, last) if is_about(event, job_id)]
        start = next((at for at, event in enumerate(found) if isinstance(event, JobSubmitted)), None)
        if start is not None:
            clusters: list[Event] = [event for event in found[:start] if isinstance(event, ClusterDefined)]
            clusters = clusters or list(_rows(connection, _CLUSTER, job_id, after, last))
            return clusters[-1:] + found[start:]
    return []


def is_about(event: Event, job_id: JobId) -> bool:
    """Whether it is wanted: it says something of the job, or of the cluster in which it runs."""
    if isinstance(event, ClusterDefined):
        return True
    if isinstance(event, Planned):
        return any(promised == job_id for promised, _ in event.reserves)
    key = getattr(event, "key", None)
    return job_id == (key.job_id if key is not None else getattr(event, "job_id", None))


def predictions_of(connection: sqlite3.Connection, ends: Sequence[HistoryEntry]) -> dict[int, Prediction]:
    """What was said of the run time of each, by the sequence number of the end: the last that was said by its start, or
    the first after it. Those are left out of which nothing was said.

    One look at all that was predicted from the first of these submissions to the last of these ends.
    """
    came_s = [end.submit_time_s for end in ends if end.submit_time_s is not None]
    if not came_s:
        return {}
    last = max(end.sequence for end in ends)
    after = _before(connection, min(came_s) - SLACK_S, last)
    wanted = {end.job_id for end in ends}
    said: dict[JobId, list[tuple[float, Prediction]]] = defaultdict(list)
    for event in _checked(connection.execute(_PREDICTIONS, {"after": after, "last": last})):
        assert isinstance(event, RunTimesPredicted)
        for job_id, prediction in event.predictions:
            if job_id in wanted:
                said[job_id].append((event.time_s, prediction))
    return {end.sequence: _by_start(said[end.job_id], end) for end in ends if end.job_id in said}


def with_run_times(connection: sqlite3.Connection, page: HistoryPage) -> HistoryPage:
    """The same, with how long each ran: the history has no column for it, and the events tell."""
    sequences = json.dumps([entry.sequence for entry in page.entries])
    ran_s: dict[int, float | None] = {}
    for row in _checked_rows(connection.execute(_ENDS, {"sequences": sequences})):
        event = decode_row(row)
        assert isinstance(event, JobEnded)
        ran_s[row[0]] = event.ran_s
    entries = tuple(attrs.evolve(entry, ran_s=ran_s.get(entry.sequence)) for entry in page.entries)
    return attrs.evolve(page, entries=entries)


def _by_start(said: list[tuple[float, Prediction]], end: HistoryEntry) -> Prediction:
    start_s = end.end_time_s if end.start_time_s is None else end.start_time_s
    _, first = said[0]
    return next((prediction for time_s, prediction in reversed(said) if time_s <= start_s), first)


def _before(connection: sqlite3.Connection, time_s: float, last: int) -> int:
    """A sequence number after which the event of that time comes, if times only rise: a search by halves."""
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        row = connection.execute("SELECT time_s FROM events WHERE sequence = ?", (middle,)).fetchone()
        if row is not None and row[0] < time_s:
            low = middle
        else:
            high = middle - 1
    return low


def _rows(connection: sqlite3.Connection, statement: str, job_id: JobId, after: int, last: int) -> Iterator[Event]:
    number = msgspec.msgpack.encode(job_id)
    values = {
        "after": after,
        "last": last,
        "job_id": b"\xa6job_id" + number,
        "key": b"\xa3key\x93" + number,
        "reserve": b"\x92" + number + b"\xcb",  # a pair of the number and a float
    }
    return _checked(connection.execute(statement, values))


def _checked(rows: sqlite3.Cursor) -> Iterator[Event]:
    return map(decode_row, _checked_rows(rows))


def _checked_rows(rows: sqlite3.Cursor) -> Iterator[EventRow]:
    """Each row has the hash of the one before it first."""
    for previous, *rest in rows:
        row: EventRow = tuple(rest)
        yield from verified([row], row[0] - 1, GENESIS_HASH if previous is None else previous)
