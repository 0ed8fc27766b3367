"""`hal doctor --journal DIR`: a journal checked whole, with or without a daemon; its history rebuilt on request.

A composition root of its own, so that the command line need not know the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hal_core.errors import HalError
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from hal_core.models.plural import plural


def examine_journal(directory: str, does_rebuild: bool) -> Iterator[tuple[bool, str]]:
    """(is well, sentence) for everything that was found. `does_rebuild` needs a daemon that is stopped."""
    try:
        if does_rebuild:
            journal = Journal.open(Path(directory))
            try:
                journal.rebuild_history()
            finally:
                journal.close()
            yield True, "the history was rebuilt from the events"
        report = check_journal(Path(directory), Disk())
    except (HalError, OSError) as error:
        yield False, str(error)
        return
    for problem in report.problems:
        yield False, problem
    if not report.problems:
        counts = f"{plural(report.event_count, 'event')} and {plural(report.snapshot_count, 'snapshot')}"
        yield True, f"{counts}: all as they were written"
