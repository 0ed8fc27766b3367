"""Add up the receipts of a whole journal: `python -m hal_core.kernel.receipt_rows STATE_DIR LAST_SEQUENCE`.

A process of its own, so that the daemon's loop never waits for it: it reads some hundred thousand events a second. On
stdout come the rows of `rules/receipt_sums.py` as JSON. Exit code 1: not possible, with the reason on stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec

from hal_core.kernel.child_process import run_child
from hal_core.kernel.journal_files import GENESIS_HASH
from hal_core.kernel.journal_format import decode_row
from hal_core.kernel.journal_reader import JournalReader
from hal_core.models.event import JobRequeued, decode_event
from hal_core.models.job import JobId
from hal_core.rules.receipt_sums import ReceiptSums, Row

_UNCOUNTED: Final = frozenset({"Planned", "RunTimesPredicted", "NodeJoined", "NodeSuspected", "NodeWentDown"})


def read_rows(directory: Path, last_sequence: int) -> list[Row]:
    """The rows of all jobs that had ended at that event."""
    reader = JournalReader(directory)
    try:
        sums = ReceiptSums(_requeued(reader, last_sequence))
        for row in reader.all_rows(0, GENESIS_HASH, last_sequence):
            if row[2] not in _UNCOUNTED:
                sums.apply(decode_row(row))
        return sums.rows()
    finally:
        reader.close()


def _requeued(reader: JournalReader, last_sequence: int) -> set[JobId]:
    """Jobs of which an element was ever queued again."""
    statement = "SELECT body FROM events WHERE kind = 'JobRequeued' AND sequence <= ?"
    with reader.connection() as connection:
        bodies = [body for (body,) in connection.execute(statement, (last_sequence,))]
    events = (decode_event("JobRequeued", 1, body) for body in bodies)
    return {event.key.job_id for event in events if isinstance(event, JobRequeued)}


def command(directory: Path, last_sequence: int) -> list[str]:
    """What starts this module as a process."""
    return [sys.executable, "-m", "hal_core.kernel.receipt_rows", str(directory), str(last_sequence)]


def decode_rows(out: bytes) -> list[Row]:
    """What that process printed."""
    return msgspec.json.decode(out, type=list[Row])


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not arguments[1].isdecimal():
        sys.stderr.write("usage: python -m hal_core.kernel.receipt_rows STATE_DIR LAST_SEQUENCE\n")
        return 2
    directory, last = arguments
    return run_child(lambda: msgspec.json.encode(read_rows(Path(directory), int(last))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
