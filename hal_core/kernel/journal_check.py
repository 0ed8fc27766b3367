"""Check a whole journal: every link of the chain, the mark, the snapshots, the history. Changes nothing.

For `hal doctor` and `hal journal check`. Works beside a running daemon. Recovery only verifies what came after the
newest snapshot, so an old event may be damaged for long before anybody needs it: run this from time to time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from hal_core import errors
from hal_core.kernel.journal_files import GENESIS_HASH, FileSystem, MarkFile
from hal_core.kernel.journal_format import DATABASE_ERRORS, EventRow, decode_row
from hal_core.kernel.journal_history import HistoryCopy
from hal_core.kernel.journal_reader import PAGE_EVENT_COUNT, JournalReader
from hal_core.kernel.journal_recovery import find_position
from hal_core.kernel.snapshot_files import Snapshot, read_snapshots

_STRUCTURE_PROBLEM_COUNT_MAX: Final = 5


@attrs.frozen
class CheckReport:
    """What was found. No problem: everything that was acknowledged is there as it was written."""

    event_count: int
    snapshot_count: int
    problems: tuple[str, ...]
    damaged_sequence: int | None = None
    """The first event that cannot be trusted, if any."""


def check_journal(directory: Path, file_system: FileSystem) -> CheckReport:
    """Read everything and compare. Takes some seconds per million events."""
    reader = JournalReader(directory)
    event_count = 0
    try:
        position = find_position(reader, MarkFile(directory, file_system))
        if position is None:
            raise errors.NotFound(f"there is no journal in {directory}")
        history = HistoryCopy()
        for page in _pages(reader.all_rows(0, GENESIS_HASH, position.sequence)):
            events = []
            for row in page:
                events.append(decode_row(row))
                event_count += 1
            history.add(page[0][0], events)
        snapshots = [_snapshot_problem(reader, found) for found in read_snapshots(directory, file_system)]
        problems = [problem for problem in snapshots if problem]
        problems += _structure_problems(reader)
        problems += _history_problems(reader, history)
        return CheckReport(event_count, len(snapshots), tuple(problems))
    except errors.JournalDamaged as error:
        return CheckReport(event_count, 0, (str(error),), error.sequence)
    except errors.Refused as error:
        return CheckReport(event_count, 0, (str(error),), event_count + 1)
    finally:
        reader.close()


def _snapshot_problem(reader: JournalReader, found: Snapshot | str) -> str:
    if isinstance(found, str):
        return found
    if reader.hash_at(found.sequence) == found.hash:
        return ""
    return f"snapshot-{found.sequence}.hal does not belong to this journal"


def _structure_problems(reader: JournalReader) -> Iterator[str]:
    """Damage to SQLite's own structure, such as indexes, which the chain does not cover."""
    with reader.connection() as connection:
        try:
            for (text,) in connection.execute(f"PRAGMA integrity_check({_STRUCTURE_PROBLEM_COUNT_MAX})"):
                if text != "ok":
                    yield f"SQLite: {text}"
        except DATABASE_ERRORS as error:
            yield f"SQLite: {error}"


def _history_problems(reader: JournalReader, history: HistoryCopy) -> Iterator[str]:
    with reader.connection() as connection:
        try:
            for difference in history.differences(connection):
                yield f"{difference}: the history must be rebuilt from the events"
        except DATABASE_ERRORS as error:
            yield f"the history cannot be read ({error}): it must be rebuilt from the events"


def _pages(rows: Iterator[EventRow]) -> Iterable[list[EventRow]]:
    return iter(lambda: list(islice(rows, PAGE_EVENT_COUNT)), [])
