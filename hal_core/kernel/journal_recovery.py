"""Recovery: what must hold before a journal is written to again, and the way from its files back to the state.

The mark outside the database says what was acknowledged. A journal that ends before the mark, or disagrees with it, is
refused: SQLite itself would take a damaged log for a shorter one. Rows after the mark were written but never
acknowledged; they are adopted. Events are verified from the snapshot on; journal_check verifies all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, Self, TypeVar

import attrs

from hal_core import errors
from hal_core.kernel.collector import without_collector
from hal_core.kernel.journal_files import GENESIS_HASH, FileSystem, Mark, MarkFile
from hal_core.kernel.journal_format import DATABASE_ERRORS, FORMAT_VERSION, SCHEMA, decode_row
from hal_core.kernel.journal_reader import JournalReader, missing
from hal_core.kernel.snapshot_files import Snapshot, read_snapshots
from hal_core.models.event import Event


@attrs.frozen
class Recovery:
    """The way back to the state: load `snapshot` (None: begin with nothing), then apply `events`, each once."""

    snapshot: bytes | None
    snapshot_sequence: int
    last_sequence: int
    events: Iterator[Event]
    warnings: tuple[str, ...] = ()


class Foldable(Protocol):
    """What events are folded into: State, as far as recovery needs to know it."""

    def apply(self, event: Event) -> None:
        """Change the state by one event."""
        ...

    def dump(self) -> bytes:
        """Everything, for a snapshot."""
        ...

    @classmethod
    def load(cls, content: bytes) -> Self:
        """The inverse. Raises ValueError for the dump of another version."""
        ...


F = TypeVar("F", bound=Foldable)


def rebuild(recover: Callable[[bool], Recovery], state_class: type[F]) -> tuple[F, tuple[str, ...]]:
    """The state after the last event, and what was odd on the way. `recover` is Journal.recover or its like.

    A snapshot that this version cannot load costs only time: the whole journal is folded instead. Everything that is
    made here stays, so the garbage collector, which would look at it again and again, is kept out.
    """
    with without_collector():
        recovery = recover(True)
        warnings = recovery.warnings
        state = state_class()
        if recovery.snapshot is not None:
            try:
                state = state_class.load(recovery.snapshot)
            except ValueError as error:
                name = f"snapshot-{recovery.snapshot_sequence}.hal"
                warnings += (f"{name} cannot be loaded ({error}), so all events were read",)
                recovery = recover(False)
        for event in recovery.events:
            state.apply(event)
        return state, warnings


def find_position(reader: JournalReader, mark_file: MarkFile) -> Mark | None:
    """Where the journal ends, if that is not before its mark. None: there is no journal yet.

    `epoch` in the answer is the highest that was ever written.
    """
    mark = mark_file.read()
    if mark is not None and mark.format_version != FORMAT_VERSION:
        raise _other_format(reader, mark.format_version)
    if not reader.path.exists() or not _has_tables(reader, mark):
        if mark is not None and mark.sequence > 0:
            raise missing(1, mark.sequence)
        if mark is None and mark_file.exists():
            raise _bad_mark(reader, mark_file, 1)
        return None
    sequence, chain_hash = reader.last()
    if mark is None:
        if sequence == 0 and not mark_file.exists():
            return Mark(_epoch(reader), 0, GENESIS_HASH, FORMAT_VERSION)
        raise _bad_mark(reader, mark_file, sequence + 1)
    if mark.sequence > sequence:
        raise missing(sequence + 1, mark.sequence)
    if reader.hash_at(mark.sequence) != mark.hash:
        damaged = min(reader.first_damaged(), mark.sequence)
        raise errors.JournalDamaged(
            f"event {damaged} of {reader.path} is not what was acknowledged; restore the state directory from a backup",
            damaged,
        )
    return Mark(max(mark.epoch, _epoch(reader)), sequence, chain_hash, FORMAT_VERSION)


def plan_recovery(
    reader: JournalReader, directory: Path, file_system: FileSystem, last_sequence: int, uses_snapshots: bool
) -> Recovery:
    """From the newest snapshot that belongs to this journal, up to `last_sequence`."""
    warnings: list[str] = []
    start = Snapshot(0, GENESIS_HASH, b"")
    for found in read_snapshots(directory, file_system) if uses_snapshots else ():
        if isinstance(found, str):
            warnings.append(found)
        elif found.sequence > last_sequence or reader.hash_at(found.sequence) != found.hash:
            warnings.append(f"snapshot-{found.sequence}.hal does not belong to this journal, so it was passed over")
        else:
            start = found
            break
    return Recovery(
        snapshot=start.content if start.sequence else None,
        snapshot_sequence=start.sequence,
        last_sequence=last_sequence,
        events=_events(reader, start, last_sequence),
        warnings=tuple(warnings),
    )


def _events(reader: JournalReader, start: Snapshot, last_sequence: int) -> Iterator[Event]:
    for row in reader.all_rows(start.sequence, start.hash, last_sequence):
        yield decode_row(row)


def _has_tables(reader: JournalReader, mark: Mark | None) -> bool:
    """False for a database without any table. Refuses one whose tables are not the ones that HAL creates."""
    try:
        with reader.connection() as connection:
            statements = {row[0] for row in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
            if not statements:
                return False
            row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    except DATABASE_ERRORS as error:
        raise reader.translated(error, None) from error
    version = row[0] if row is not None else None
    if version != FORMAT_VERSION and mark is None:
        raise _other_format(reader, version)
    if version != FORMAT_VERSION or statements != set(SCHEMA):
        raise errors.JournalDamaged(
            f"the tables of {reader.path} are not as HAL made them, so no event from 1 on is safe", 1
        )
    return True


def _epoch(reader: JournalReader) -> int:
    try:
        with reader.connection() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    except DATABASE_ERRORS as error:
        raise reader.translated(error, None) from error
    # A damaged row only loses to the mark, which is written first and has a checksum.
    return row[0] if row is not None and type(row[0]) is int else 0


def _bad_mark(reader: JournalReader, mark_file: MarkFile, sequence: int) -> errors.JournalDamaged:
    return errors.JournalDamaged(
        f"the mark beside {reader.path} is {'damaged' if mark_file.exists() else 'missing'}, so nobody can tell "
        f"whether event {sequence} was lost; restore the state directory from a backup",
        sequence,
    )


def _other_format(reader: JournalReader, version: object) -> errors.Refused:
    return errors.Refused(
        f"the journal {reader.path} has format {version}, and this HAL reads and writes only format {FORMAT_VERSION}; "
        "start the version of HAL that wrote it, or give this one an empty state directory"
    )
