"""Data in a replay: the stores against naive ones, the readers, and the whole command on a small week."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import InvalidInput
from hal_core.models.node import Cluster
from hal_core.sim.data import Data, DataFigures, DataMode, data_figures
from hal_core.sim.expectations import CORRECTIONS, Expectations
from hal_core.sim.links import Transfer
from hal_core.sim.machine import Machine
from hal_core.sim.node_list import read_node_list
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.routes import Routes
from hal_core.sim.stores import StoreKind, Stores
from hal_core.sim.swim import PIECE_BYTES, read_swim
from hal_core.sim.trace import Trace, TraceJob
from hal_core.sim.uppmax import BYTES_PER_CORE, read_uppmax
from hal_core.sim.zipf import Zipf
from tests.support.cli import hal
from tests.support.replays import engine_of

NODE_COUNT, CPUS = 4, 20
NODE_LIST = "".join(f"{{ id: {at} memory: 128 bandwidth: 0.1 core: {CPUS} }}\n" for at in range(NODE_COUNT))
TRANSFER_S = 64.0
"""Of the file of a job of one core."""


def week_of(seed: int, count: int = 60) -> str:
    """A small busy week: each user has few files, and a file is always read by jobs of equal width."""
    random = Random(seed)
    widths = {str(name): random.choice((1, 1, 2, 5, 10, 20)) for name in range(12)}
    lines, now_s = ["job,submit_s,run_s,cores,user,input_file"], 0
    for number in range(count):
        now_s += random.choice((0, 0, 5, 60, 300))
        name = random.choice(list(widths))
        lines.append(f"{number},{now_s},{random.randint(1, 2000)},{widths[name]},7,{name}")
    return "\n".join(lines) + "\n"


def trace_of(seed: int) -> Trace:
    return read_uppmax(io.BytesIO(week_of(seed).encode()))


def cluster() -> Cluster:
    return read_node_list(io.BytesIO(NODE_LIST.encode()), "nodes")


def replay(trace: Trace, mode: DataMode, policy: str) -> tuple[Replay, Data, DataFigures]:
    data = Data.of(mode, cluster(), trace)
    foresight = Foresight(Expectations(), CORRECTIONS["request"])
    run = Replay(engine_of(policy), Machine(cluster()), trace.jobs, foresight, data)
    for _ in run.run(EventOrder.TOGETHER):
        pass
    return run, data, data_figures(trace.jobs, run.start_s, run.stage_s, data)


@pytest.mark.parametrize("mode", DataMode)
@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative", "hal"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_every_file_comes_once_at_least_and_no_job_has_more_than_its_transfer(mode, policy, seed):
    trace = trace_of(seed)
    run, _, figures = replay(trace, mode, policy)
    once_s = sum(size / 1e8 for size in trace.sizes.values())
    whole_s = [TRANSFER_S * job.processors for job in trace.jobs]
    assert all(start == start for start in run.start_s)
    assert all(stage >= 0.0 for stage in run.stage_s)
    if mode is not DataMode.CACHE:  # there transfers share links
        assert all(stage <= whole + 1e-6 for stage, whole in zip(run.stage_s, whole_s, strict=True))
    assert figures.transfer_hours * 3600 == pytest.approx(sum(run.stage_s))
    assert figures.remote_bytes >= sum(trace.sizes.values())
    assert once_s - 1e-6 <= figures.shared_store_hours * 3600 <= sum(whole_s) + 1e-6
    assert figures.mean_stretch >= 0.5
    assert 0.0 <= figures.hidden_fraction <= figures.hideable_fraction + 1e-9
    assert figures.hideable_fraction <= 1.0 + 1e-9


def test_an_engine_that_knows_where_files_are_moves_less():
    """In total over some weeks: one alone may be unlucky."""
    totals = {mode: sum(replay(trace_of(at), mode, "hal")[2].transfer_hours for at in range(8)) for mode in DataMode}
    assert totals[DataMode.CACHE] < totals[DataMode.AUTHORS] < totals[DataMode.BLIND]


class NaiveMemory:
    """One node of the authors' model: a list of shares, each with its file and whether a job has it, oldest first."""

    def __init__(self) -> None:
        self.shares: list[tuple[str, int, bool]] = []

    def start(self, name: str, cores: int) -> bool:
        """Whether the file was there."""
        was_there = any(each[0] == name for each in self.shares)
        idle = next((each for each in self.shares if each[0] == name and not each[2]), None)
        if idle:
            self.shares.remove(idle)
        self.shares.append((name, cores, True))
        while sum(each[1] for each in self.shares) > CPUS:
            self.shares.remove(next(each for each in self.shares if not each[2]))
        return was_there

    def end(self, name: str, cores: int) -> None:
        self.shares.remove((name, cores, True))
        if not any(each[0] == name for each in self.shares):
            self.shares.append((name, cores, False))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=60))
