"""When a job could have started: `python -m hal_core.kernel.earliest_start DIR LAST_SEQUENCE JOB SIZE`.

A process of its own, because it folds the journal, from the newest snapshot before the job's submission (or from the
beginning) to its start. SIZE is a RightSize as JSON. On stdout comes the time as JSON, `null` for a job that never had
room (rules/earliest_start.py). Exit code 1: not possible, with the reason on stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from hal_core import errors
from hal_core.kernel.child_process import run_child
from hal_core.kernel.journal_files import GENESIS_HASH, Disk
from hal_core.kernel.journal_format import decode_row
from hal_core.kernel.journal_reader import JournalReader
from hal_core.kernel.snapshot_files import Snapshot, read_snapshots
from hal_core.models.event import JobSubmitted
from hal_core.models.job import JobId
from hal_core.models.receipt import RightSize
from hal_core.rules.earliest_start import EarliestStart
from hal_core.rules.state import State


def earliest_start(directory: Path, last_sequence: int, job_id: JobId, size: RightSize) -> float | None:
    """Raises NotFound for a job that is not in the journal."""
    reader = JournalReader(directory)
    try:
        submitted = next(
            (event for event in reader.events_of(job_id, last_sequence, False) if isinstance(event, JobSubmitted)), None
        )
        if submitted is None:
            raise errors.NotFound(f"there is no job {job_id}")
        begin, state = _before(reader, directory, submitted, last_sequence)
        fold = EarliestStart(job_id, size)
        for row in reader.all_rows(begin.sequence, begin.hash, last_sequence):
            event = decode_row(row)
            fold.before(event, state)
            if fold.is_over:
                break
            state.apply(event)
        return fold.time_s
    finally:
        reader.close()


def _before(
    reader: JournalReader, directory: Path, submitted: JobSubmitted, last_sequence: int
) -> tuple[Snapshot, State]:
    """The newest snapshot of this journal in which the job is not yet, with its state; else the beginning."""
    for found in read_snapshots(directory, Disk()):
        if isinstance(found, str) or found.sequence >= last_sequence or reader.hash_at(found.sequence) != found.hash:
            continue
        try:
            state = State.load(found.content)
        except ValueError:  # of another version
            continue
        if submitted.job_id >= state.next_job_id:  # Times would not tell: somebody may have set the clock.
            return found, state
    return Snapshot(0, GENESIS_HASH, b""), State()


def command(directory: Path, last_sequence: int, job_id: JobId, size: RightSize) -> list[str]:
    """What starts this module as a process."""
    words = [str(directory), str(last_sequence), str(job_id), msgspec.json.encode(size).decode()]
    return [sys.executable, "-m", "hal_core.kernel.earliest_start", *words]


def decode_time(out: bytes) -> float | None:
    """What that process printed."""
    return msgspec.json.decode(out, type=float | None)


def main(arguments: list[str]) -> int:
    if len(arguments) != 4 or not (arguments[1].isdecimal() and arguments[2].isdecimal()):
        sys.stderr.write("usage: python -m hal_core.kernel.earliest_start STATE_DIR LAST_SEQUENCE JOB SIZE\n")
        return 2
    directory, last, job_id, asked = arguments

    def work() -> bytes:
        size = msgspec.json.decode(asked, type=RightSize)
        return msgspec.json.encode(earliest_start(Path(directory), int(last), JobId(int(job_id)), size))

    return run_child(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
