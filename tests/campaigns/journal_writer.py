"""The program whose power is cut: appends events to a journal and says on standard output what was acknowledged.

`python -m tests.campaigns.journal_writer DIRECTORY SEED APPENDS [VARIANT]`. `epoch N` and `sequence N` are lines of
its own, written when HAL would answer. VARIANT is `never_reopened`, or breaks a promise on purpose, so that a test
can show that it would see.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_files import Disk, FileSystem
from hal_core.kernel.journal_format import connect_writer
from hal_core.kernel.snapshot import make_snapshot
from tests.support.journal_events import Digest, events_between

CHECKPOINT_COMMITS = 25
"""Far more often than the journal does it, to see what it does in a short time."""
VARIANTS = ("as_it_is", "commits_not_synced", "nothing_synced", "answered_early", "never_reopened")


class OftenCheckpointed(sqlite3.Connection):
    """The journal's own checkpoint, at its own place before a transaction."""

    commits = 0

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        if statement == "BEGIN IMMEDIATE":
            self.commits += 1
            if self.commits % CHECKPOINT_COMMITS == 0:
                super().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return super().execute(statement, *arguments)


class LazyDisk(Disk):
    """Overwrites without a sync."""

    def write_at(self, path: Path, offset: int, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, content, offset)
        finally:
            os.close(descriptor)


def connect(synchronous: str) -> Callable[[Path], sqlite3.Connection]:
    """The journal's writer with its settings, but for one."""

    def connect_one(path: Path) -> sqlite3.Connection:
        with_settings = connect_writer(path)
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=OftenCheckpointed, cached_statements=64
        )
        for name in ("cache_size", "wal_autocheckpoint"):
            (value,) = with_settings.execute(f"PRAGMA {name}").fetchone()
            connection.execute(f"PRAGMA {name} = {value}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        with_settings.close()
        return connection

    return connect_one


def write(directory: Path, dice: random.Random, append_count: int, variant: str) -> None:
    file_system: FileSystem = LazyDisk() if variant == "nothing_synced" else Disk()
    connecting = connect("NORMAL" if variant in ("commits_not_synced", "nothing_synced") else "FULL")
    left = append_count
    while left > 0:
        journal = Journal.open(directory, file_system, connecting)
        say(f"epoch {journal.epoch}")
        for _ in range(left if variant == "never_reopened" else dice.randint(1, left)):
            left -= 1
            first = journal.sequence + 1
            events = events_between(first, first + dice.choice((1, 1, 2, 5, 40)) - 1)
            if variant == "answered_early":
                say(f"sequence {first + len(events) - 1}")
            journal.append(events)
            say(f"sequence {journal.sequence}")
            if dice.random() < 0.03:
                make_snapshot(directory, Digest, file_system)
        journal.close()


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    folder, seed, appends, *rest = sys.argv[1:]
    write(Path(folder), random.Random(seed), int(appends), rest[0] if rest else VARIANTS[0])
