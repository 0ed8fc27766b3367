"""What jobs used: read from accounting's steps, told with their ends, and never waited for without end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio

from hal_core import AttemptKey, EndKind, JobId, JobSpec, LaunchOrder, NodeName, Owner, PartitionName, Share, Spread
from hal_plugin_slurm.book import ACCOUNTING_AGAIN_S, Book, Patience
from hal_plugin_slurm.executor import SlurmExecutor
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.payload import past_job_of
from hal_plugin_slurm.usage import Step, Used, cpu_time_of, memory_of, used_by
from hal_plugin_slurm.way import SlurmJob, Way
from tests.support.fake_slurm import FakeSlurm
from tests.support.slurm import SlurmCluster
from tests.support.slurm_answers import answering
from tests.support.slurm_bench import N1, N2, SlurmBench

MIB = 1 << 20


def step(cpu_s: float = 1.0, mib: int = 0, tasks: int = 1, nodes: int = 1, state: str = "COMPLETED") -> Step:
    return Step(state, cpu_s, mib * MIB or None, tasks, nodes)


def test_times_and_sizes_are_read():
    assert [cpu_time_of(each) for each in ("00:00.909", "01:02:03", "1-02:03:04")] == [0.909, 3723.0, 93_784.0]
    assert [memory_of(each) for each in ("", "0", "1654784", "1616K", "1.5M")] == [
        None,
        0,
        1654784,
        1616 << 10,
        3 << 19,
    ]
    for read in (cpu_time_of, memory_of):
        with pytest.raises(ValueError, match="INVALID"):
            read("INVALID")


def test_of_steps_the_cpu_time_is_added_and_the_largest_counts_with_all_its_tasks_on_a_node():
    assert used_by([step(1.0, 10), step(2.5, 7, tasks=5, nodes=2)]) == Used(3.5, 21 * MIB)
    assert used_by([step(0.1)]) == Used(0.1, None), "it was over before Slurm looked"
    assert used_by([]) is None
    assert used_by([step(), step(state="RUNNING")]) is None


def test_of_a_cancelled_job_it_is_waited_until_some_use_has_come() -> None:
    """Seen once: its step had been ended, and what it used came later."""
    cancelled = step(0.0, state="CANCELLED")
    assert used_by([cancelled]) is None
    assert used_by([step(0.0), cancelled]) is None
    assert used_by([step(0.02, state="CANCELLED")]) == Used(0.02)
    assert used_by([step(0.0, 7, state="CANCELLED")]) == Used(0.0, 7 * MIB)
    assert used_by([step(0.5), cancelled]) == Used(0.5), "a step of its own that nothing was in"
    assert used_by([step(0.0)]) == Used(0.0)


async def test_steps_of_sacct_are_those_of_their_jobs(tmp_path):
    rows = [
        "5|4_0|COMPLETED|0:0|10|20|n1|00:09.000|||2|a@b",
        "5.batch|4_0.batch|COMPLETED|0:0|10|20|n1|00:01.000||1|1|batch",
        "5.0|4_0.0|CANCELLED by 0|0:0|10|20|n1|00:08.000|1048576|4|2|sh|with a bar",
        "6|4_1|COMPLETED|0:0|10|20|n1|00:00:00|||1|a@b",
        "7|7|COMPLETED|0:0|10|20|n1|00:00:00|||1|a@b",
        "7.batch|7.batch|COMPLETED|0:0|10|20|n1|INVALID||1|1|batch",
    ]
    found = await answering(tmp_path, "sacct", [row.split("|", 11) for row in rows]).history(["a@b"], 0.0)
    assert [(job.index, job.used) for job in found] == [(0, Used(9.0, 2 * MIB)), (1, None), (None, None)]


def test_steps_of_slurmrestd_are_read_in_both_shapes():
    mem = {"type": "mem", "name": "", "id": 2, "count": MIB, "task": 0, "node": "n1"}
    made = {
        "state": "COMPLETED",
        "time": {"total": {"seconds": 2, "microseconds": 500_000}},
        "tres": {"requested": {"max": [{"type": "energy", "count": 0}, mem]}},
        "tasks": {"count": 4},
        "nodes": {"count": 2},
    }
    old = {
        "job_id": 5,
        "name": "a@b",
        "time": {"start": 10, "end": 20},
        "exit_code": {"return_code": 0},
        "steps": [made],
    }
    new = {"state": ["CANCELLED"], "tasks": {"count": {"set": True, "number": 4}}}
    assert past_job_of(old | {"state": {"current": "COMPLETED"}}).used == Used(2.5, 2 * MIB)
    assert past_job_of(old | {"state": {"current": ["COMPLETED"]}, "steps": [made | new]}).used == Used(2.5, 2 * MIB)
    assert past_job_of(old | {"state": {"current": "COMPLETED"}, "steps": [{}]}).used is None


# -- the book ----------------------------------------------------------------------------------------------------------


def order(job_id: int = 1) -> LaunchOrder:
    spec = JobSpec(name="check", partition=PartitionName("all"), command=("true",))
    key = AttemptKey(JobId(job_id), 0, 1)
    return LaunchOrder(key, Owner("u", 1000, 1000), spec, Share(NodeName("n1"), 1, "0"), ((NodeName("n1"), 1),), 1)


@pytest.fixture
def book() -> Book:
    return Book("x", [], Patience(30.0, 60.0, usage_s=10.0))


def over(book: Book, job_id: int = 1, now_s: float = 20.0) -> SlurmJob:
    """A job that slurmctld says has ended just now."""
    book.launch([order(job_id)], {}, 0.0)
    (ticket,) = book.ready()
    book.accept(ticket, 70 + job_id, 1.0)
    given = {"start_time_s": 10.0, "end_time_s": 19.0, "nodes": "n1", "exit_code": 3}
    record = SlurmJob(70 + job_id, ticket.name, "FAILED", **given)
    book.learn([record], now_s, now_s)
    return record


def test_an_end_is_told_once_with_what_accounting_says(book):
    record = over(book)
    (ticket,) = book.unmeasured()
    assert not book.is_idle
    assert book.learn([record], 21.0, 21.0) == [], "seen already"
    assert book.learn([], 22.0, 22.0) == book.missing(22.0) == [], "Slurm may forget it meanwhile"
    running = attrs.evolve(record, state="RUNNING", used=Used(1.0))
    assert book.measure([ticket], [running], 23.0) == [], "accounting is behind"
    ((_, status),) = book.measure([ticket], [attrs.evolve(record, used=Used(4.0, MIB))], 24.0)
    assert (status.end.exit_code, status.end.cpu_s, status.end.peak_memory_bytes) == (3, 4.0, MIB)
    assert (status.start_time_s, status.end_time_s) == (10.0, 19.0)
    assert book.unmeasured() == []


def test_an_end_waits_for_accounting_only_so_long(book):
    record = over(book)
    (ticket,) = book.unmeasured()
    assert book.measure([ticket], [record], 29.9) == []
    ((_, status),) = book.measure([ticket], [record], 30.0)
    assert (status.end.exit_code, status.end.cpu_s) == (3, None)


def test_where_accounting_does_not_answer_no_end_waits_for_it_for_a_while(book):
    over(book, 1)
    ((_, status),) = book.measure(book.unmeasured(), None, 21.0)
    assert (status.end.exit_code, status.end.cpu_s) == (3, None)
    over(book, 2, 21.0 + ACCOUNTING_AGAIN_S / 2)
    assert book.unmeasured() == []
    over(book, 3, 21.0 + ACCOUNTING_AGAIN_S)
    assert len(book.unmeasured()) == 1


# -- the executor ------------------------------------------------------------------------------------------------------


class Reports:
    def __init__(self) -> None:
        self.ends: dict[AttemptKey, tuple[float, float | None]] = {}
        self.has_end = trio.Event()

    async def report(self, message: object) -> None:
        for part in getattr(message, "parts", ()):
            if part.end is not None:
                assert part.key not in self.ends, "told twice"
                self.ends[part.key] = trio.current_time(), part.end.cpu_s
                self.has_end.set()


@attrs.define
class Silent(FakeSlurm):
    """Its accounting takes a question and never answers; slurmctld is away from some moment on."""

    away_from_s: float = float("inf")
    is_accounting_silent: bool = True

    async def history(self, names: Sequence[str], since_s: float) -> Sequence[SlurmJob] | None:
        if self.is_accounting_silent:
            await trio.sleep_forever()
        return []

    async def jobs(self) -> Sequence[SlurmJob]:
        if trio.current_time() >= self.away_from_s:
            await trio.sleep_forever()
        return await super().jobs()


async def run_one(slurm: FakeSlurm, directory: Path) -> tuple[float, float | None]:
    async def at_once(write):
        write()

    options = SlurmOptions(state_directory=str(directory), poll_s_max=2.0)
    executor, reports = SlurmExecutor(options, slurm, trio.current_time, at_once), Reports()
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, reports.report)
        begin_s = trio.current_time()
        await executor.launch(NodeName("n1"), [order()])
        with trio.fail_after(120):
            await reports.has_end.wait()
        nursery.cancel_scope.cancel()
    ((end_s, cpu_s),) = reports.ends.values()
    return end_s - begin_s, cpu_s


async def test_what_accounting_knows_is_told_and_its_silence_costs_seconds(tmp_path, autojump_clock):
    """The job takes 8 s in Slurm."""
    took_s, cpu_s = await run_one(FakeSlurm(), tmp_path / "a")
    assert cpu_s == pytest.approx(5.0)
    assert took_s < 12.0
    took_s, cpu_s = await run_one(Silent(), tmp_path / "b")
    assert cpu_s is None
    assert took_s < 24.0
    took_s, cpu_s = await run_one(Silent(is_accounting_silent=False), tmp_path / "c")
    assert cpu_s is None
    assert took_s < 24.0


# -- a real Slurm ------------------------------------------------------------------------------------------------------


async def test_what_a_job_used_comes_from_accounting(
    way: Way, slurm: SlurmCluster, tmp_path: Path, nursery: trio.Nursery
) -> None:
    options = SlurmOptions(state_directory=str(tmp_path), poll_s_min=0.3, poll_s_max=2.0, usage_s=60.0)
    bench = SlurmBench(slurm, SlurmExecutor(options, way))
    await nursery.start(bench.executor.run, bench.report)
    begin_s = time.time()
    work = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done"
    worked = slurm.work / f"worked-{tmp_path.name}"
    gang = {"spread": Spread.TASK, "node_count": 2, "task_count": 4, "nodes": ((N1, 2), (N2, 2))}
    orders = [
        bench.order(61, f"{work}; sleep 2.5", **gang),
        bench.order(62, f"{work}; echo >{worked}; exec sleep 1000"),
    ]
    await bench.executor.launch(N1, orders)
    whole, killed = orders
    await bench.until("it has worked", worked.exists)
    end = (await bench.ends([whole]))[0]
    slurm.run("scancel", str(bench.native_id(killed)))
    (told,) = await bench.ends([killed])
    took_s = time.time() - begin_s
    assert (end.kind, told.kind) == (EndKind.EXITED, EndKind.CANCELLED)
    assert 0.05 < end.cpu_s < 4 * took_s
    assert 1 << 19 < end.peak_memory_bytes < 1 << 30
    assert 0.01 < told.cpu_s < took_s
