"""Questions for which much of the journal must be read: each is answered by a process of its own, one at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import trio

from hal_core.errors import Unavailable
from hal_core.kernel import earliest_start, receipt_rows
from hal_core.kernel.journal import Journal
from hal_core.models.job import JobId
from hal_core.models.receipt import RightSize
from hal_core.rules.receipt_sums import Row


class JournalQuestions:
    """About the journal in that directory, as far as it is on disk. All raise Unavailable; the log says why."""

    def __init__(self, directory: Path, journal: Journal) -> None:
        self._directory = directory
        self._journal = journal
        self._turn = trio.CapacityLimiter(1)

    async def sum_receipts(self) -> list[Row]:
        """The receipts of all jobs that have ended, by user, account and day."""
        command = receipt_rows.command(self._directory, self._journal.sequence)
        return receipt_rows.decode_rows(await self._answer(command, "the receipts could not be added up"))

    async def earliest_start(self, job_id: JobId, size: RightSize) -> float | None:
        """When the job could have started with that size; None: it never started."""
        command = earliest_start.command(self._directory, self._journal.sequence, job_id, size)
        return earliest_start.decode_time(await self._answer(command, f"job {job_id} could not be followed"))

    async def _answer(self, command: Sequence[str], trouble: str) -> bytes:
        async with self._turn:
            done = await trio.run_process(command, check=False, stdin=subprocess.DEVNULL, capture_stdout=True)
        if done.returncode:
            raise Unavailable(f"{trouble}; the daemon's log says why")
        return done.stdout
