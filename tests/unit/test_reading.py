"""Observers that read the log: they keep their place on disk, and the wall around them holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from hal_core.errors import HalError
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.reading import JournalLog, read_walled
from hal_core.models.event import Event, JobHeld, JobSubmitted
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import Message, ObserverFailed
from hal_core.models.node import PartitionName
from hal_core.planes import EventLog
from hal_core.testing import FakeEventLog

SPEC = JobSpec("job", PartitionName("all"), command=("true",))
OWNER = Owner("ada", 1000, 1000)


def held(number: int) -> Event:
    return JobHeld(float(number), JobId(1), "ada")


class FakeKernel:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._moved = trio.Event()

    @property
    def durable_sequence(self) -> int:
        return self._journal.sequence

    def append(self, events: Sequence[Event]) -> None:
        self._journal.append(events)
        self._moved.set()
        self._moved = trio.Event()

    async def wait_beyond(self, sequence: int) -> None:
        while self.durable_sequence <= sequence:
            await self._moved.wait()


def log_of(directory: Path, journal: Journal, kernel: FakeKernel) -> JournalLog:
    return JournalLog(directory / "readers", Disk(), (journal, kernel), lambda _: None)


async def test_a_reader_goes_on_where_it_was_and_a_new_one_begins_with_what_comes(tmp_path: Path) -> None:
    with closing(Journal.open(tmp_path / "journal")) as journal:
        kernel = FakeKernel(journal)
        kernel.append([JobSubmitted(0.0, JobId(1), "", OWNER, SPEC), held(2), held(3)])
        log = log_of(tmp_path, journal, kernel)
        assert await log.place("mail") == 3
        kernel.append([held(4), held(5), held(6)])
        assert [sequence for sequence, _ in await log.read(3, 2)] == [4, 5]
        await log.keep("mail", 4)
        again = log_of(tmp_path, journal, kernel)
        assert (await again.place("mail"), await again.place("other")) == (4, 6)
        arrival = await again.arrival(JobId(1))
        assert arrival is not None
        assert (arrival.owner, arrival.spec) == (OWNER, SPEC)
        assert await again.arrival(JobId(2)) is None
        seen: list[tuple[int, Event]] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                seen.extend(await again.read(6, 10))

            await trio.testing.wait_all_tasks_blocked()
            assert seen == []
            kernel.append([held(7)])
        assert seen == [(7, held(7))]


@pytest.mark.parametrize("content", [b"9\n", b"", b"-1", b"x"])
async def test_a_place_that_cannot_be_is_told_and_not_guessed(tmp_path: Path, content: bytes) -> None:
    with closing(Journal.open(tmp_path / "journal")) as journal:
        (tmp_path / "readers").mkdir()
        (tmp_path / "readers" / "mail").write_bytes(content)
        with pytest.raises(HalError, match=r"readers/mail says .*Remove it"):
            await log_of(tmp_path, journal, FakeKernel(journal)).place("mail")


class Raising:
    async def read_log(self, log: EventLog) -> None:
        await log.place("raising")
        raise RuntimeError("no such relay")


class Leaving:
    async def read_log(self, log: EventLog) -> None:
        await log.place("leaving")


@pytest.mark.parametrize(("observer", "detail"), [(Raising(), "no such relay"), (Leaving(), "reads no more")])
async def test_one_that_raises_or_leaves_is_off_and_that_is_told(observer: Raising | Leaving, detail: str) -> None:
    told: list[Message] = []

    async def report(message: Message) -> None:
        await trio.lowlevel.checkpoint()
        told.append(message)

    await read_walled("x", observer, FakeEventLog(), report)
    (message,) = told
    assert isinstance(message, ObserverFailed)
    assert (message.observer, detail in message.detail) == ("x", True)
