"""Questions for which much of the journal must be read: each by a process of its own, one of a kind at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from hal_core.errors import Unavailable
from hal_core.kernel import earliest_start, receipt_rows
from hal_core.kernel.journal import Journal
from hal_core.models.job import JobId
from hal_core.models.receipt import RightSize
from hal_core.rules.receipt_sums import Row

FOLLOWED_S_MAX: Final = 240.0
"""One job is followed no longer, and nobody waits longer for his turn: both together are less than `hal` waits."""

Run = Callable[[Sequence[str]], Awaitable[subprocess.CompletedProcess[bytes]]]


async def run_process(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Ended if it is cancelled."""
    return await trio.run_process(command, check=False, stdin=subprocess.DEVNULL, capture_stdout=True)


class JournalQuestions:
    """About the journal in that directory, as far as it is on disk. All raise Unavailable; if one failed, the log says
    why. Those about one job, which anybody may ask, do not hold up the sums of all.
    """

    def __init__(self, directory: Path, journal: Journal, run: Run = run_process) -> None:
        self._directory = directory
        self._journal = journal
        self._run = run
        self._sums_turn, self._job_turn = trio.CapacityLimiter(1), trio.CapacityLimiter(1)

    async def sum_receipts(self) -> list[Row]:
        """The receipts of all jobs that have ended, by user, account and day."""
        command = receipt_rows.command(self._directory, self._journal.sequence)
        async with self._sums_turn:
            return receipt_rows.decode_rows(await self._answer(command, "the receipts could not be added up"))

    async def earliest_start(self, job_id: JobId, size: RightSize) -> float | None:
        """When the job could have started with that size; None: it never started."""
        command = earliest_start.command(self._directory, self._journal.sequence, job_id, size)
        trouble = f"job {job_id} could not be followed"
        is_my_turn = False
        with trio.move_on_after(FOLLOWED_S_MAX) as scope:
            async with self._job_turn:
                is_my_turn, scope.deadline = True, trio.current_time() + FOLLOWED_S_MAX
                return earliest_start.decode_time(await self._answer(command, trouble))
        why = "too much happened since it came" if is_my_turn else "others are asked about"
        text = f"{trouble} within {FOLLOWED_S_MAX:.0f} s: {why}; the receipt without the start is there at once"
        raise Unavailable(text, FOLLOWED_S_MAX)

    async def _answer(self, command: Sequence[str], trouble: str) -> bytes:
        done = await self._run(command)
        if done.returncode:
            raise Unavailable(f"{trouble}; the daemon's log says why")
        return done.stdout
