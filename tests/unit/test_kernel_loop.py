"""The trio kernel with an in-memory journal: nothing is answered, seen or acted upon before it is on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from hal_core.errors import NotFound, Unavailable
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.effects import Effects
from hal_core.kernel.loop import Kernel
from hal_core.kernel.observers import SLICE, Observers, sliced
from hal_core.kernel.shell import Shell
from hal_core.models.event import Event, JobEnded, JobSubmitted, NodeSuspected, ObserverDisabled
from hal_core.models.job import End, EndKind, JobId, JobSpec, JobState, Owner
from hal_core.models.message import Cancel, JobSelection, NodeSilent, Submission, Submit
from hal_core.models.node import Cluster, Node, NodeName, NodeStatus, Partition, PartitionName
from hal_core.planes import Observer
from hal_core.rules.core import Core
from hal_core.testing import FakeEngine, FakeExecutor
from tests.support.memory_journal import MemoryJournal

NODES = tuple(Node(NodeName(f"n{number}"), cpu_count=4, memory_bytes=2**30) for number in range(2))
CLUSTER = Cluster("test", NODES, (Partition(PartitionName("all"), tuple(node.name for node in NODES), True),))
OWNER = Owner("ada", 1000, 1000)


def submission(client_id: str = "", **fields: object) -> Submission:
    spec = JobSpec(name="job", partition=PartitionName("all"), command=("true",))
    return Submission(client_id, OWNER, attrs.evolve(spec, **fields))


@attrs.define
class Rig:
    kernel: Kernel
    journal: MemoryJournal
    executor: FakeExecutor
    reports: list[Event] = attrs.Factory(list)
    conducts: Conducts = attrs.Factory(lambda: Conducts(trio.current_time))

    async def submit(self, *submissions: Submission) -> tuple[JobId, ...]:
        answer = await self.kernel.ask(Submit(submissions or (submission(),)))
        assert isinstance(answer, tuple)
        return answer

    async def ended(self, job_id: JobId) -> JobState:
        while (record := self.kernel.state.find(job_id)) is None or not record.is_finished:
            await self.kernel.wait_beyond(self.kernel.durable_sequence)
        await self.kernel.settled()
        return record.state


@asynccontextmanager
async def running(
    observers: dict[str, Observer] | None = None,
    executor: FakeExecutor | None = None,
    inbox_max: int = 10_000,
    now_s: Callable[[], float] = trio.current_time,
) -> AsyncIterator[Rig]:
    journal = MemoryJournal()
    executor = executor or FakeExecutor(NODES)
    shell = Shell(
        journal=journal,
        effects=Effects({"metal": executor}, lambda _: "metal", {}),
        observers=Observers(observers or {}, deadline_s=1.0),
        now_s=now_s,
        steady_s=trio.current_time,
        rebuild=journal.rebuild,
        inbox_max=inbox_max,
    )
    kernel = Kernel(Core(FakeEngine(), "fake"), shell)
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run, CLUSTER)
        yield Rig(kernel, journal, executor)
        nursery.cancel_scope.cancel()


async def test_a_job_runs_to_its_end(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as rig:
        (job_id,) = await rig.submit()
        assert await rig.ended(job_id) is JobState.COMPLETED
        assert rig.journal.rebuild().dump() == rig.kernel.state.dump()


async def test_an_answer_waits_for_the_disk() -> None:
    async with running() as rig:
        rig.journal.gate.clear()
        rig.journal.append_started.clear()
        answers: list[tuple[JobId, ...]] = []

        async def submit() -> None:
            answers.append(await rig.submit(submission(is_held=True)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            await trio.to_thread.run_sync(rig.journal.append_started.wait)
            await trio.testing.wait_all_tasks_blocked()
            assert rig.kernel.state.jobs, "the event is applied"
            assert not answers, "but nobody was told"
            rig.journal.gate.set()
        assert answers == [(1,)]
        assert any(isinstance(event, JobSubmitted) for event in rig.journal.events)


async def test_a_repeated_submission_is_answered_although_it_leads_to_no_event() -> None:
    async with running() as rig:
        rig.journal.gate.clear()
        rig.journal.append_started.clear()
        answers: list[tuple[JobId, ...]] = []

        async def submit() -> None:
            answers.append(await rig.submit(submission("same", is_held=True)))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(submit)
                await trio.to_thread.run_sync(rig.journal.append_started.wait)
                nursery.start_soon(submit)
                await trio.testing.wait_all_tasks_blocked()
                assert not answers, "the first is not on disk, so nor is what the second is told"
                rig.journal.gate.set()
        assert answers == [(1,), (1,)]


async def test_what_waits_together_is_written_together() -> None:
    async with running() as rig:
        rig.journal.gate.clear()
        rig.journal.append_started.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.submit, submission(is_held=True))
            await trio.to_thread.run_sync(rig.journal.append_started.wait)
            for _ in range(100):
                nursery.start_soon(rig.submit, submission(is_held=True))
            await trio.testing.wait_all_tasks_blocked()
            rig.journal.batch_sizes.clear()
            rig.journal.gate.set()
        assert max(rig.journal.batch_sizes) >= 100


async def test_a_user_error_leaves_no_event() -> None:
    async with running() as rig:
        before = rig.kernel.state.sequence
        with pytest.raises(NotFound, match="there is no job 99"):
            await rig.kernel.ask(Cancel(JobSelection(JobId(99)), "ada"))
        assert rig.kernel.state.sequence == before


async def test_a_failed_append_forgets_what_was_not_on_disk_and_recovers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as rig:
        await rig.submit(submission(is_held=True))
        rig.journal.refuses = "the disk is full"
        with pytest.raises(Unavailable, match="the disk is full"):
            await rig.submit(submission(is_held=True))
        assert list(rig.kernel.state.jobs) == [1]
        assert rig.kernel.problem == "the disk is full"
        await rig.kernel.settled()
        with pytest.raises(Unavailable, match="the disk is full"):
            await rig.submit(submission(is_held=True))
        rig.journal.refuses = None
        await trio.sleep(10)
        assert await rig.submit(submission(is_held=True)) == (2,)
        assert rig.kernel.problem == ""
        assert rig.journal.rebuild().dump() == rig.kernel.state.dump()


async def test_what_the_planes_report_while_the_disk_is_full_arrives_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A job ends while nothing can be written: its end is neither lost, nor does it bring the kernel down."""
    executor = FakeExecutor(NODES, lambda order: (30.0, End(EndKind.EXITED, exit_code=0)))
    async with running(executor=executor) as rig:
        (job_id,) = await rig.submit()
        while not rig.journal.rebuild().jobs[job_id].active:  # The clock may jump while the writer's thread writes.
            await rig.kernel.wait_beyond(rig.kernel.durable_sequence)
        rig.journal.refuses = "the disk is full"
        await trio.sleep(60)
        # The live state may be ahead: the end is tried again and again.
        assert rig.journal.rebuild().jobs[job_id].active
        rig.journal.refuses = None
        await trio.sleep(10)
        assert await rig.ended(job_id) is JobState.COMPLETED