def test_a_file_stays_until_others_take_its_share(steps):
    widths = [1, 2, 5, 8, 10, 20, 3]
    sizes = {str(name): width * BYTES_PER_CORE for name, width in enumerate(widths)}
    one = Cluster("one", cluster().nodes[:1], (), topology=cluster().topology)
    stores, naive = Stores(StoreKind.MEMORY, one, files_of(sizes)), NaiveMemory()
    running: list[TraceJob] = []
    for at, (name, is_end) in enumerate(steps):
        now_s = at * 1e6
        if is_end and running:
            job = running.pop(0)
            stores.end(job, 0)
            naive.end(job.inputs[0], job.processors)
        elif sum(job.processors for job in running) + widths[name] <= CPUS:
            job = TraceJob(at, 0.0, 1.0, 1.0, widths[name], "user", inputs=(str(name),))
            running.append(job)
            stores.over(now_s)
            assert (stores.start(job, 0, now_s) is None) == naive.start(str(name), widths[name])


def files_of(sizes: dict[str, int]) -> Trace:
    return Trace((), {}, 1, (), 0, {}, sizes=sizes)


def left_s(transfer: Transfer | None, now_s: float) -> float:
    return 0.0 if transfer is None else transfer.left_s(now_s)


def test_a_job_waits_for_the_load_of_another_on_its_node():
    trace = files_of({"file": BYTES_PER_CORE})
    stores = Data.of(DataMode.AUTHORS, cluster(), trace).stores
    job = TraceJob(1, 0.0, 1.0, 1.0, 1, "user", inputs=("file",))
    assert left_s(stores.start(job, 0, 100.0), 100.0) == TRANSFER_S
    assert left_s(stores.start(job, 0, 130.0), 130.0) == TRANSFER_S - 30
    assert [(tier.nodes, tier.stage_s) for tier in stores.stage_in(("file",), 150.0)] == [(1, 14.0), (-1, TRANSFER_S)]
    assert stores.next_s() == 164.0
    assert len(stores.over(164.0)) == 1
    assert stores.start(job, 0, 500.0) is None
    assert stores.moved.remote_bytes == BYTES_PER_CORE


def test_what_was_brought_while_a_job_waited_is_hidden():
    stores = Data.of(DataMode.CACHE, cluster(), files_of({"file": BYTES_PER_CORE})).stores
    job = TraceJob(1, 4.0, 1.0, 1.0, 1, "user", inputs=("file",))
    stores.bring_ahead(job, 2, 0.0)
    transfer = stores.start(job, 2, 16.0)
    assert left_s(transfer, 16.0) == TRANSFER_S - 16
    assert stores.over(TRANSFER_S) == [transfer]
    assert transfer is not None
    stores.count(job, transfer, 16.0, TRANSFER_S)
    moved = stores.moved
    assert (moved.hidden_s, moved.possible_s, moved.waited_s, moved.store_s) == (12.0, 12.0, 48.0, TRANSFER_S)


# -- readers -----------------------------------------------------------------------------------------------------------


def test_bad_lines_of_a_week_are_named_and_skipped():
    text = week_of(1, 3) + "x,1,2,3,4,5\n1,2\n9,5,0,1,7,3\n8,1,nan,1,7,3\n"
    trace = read_uppmax(io.BytesIO(text.encode()))
    assert [len(trace.jobs), trace.bad_count, trace.left_out] == [3, 3, {"no run time": 1}]
    assert [problem.place for problem in trace.problems] == ["line 5", "line 6", "line 8"]
    assert read_uppmax(io.BytesIO(b"a,b\n1,2\n")).bad_count == 1


def test_an_input_of_a_map_reduce_job_is_read_in_pieces():
    rows = f"job0\t1\t0\t{2 * PIECE_BYTES + 5}\t300000000\t0\tpath\njob1\t2\t0\t100\t0\t0\tpath\nbad\t1\n"
    trace = read_swim(io.BytesIO(rows.encode()))
    assert trace.bad_count == 1
    assert trace.sizes == {"path#0": PIECE_BYTES, "path#1": PIECE_BYTES, "path#2": 5}
    assert [(job.label, job.inputs) for job in trace.jobs] == [
        ("job0_0", ("path#0",)),
        ("job0_1", ("path#1",)),
        ("job0_2", ("path#2",)),
        ("job1_0", ("path#0",)),
    ]
    assert trace.jobs[2].run_s == pytest.approx(1.0 + 5e-8 + 1.0)


def test_a_node_list_is_a_cluster_or_an_error_with_the_line():
    found = cluster()
    assert [len(found.nodes), found.nodes[0].cpu_count, found.nodes[0].memory_bytes] == [NODE_COUNT, CPUS, 128 * 10**9]
    assert found.topology is not None
    assert found.topology.across.bytes_per_s == 1e8
    with pytest.raises(InvalidInput, match="line 5"):
        read_node_list(io.BytesIO((NODE_LIST + "node 7\n").encode()), "nodes")


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "week.csv").write_text(week_of(3))
    (tmp_path / "nodes.txt").write_text(NODE_LIST)
    return str(tmp_path / "week.csv"), str(tmp_path / "nodes.txt")


