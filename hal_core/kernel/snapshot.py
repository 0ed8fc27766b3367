"""Write a snapshot of the state: `python -m hal_core.kernel.snapshot STATE_DIR`.

A process of its own, so that the daemon's loop never waits for it. It folds the events since the last snapshot that
are known to be durable, and only ever reads the journal. Started by the kernel every SNAPSHOT_EVENT_COUNT events;
harmless at any other time. Exit code 0: written, or nothing to do; 1: not possible, with the reason on stderr.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Final

from hal_core import errors
from hal_core.failpoints import reach
from hal_core.kernel.child_process import run_child
from hal_core.kernel.journal_files import Disk, FileLock, FileSystem, MarkFile
from hal_core.kernel.journal_reader import JournalReader
from hal_core.kernel.journal_recovery import Foldable, plan_recovery, rebuild
from hal_core.kernel.snapshot_files import Snapshot, write_snapshot
from hal_core.rules.state import State

_LOCK_NAME: Final = "snapshot.lock"


def make_snapshot(directory: Path, state_class: type[Foldable], file_system: FileSystem) -> int:
    """Fold the durable events into a new snapshot and return its sequence (0: the journal is empty)."""
    lock = FileLock(directory / _LOCK_NAME, "another process (pid {pid}) is writing a snapshot; wait for its end")
    reader = JournalReader(directory)
    reach("snapshot.begun")
    try:
        mark = MarkFile(directory, file_system).read()
        if mark is None:
            raise errors.NotFound(f"there is no journal with a readable mark in {directory}")
        recover = functools.partial(plan_recovery, reader, directory, file_system, mark.sequence)
        if recover(True).snapshot_sequence == mark.sequence:
            return mark.sequence
        state, _ = rebuild(recover, state_class)
        reach("snapshot.folded")
        write_snapshot(directory, file_system, Snapshot(mark.sequence, mark.hash, state.dump()))
        return mark.sequence
    finally:
        reader.close()
        lock.release()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m hal_core.kernel.snapshot STATE_DIR\n")
        return 2

    def work() -> bytes:
        make_snapshot(Path(arguments[0]), State, Disk())
        return b""

    return run_child(work, "no snapshot was written: ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