async def test_a_start_that_the_disk_refused_is_tried_again_although_nobody_asks() -> None:
    """And not at once again and again: each try is a write to a disk that fails."""
    async with running() as rig:
        began_s = trio.current_time()
        (job_id,) = await rig.submit(submission(begin_time_s=began_s + 0.05))
        rig.journal.retry_after_s = 0.1
        rig.journal.refuses = "the disk is full"
        assert await trio.to_thread.run_sync(rig.journal.refused_thrice.wait, 20)
        assert trio.current_time() >= began_s + 0.05 + 2 * 0.1, "a pause lies between two tries"
        rig.journal.refuses = None
        with trio.fail_after(60):
            while not rig.journal.rebuild().jobs[job_id].active:
                await rig.kernel.wait_beyond(rig.kernel.durable_sequence)


async def test_a_node_that_is_overdue_while_the_disk_is_full_is_not_given_up_again_and_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each try costs a state that is made anew from the whole journal."""
    async with running() as rig:
        await rig.kernel.report(NodeSilent(NODES[0].name))
        rig.journal.refuses = "the disk is full"
        await trio.sleep(CLUSTER.node_timeout_s + 60.0)
        assert rig.journal.refused_count <= 60.0 / rig.journal.retry_after_s + 1
        rig.journal.refuses = None
        while rig.journal.rebuild().table.status[0] is not NodeStatus.DOWN:
            await rig.kernel.wait_beyond(rig.kernel.durable_sequence)


async def test_a_clock_that_is_set_is_noticed_before_anything_is_decided() -> None:
    """A day forward: what a node out of contact has under its lease is not started again at once. In real time: a clock
    that jumps while the writer's thread writes gives the node up."""
    ahead_s = 0.0
    async with running(now_s=lambda: trio.current_time() + ahead_s) as rig:
        await rig.kernel.report(NodeSilent(NODES[0].name))
        ahead_s = 86_400.0
        set_s = rig.kernel.durable_sequence
        await rig.submit(submission(is_held=True))
        assert rig.kernel.state.table.status[0] is NodeStatus.SUSPECT
        suspected, submitted = rig.journal.events[set_s:]
        assert (type(suspected), type(submitted)) == (NodeSuspected, JobSubmitted)
        assert suspected.time_s == submitted.time_s >= 86_400.0


async def test_a_clock_that_is_set_while_the_disk_is_full_is_not_forgotten_with_what_was_lost() -> None:
    ahead_s = 0.0
    async with running(now_s=lambda: trio.current_time() + ahead_s) as rig:
        await rig.kernel.report(NodeSilent(NODES[0].name))
        rig.journal.retry_after_s = 0.1
        rig.journal.refuses = "the disk is full"
        ahead_s = 86_400.0
        with pytest.raises(Unavailable):
            await rig.submit(submission(is_held=True))
        set_s = rig.kernel.durable_sequence
        rig.journal.refuses = None
        with trio.fail_after(60):
            await rig.kernel.wait_beyond(set_s)
        assert isinstance(rig.journal.events[set_s], NodeSuspected), "its time is counted anew, before it is given up"
        assert rig.kernel.state.table.status[0] is NodeStatus.SUSPECT


