"""Questions about the journal: who waits for whom, and for how long."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from hal_core.errors import Unavailable
from hal_core.kernel.journal_questions import FOLLOWED_S_MAX, JournalQuestions
from hal_core.models.job import JobId
from hal_core.models.receipt import RightSize
from tests.support.journal_events import opened

SIZE = RightSize(cpu_count=1, memory_bytes_per_node=None, walltime_s=40.0, core_s=0.0, money=0.0)


class SlowJobs:
    """Processes that follow a job for so long each, but sums at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = 0
        self.cancelled = 0

    async def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        if "hal_core.kernel.earliest_start" not in command:
            return subprocess.CompletedProcess(command, 0, b"[]")
        self.begun += 1
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return subprocess.CompletedProcess(command, 0, b"17.5")


async def test_one_that_takes_too_long_is_ended_and_says_what_there_is(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    slow = SlowJobs(FOLLOWED_S_MAX + 1)
    with (
        opened(tmp_path / "state") as journal,
        pytest.raises(Unavailable, match=r"job 3 .* too much happened since it came; the receipt without") as caught,
    ):
        await JournalQuestions(tmp_path, journal, slow.run).earliest_start(JobId(3), SIZE)
    assert (slow.begun, slow.cancelled) == (1, 1)
    assert caught.value.retry_after_s == FOLLOWED_S_MAX


async def test_sums_do_not_wait_for_it_and_the_next_has_all_its_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    slow = SlowJobs(FOLLOWED_S_MAX - 1)
    found: list[float | None] = []
    refused: list[str] = []

    async def ask(job_id: int) -> None:
        try:
            found.append(await questions.earliest_start(JobId(job_id), SIZE))
        except Unavailable as error:
            refused.append(str(error))

    with opened(tmp_path / "state") as journal:
        questions = JournalQuestions(tmp_path, journal, slow.run)
        async with trio.open_nursery() as nursery:
            for job_id in (1, 2, 3):
                nursery.start_soon(ask, job_id)
            await trio.testing.wait_all_tasks_blocked()
            assert await questions.sum_receipts() == []
            assert not found
    assert found == [17.5, 17.5]
    assert len(refused) == 1
    assert "others are asked about" in refused[0]
    assert slow.begun == 2