def test_the_command_adds_the_figures_of_the_data(files):
    week, nodes = files
    done = hal(
        "/nowhere",
        "simulate",
        week,
        "--format",
        "uppmax",
        "--cluster",
        nodes,
        "--data",
        "cache",
        "--policy",
        "easy",
        "--json",
    )
    assert done.code == 0, done
    (run,) = json.loads(done.out)["runs"]
    found: dict[str, Any] = {name: run[name] for name in DataFigures.__annotations__}
    trace = read_uppmax(io.BytesIO(week_of(3).encode()))
    expected = replay(trace, DataMode.CACHE, "easy")[2]
    assert found == {name: getattr(expected, name) for name in found}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--format", "uppmax", "--data", "blind"], "--cluster"),
        (["--data", "blind", "--cluster", "NODES"], "uppmax or swim"),
        (["--format", "upmax"], "uppmax"),
        (["--data", "none"], "blind"),
    ],
)
def test_what_cannot_be_simulated_is_refused(files, words, text):
    week, nodes = files
    done = hal("/nowhere", "simulate", week, *[nodes if word == "NODES" else word for word in words], "--lenient")
    assert done.code != 0
    assert text in done.err
    assert "Traceback" not in done.err


# -- several sites -----------------------------------------------------------------------------------------------------

SITES = Zipf(jobs=400, datasets=40, seed=5, load=0.9)


@given(st.integers(0, 23), st.integers(0, 23), st.integers(1, 10**11))
def test_the_way_to_each_node_is_as_long_as_that_from_its_nearest_holder(holder, target, size):
    routes = Routes(SITES.cluster())
    ways = routes.near(size, (holder,))
    shortest_s = min((seconds for seconds, nodes in ways.items() if nodes >> target & 1), default=routes.far_s(size))
    assert shortest_s == routes.between_s(size, holder, target)
    assert routes.is_wide(holder, target) == (holder // SITES.nodes != target // SITES.nodes)


@settings(deadline=None)
@given(st.integers(0, 1 << 32))
def test_stage_in_takes_as_long_as_the_engine_was_told(seed):
    """Of copies that are there: where the nearest source is still loading itself, it may take longer."""
    random, trace = Random(seed), SITES.trace()
    stores = Data.of(DataMode.CACHE, SITES.cluster(), trace).stores
    for at in range(20):
        job, number, now_s = random.choice(trace.jobs), random.randrange(24), at * 1e5
        told_s = next(tier.stage_s for tier in stores.stage_in(job.inputs, now_s) if tier.nodes >> number & 1)
        assert left_s(stores.start(job, number, now_s), now_s) == pytest.approx(told_s), f"seed {seed}"
        stores.over(now_s + 1e4)
        assert stores.stage_in(job.inputs, now_s + 1e4)[0].nodes >> number & 1
        stores.end(job, number)


def test_a_busy_wide_link_is_told_to_be_longer():
    """Two files come to one site; a third is expected to share the link with both."""
    trace, cluster = SITES.trace(), SITES.cluster()
    routes, stores = Routes(cluster), Data.of(DataMode.CACHE, cluster, trace).stores
    target = cluster.nodes.index(next(node for node in cluster.nodes if node.location == ("site0",)))
    away = [job for job in trace.jobs if stores.stage_in(job.inputs, 0.0)[0].nodes & 0xFF == 0]
    names = {job.inputs[0]: job for job in away}
    first, second, third = list(names.values())[:3]
    alone_s = next(tier.stage_s for tier in stores.stage_in(third.inputs, 0.0) if tier.nodes >> target & 1)
    stores.bring_ahead(first, target, 0.0)
    stores.bring_ahead(second, target, 0.0)
    busy_s = next(tier.stage_s for tier in stores.stage_in(third.inputs, 0.0) if tier.nodes >> target & 1)
    assert alone_s == pytest.approx(routes.far_s(trace.sizes[third.inputs[0]]))
    assert busy_s == pytest.approx(3 * alone_s, rel=1e-2)


def test_few_bytes_cross_the_wide_area_if_the_engine_knows_where_they_are():
    trace, cluster = SITES.trace(), SITES.cluster()
    aware = Data.of(DataMode.CACHE, cluster, trace)
    blind = Data(Stores(StoreKind.CACHE, cluster, trace), is_shown=False, is_brought_ahead=False)
    for data in (aware, blind):
        foresight = Foresight(Expectations(), CORRECTIONS["request"])
        for _ in Replay(engine_of("hal"), Machine(cluster), trace.jobs, foresight, data).run(EventOrder.TOGETHER):
            pass
    assert aware.stores.moved.wide_bytes < 0.5 * blind.stores.moved.wide_bytes
    assert aware.stores.moved.waited_s < blind.stores.moved.waited_s


def test_a_made_up_workload_is_the_same_each_time():
    assert SITES.trace() == SITES.trace()
    assert Zipf(seed=6).trace() != Zipf(seed=7).trace()