async def test_a_reader_of_a_state_that_never_reached_the_disk_is_told() -> None:
    async with running() as rig:
        rig.journal.refuses = "input/output error"
        rig.journal.gate.clear()
        rig.journal.append_started.clear()
        seen: list[str] = []

        async def submit() -> None:
            with pytest.raises(Unavailable):
                await rig.submit(submission(is_held=True))
            seen.append("submit")

        async def read() -> None:
            with pytest.raises(Unavailable, match="input/output error"):
                await rig.kernel.settled()
            seen.append("read")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            await trio.to_thread.run_sync(rig.journal.append_started.wait)
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            rig.journal.gate.set()
        assert sorted(seen) == ["read", "submit"]


async def test_a_full_inbox_is_refused_with_a_hint() -> None:
    async with running(inbox_max=3) as rig:
        rig.journal.gate.clear()
        rig.journal.append_started.clear()
        refused = 0

        async def submit() -> None:
            nonlocal refused
            try:
                await rig.submit(submission(is_held=True))
            except Unavailable:
                refused += 1

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(submit)
            await trio.testing.wait_all_tasks_blocked()
            rig.journal.gate.set()
        assert refused > 0
        assert len(rig.kernel.state.jobs) == 50 - refused


class Recorder:
    def __init__(self, fails_at: int | None = None, hangs: bool = False) -> None:
        self.events: list[Event] = []
        self.sequences: list[int] = []
        self._fails_at = fails_at
        self._hangs = hangs
        self._recorded = trio.Event()

    async def until_recorded(self, kind: type[Event]) -> None:
        """Virtual time is no measure here: it runs on while the journal's thread writes."""
        while not any(isinstance(event, kind) for event in self.events):
            await self._recorded.wait()

    async def until_count(self, count: int) -> None:
        while len(self.events) < count:
            await self._recorded.wait()

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        if self._hangs:
            await trio.sleep_forever()
        self.sequences += range(first_sequence, first_sequence + len(events))
        self.events += events
        self._recorded.set()
        self._recorded = trio.Event()
        if self._fails_at is not None and len(self.events) >= self._fails_at:
            raise ValueError("observer bug")


async def test_observers_see_every_durable_event_once_in_order(autojump_clock: trio.testing.MockClock) -> None:
    recorder = Recorder()
    async with running({"recorder": recorder}) as rig:
        for _ in range(5):
            (job_id,) = await rig.submit()
            await rig.ended(job_id)
        await recorder.until_count(len(rig.journal.events))
        assert recorder.sequences == list(range(1, len(rig.journal.events) + 1))
        assert recorder.events == rig.journal.events


@pytest.mark.parametrize("bad", [Recorder(fails_at=1), Recorder(hangs=True)], ids=["raises", "hangs"])
async def test_a_bad_observer_is_switched_off_and_said(bad: Recorder, autojump_clock: trio.testing.MockClock) -> None:
    good = Recorder()
    async with running({"bad": bad, "good": good}) as rig:
        (job_id,) = await rig.submit()
        assert await rig.ended(job_id) is JobState.COMPLETED
        await good.until_recorded(ObserverDisabled)
        assert "bad" in rig.kernel.state.disabled_observers
        assert "good" not in rig.kernel.state.disabled_observers


async def test_effects_wait_for_the_disk(autojump_clock: trio.testing.MockClock) -> None:
    """No attempt is launched unless its placement was in the journal at that moment."""
    placed_at_launch: list[bool] = []
    rigs: list[Rig] = []

    def behaviour(order: object) -> tuple[float, End]:
        events = rigs[0].journal.events
        placed_at_launch.append(any(type(event).__name__ == "JobPlaced" for event in events))
        return 1.0, End(EndKind.EXITED, exit_code=0)

    async with running(executor=FakeExecutor(NODES, behaviour)) as rig:
        rigs.append(rig)
        ids = await rig.submit(*(submission() for _ in range(20)))
        for job_id in ids:
            assert await rig.ended(job_id) is JobState.COMPLETED
        assert placed_at_launch == [True] * 20
        ended = [event for event in rig.journal.events if isinstance(event, JobEnded)]
        assert len(ended) == 20


def test_observers_get_large_batches_in_pieces() -> None:
    spec = JobSpec("x", PartitionName("all"), command=("true",))
    events = [JobSubmitted(0.0, JobId(number), "", OWNER, spec) for number in range(7, 2 * SLICE + 8)]
    pieces = [(first, [event.job_id for event in piece]) for first, piece in sliced(7, events)]
    assert [number for _, numbers in pieces for number in numbers] == list(range(7, 2 * SLICE + 8))
    assert all(first == numbers[0] and len(numbers) <= SLICE for first, numbers in pieces)
