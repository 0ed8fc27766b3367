"""The bridge over a Slurm that fails in every way, on virtual time: nothing is submitted twice, nothing is lost."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
import trio

from hal_core import (
    ArraySpec,
    AttemptKey,
    BookingsReported,
    CancelOrder,
    EndKind,
    JobId,
    JobSpec,
    LaunchOrder,
    Message,
    NodeName,
    NodeReported,
    Owner,
    PartitionName,
    PartsChanged,
    PartStatus,
    Share,
    Spread,
)
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.executor_runs import ExecutorRun, Walled
from hal_core.kernel.step_watch import Charge
from hal_core.testing import check_executor
from hal_plugin_slurm.book import Book, Patience
from hal_plugin_slurm.executor import NODES_EVERY_S, SlurmExecutor
from hal_plugin_slurm.ledger import Ledger
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.way import SlurmJob, SlurmNode
from tests.support.fake_slurm import MIN_JOB_AGE_S, FakeSlurm

N1, N2 = NodeName("n1"), NodeName("n2")
SPEC = JobSpec(name="check", partition=PartitionName("all"), command=("true",))
HOUR_S = 3600.0


def order(job_id: int, index: int = 0, **changes: object) -> LaunchOrder:
    nodes = changes.pop("nodes", ((N1, 1),))
    spec = attrs.evolve(SPEC, **changes)
    return LaunchOrder(AttemptKey(JobId(job_id), index, 1), Owner("u", 1000, 1000), spec, Share(N1, 1, "0"), nodes, 1)


class Kernel:
    """What the executors reported, one after the other. One that was just started may not know yet what the last one
    said; it must not say otherwise."""

    def __init__(self) -> None:
        self.parts: dict[tuple[NodeName, AttemptKey], PartStatus] = {}
        self.bookings: list[BookingsReported] = []

    async def report(self, message: Message) -> None:
        match message:
            case NodeReported(node=node, parts=parts):
                name = node.name
            case PartsChanged(node=name, parts=parts):
                pass
            case BookingsReported():
                self.bookings.append(message)
                return
        for part in parts:
            known = self.parts.get((name, part.key), part)
            if part.end is not None and known.end is not None:
                same = (known.end.kind, known.end.exit_code) == (part.end.kind, part.end.exit_code)
                assert same, f"another end: {known}, then {part}"
            assert part.start_time_s is None or known.start_time_s in (None, part.start_time_s), "a start moved"
            kept = {"start_time_s": part.start_time_s or known.start_time_s, "end": part.end or known.end}
            self.parts[name, part.key] = attrs.evolve(part, **kept)

    def end(self, key: AttemptKey, node: NodeName = N1) -> object:
        part = self.parts.get((node, key))
        return None if part is None else part.end

    async def until_ended(self, orders: list[LaunchOrder]) -> None:
        try:
            await self.until(lambda: all(self.end(each.key) for each in orders))
        except trio.TooSlowError:
            left = [(each.key, self.parts.get((N1, each.key))) for each in orders if not self.end(each.key)]
            raise AssertionError(f"no end of {left}") from None

    async def until(self, holds: Callable[[], bool], limit_s: float = 2 * HOUR_S) -> None:
        with trio.fail_after(limit_s):
            while True:
                if holds():
                    return
                await trio.sleep(1)


def bridge(slurm: FakeSlurm, directory: Path, **options: object) -> SlurmExecutor:
    in_thread = options.pop("in_thread", _at_once)
    given = {"state_directory": str(directory), "answer_timeout_s": 30.0, **options}
    return SlurmExecutor(SlurmOptions(**given), slurm, trio.current_time, in_thread)


async def _at_once(write: Callable[[], None]) -> None:
    write()


async def test_the_contract_of_executors(tmp_path, autojump_clock):
    def behaviour(submission, index):
        return (1e6 if submission.name.startswith("endless") else 1.0), "COMPLETED", 0

    slurm = FakeSlurm(behaviour=behaviour)
    endless = order(2, name="endless")
    await check_executor(bridge(slurm, tmp_path, poll_s_max=2.0), N1, order(1), endless)


@pytest.mark.parametrize("has_accounting", [True, False])
@pytest.mark.parametrize("seed", range(12))
async def test_nothing_is_submitted_twice_and_nothing_is_lost(tmp_path, autojump_clock, seed, has_accounting):
    """With HAL restarted in between, at any moment."""

    def behaviour(submission, index):
        return 10.0 + index, ("FAILED" if index % 3 else "COMPLETED"), index % 3

    slurm = FakeSlurm(seed, trouble=0.5, has_accounting=has_accounting, behaviour=behaviour)
    kernel = Kernel()
    array = ArraySpec(((0, 6),))
    orders = [*(order(job_id) for job_id in range(1, 5)), *(order(9, index, array=array) for index in range(6))]
    doomed = order(7, name="doomed").key
    for life in range(4):
        executor = bridge(slurm, tmp_path)
        async with trio.open_nursery() as nursery:
            await nursery.start(executor.run, kernel.report)
            unknown = [each for each in orders if kernel.end(each.key) is None and not _has_started(kernel, each.key)]
            await executor.launch(N1, unknown)
            if life == 0:
                await executor.launch(N1, [order(7, name="doomed")])
                await trio.sleep(seed)
            if kernel.end(doomed) is None:
                await executor.cancel(N1, [CancelOrder(doomed, 1.0)])
            if life < 3:
                await trio.sleep(1 + 3 * seed * (life + 1) % 17)
            else:
                await kernel.until_ended([*orders, order(7)])
            nursery.cancel_scope.cancel()
    assert set(slurm.run_count.values()) <= {1}, slurm.run_count
    for each in orders:
        end = kernel.end(each.key)
        assert (end.kind, end.exit_code) == (EndKind.EXITED, each.key.index % 3)
    assert kernel.end(doomed).kind in (EndKind.CANCELLED, EndKind.EXITED)
    assert slurm.left == []


@attrs.define
class Disk:
    """Where the ledger is, and whether it takes anything."""

    is_full: bool = False

    async def write(self, write: Callable[[], None]) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        write()


async def test_one_whose_run_failed_is_begun_again_and_submits(tmp_path, autojump_clock):
    slurm, kernel, disk = FakeSlurm(), Kernel(), Disk()
    executor, conducts = bridge(slurm, tmp_path, in_thread=disk.write), Conducts(trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(ExecutorRun(Walled("slurm", executor, Charge()), conducts).run, kernel.report)
        await kernel.until(lambda: slurm.question_times_s != [])
        disk.is_full = True
        await executor.launch(N1, [order(1)])
        await kernel.until(lambda: "No space left" in conducts.of("executor", "slurm").last_problem)
        disk.is_full = False
        await executor.launch(N1, [order(2)])
        await kernel.until_ended([order(1), order(2)])
        await executor.forget(N1, [order(1).key, order(2).key])
        nursery.cancel_scope.cancel()
    assert set(slurm.run_count.values()) == {1}
    assert Ledger(tmp_path).tickets == []


async def test_a_submission_during_which_it_failed_is_looked_for_and_not_repeated(tmp_path, autojump_clock):
    slurm, kernel = FakeSlurm(lost=[RuntimeError("a mistake of the bridge")]), Kernel()
    executor, conducts = bridge(slurm, tmp_path), Conducts(trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(ExecutorRun(Walled("slurm", executor, Charge()), conducts).run, kernel.report)
        await executor.launch(N1, [order(1)])
        await kernel.until_ended([order(1)])
        nursery.cancel_scope.cancel()
    assert "a mistake of the bridge" in conducts.of("executor", "slurm").last_problem
    assert set(slurm.run_count.values()) == {1}


def test_half_a_line_that_the_disk_took_spoils_none_of_those_that_follow(tmp_path):
    ledger = Ledger(tmp_path)
    size_bytes = (tmp_path / "submissions").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            ledger.note_nodes([SlurmNode("n1", "", 4, 100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    ledger.note_nodes([SlurmNode("n2", "", 4, 100)])
    assert [node.name for node in Ledger(tmp_path).nodes] == ["n2"]


def _has_started(kernel: Kernel, key: AttemptKey) -> bool:
    part = kernel.parts.get((N1, key))
    return part is not None and part.start_time_s is not None


async def test_an_array_is_one_submission_and_a_gang_is_one_with_parts(tmp_path, autojump_clock):
    slurm, kernel = FakeSlurm(), Kernel()
    executor = bridge(slurm, tmp_path)
    gang = order(3, spread=Spread.NODE, node_count=2, nodes=((N1, 1), (N2, 1)))
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, kernel.report)
        await executor.launch(N1, [order(1, index, array=ArraySpec(((0, 1000),))) for index in range(1000)])
        await executor.launch(N1, [gang])
        await executor.launch(N2, [gang])
        await kernel.until(lambda: len([part for part in kernel.parts.values() if part.end]) == 1002)
        assert executor.counts["submissions"] == 2
        await executor.forget(N1, [key for _, key in kernel.parts])
        await executor.forget(N2, [gang.key])
        nursery.cancel_scope.cancel()
    assert Ledger(tmp_path).tickets == []


async def test_slurm_is_asked_seldom_while_nothing_happens(tmp_path, autojump_clock):
    slurm, kernel = FakeSlurm(behaviour=lambda submission, index: (10 * HOUR_S, "COMPLETED", 0)), Kernel()
    executor = bridge(slurm, tmp_path, poll_s_min=1.0, poll_s_max=30.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, kernel.report)
        await trio.sleep(HOUR_S)
        assert len(slurm.question_times_s) <= HOUR_S / 30 + 1, "asked too often about the jobs of others"
        await executor.launch(N1, [order(job_id) for job_id in range(100)])
        await kernel.until(lambda: len(kernel.parts) == 100)
        await trio.sleep(HOUR_S)
        nursery.cancel_scope.cancel()
    assert len(slurm.question_times_s) < 3 * HOUR_S / 30
    gaps = [later - sooner for sooner, later in zip(slurm.question_times_s, slurm.question_times_s[1:], strict=False)]
    assert min(gaps) >= 1.0


@attrs.define
class Restarting(FakeSlurm):
    """A node is down when Slurm starts, up a few seconds later, and down for good after an hour."""

    looks_s: list[float] = attrs.Factory(list)

    async def nodes(self) -> Sequence[SlurmNode]:
        now_s = trio.current_time()
        self.looks_s.append(now_s)
        first, second = await super().nodes()
        is_down = now_s < 3.0 or now_s > HOUR_S
        return [attrs.evolve(first, state="down") if is_down else first, second]


async def test_a_node_that_is_down_for_a_moment_is_soon_seen_up_and_one_that_stays_down_seldom(
    tmp_path, autojump_clock
):
    slurm, kernel = Restarting(), Kernel()
    executor = bridge(slurm, tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, kernel.report)
        await trio.sleep(2 * HOUR_S)
        nursery.cancel_scope.cancel()
    assert any(3.0 < each_s < 10.0 for each_s in slurm.looks_s)
    assert len(slurm.looks_s) < 2 * HOUR_S / NODES_EVERY_S + 10


async def test_what_ended_while_hal_was_away_is_found_in_accounting(tmp_path, autojump_clock):
    slurm, kernel = FakeSlurm(behaviour=lambda submission, index: (5.0, "FAILED", 3)), Kernel()
    await _run_once(bridge(slurm, tmp_path), kernel, [order(1)], 2.0)
    await trio.sleep(2 * MIN_JOB_AGE_S)
    executor = bridge(slurm, tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, kernel.report)
        await kernel.until(lambda: bool(kernel.end(order(1).key)), HOUR_S)
        nursery.cancel_scope.cancel()
    assert kernel.end(order(1).key).exit_code == 3


async def test_without_accounting_what_slurm_forgot_is_never_run_again(tmp_path, autojump_clock):
    slurm, kernel = FakeSlurm(has_accounting=False), Kernel()
    await _run_once(bridge(slurm, tmp_path), kernel, [order(1)], 2.0)
    await trio.sleep(2 * MIN_JOB_AGE_S)
    executor = bridge(slurm, tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, kernel.report)
        await executor.launch(N1, [order(1)])
        await kernel.until(lambda: bool(kernel.end(order(1).key)), HOUR_S)
        nursery.cancel_scope.cancel()
    assert kernel.end(order(1).key).kind in (EndKind.NODE_LOST, EndKind.SUPERVISOR_LOST)
    assert set(slurm.run_count.values()) == {1}


@pytest.mark.parametrize("reason", ["launch failed requeued held", "launch_failed_requeued_held"])
def test_what_slurm_queues_again_after_a_launch_is_over_and_ended_there(reason):
    book = Book("x", [], Patience(30.0, 60.0))
    book.launch([order(1)], {}, 0.0)
    (ticket,) = book.ready()
    book.accept(ticket, 77, 1.0)
    assert book.learn([SlurmJob(77, ticket.name, "PENDING", reason="Priority")], 2.0, 2.0) == []
    ((node, status),) = book.learn([SlurmJob(77, ticket.name, "PENDING", reason=reason)], 3.0, 3.0)
    assert (node, status.key, status.end.kind) == (N1, order(1).key, EndKind.NODE_LOST)
    assert book.to_cancel() == [(77, None)]


def test_an_id_that_slurm_gives_out_again_is_nobodys_end():
    book = Book("x", [], Patience(30.0, 60.0))
    book.launch([order(1)], {}, 0.0)
    (ticket,) = book.ready()
    book.accept(ticket, 77, 1.0)
    assert book.learn([SlurmJob(77, "of_somebody", "COMPLETED", exit_code=0)], 2.0, 2.0) == []
    assert book.learn([SlurmJob(78, ticket.name, "COMPLETED", exit_code=0)], 3.0, 3.0) == []
    assert (78, None) in book.to_cancel(), "a second one of the name is ended"


async def _run_once(executor: SlurmExecutor, kernel: Kernel, orders: list[LaunchOrder], seconds: float) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, kernel.report)
        await executor.launch(N1, orders)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
