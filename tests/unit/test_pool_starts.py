"""When waiting jobs would start without more nodes: in bounded time, and never sooner than they could alone."""

from __future__ import annotations

import math
from random import Random

import attrs
from hypothesis import given, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob
from hal_core.rules.pool_starts import BOUNDS, ENDS_MAX, Bounds, fewer_ends, starts_in_turn
from hal_core.rules.profile import profile_of
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot

ALL = PartitionName("all")
WHOLE = Shape(ALL, 1, 4, 0)
NOW_S = 10.0
HOUR_S = 3600.0
UNBOUNDED = Bounds(jobs=10**9, steps=10**9, asked_steps=10**9)


def running_until(ends_s: list[float]) -> tuple[RunningJob, ...]:
    """One job on each node, in the order of their ends."""
    return tuple(RunningJob(JobId(at), 0, WHOLE, (at,), end_s) for at, end_s in enumerate(sorted(ends_s)))


def starts(node_count: int, job_count: int) -> list[float]:
    """Every node is busy, and one of them comes free each minute; the jobs that wait take one each, for ever."""
    nodes = [Node(NodeName(f"n{number}"), 4, 0) for number in range(node_count)]
    columns = FakeColumns.of_idle(nodes)
    for number in range(node_count):
        columns.take(number, WHOLE)
    running = running_until([NOW_S + 60.0 * (at + 1) for at in range(node_count)])
    pending = tuple(PendingJob(JobId(10_000 + at), 1, WHOLE, 1e9, 0, 0.0) for at in range(job_count))
    partitions = {ALL: Partition(ALL, tuple(node.name for node in nodes), is_default=True)}
    return starts_in_turn(FakeSnapshot(NOW_S, 1, columns, partitions, pending, running), pending)


@given(st.lists(st.floats(0.0, 1e6) | st.just(math.inf), max_size=400))
def test_few_ends_are_told_apart_and_none_comes_too_early(ends_s: list[float]) -> None:
    before = running_until(ends_s)
    after = list(fewer_ends(before))
    assert [row.job_id for row in after] == [row.job_id for row in before if row.expected_end_s < math.inf]
    assert len({row.expected_end_s for row in after}) <= ENDS_MAX
    known_s = {row.expected_end_s for row in before}
    for was, row in zip(before, after, strict=False):
        assert row.expected_end_s >= was.expected_end_s
        assert row.expected_end_s in known_s
    times_s = [row.expected_end_s for row in after]
    assert times_s == sorted(times_s)


def test_on_few_nodes_each_job_starts_when_one_comes_free() -> None:
    assert starts(3, 3) == [NOW_S + 60.0, NOW_S + 120.0, NOW_S + 180.0]


def test_on_many_nodes_a_job_is_expected_a_little_late_at_most() -> None:
    """640 ends are 64 moments: every tenth."""
    found = starts(10 * ENDS_MAX, 20)
    assert found == [NOW_S + 600.0] * 10 + [NOW_S + 1200.0] * 10


def site_of(seed: int) -> tuple[FakeSnapshot, list[PendingJob]]:
    """A few unlike nodes, some of them busy, some for ever, and one not available; jobs of all sizes in any order."""
    rng = Random(seed)
    nodes = [Node(NodeName(f"n{at}"), rng.randint(1, 8), rng.randint(1, 4)) for at in range(rng.randint(1, 5))]
    columns = FakeColumns.of_idle(nodes, rng.choice([(), (0,)]))
    running: list[RunningJob] = []
    for _ in range(rng.randint(0, 8)):
        number, part = rng.randrange(len(nodes)), Shape(ALL, 1, rng.randint(1, 4), 1)
        if columns.fits(number, part):
            columns.take(number, part)
            end_s = rng.choice([rng.uniform(0.0, 1e4), 500.0, math.inf])
            running.append(RunningJob(JobId(len(running)), 0, part, (number,), end_s))
    rows: list[PendingJob] = []
    for at in range(rng.randint(1, 8)):
        cpus, memory = rng.randint(1, 10), rng.randint(0, 5)  # no node has more than 8, or 4
        shape = Shape(ALL, rng.randint(1, 3), cpus, memory, is_exclusive=rng.random() < 0.2)
        expected_s, submit_s = rng.choice([0.0, 60.0, 90.0, 1000.0, math.inf]), rng.uniform(0.0, NOW_S)
        elements = rng.randint(1, 4)
        job = PendingJob(JobId(at), elements, shape, math.inf, 0, submit_s, expected_s, rank=rng.randint(0, 1))
        rows += [job] * elements
    partitions = {ALL: Partition(ALL, tuple(node.name for node in nodes), is_default=True)}
    return FakeSnapshot(NOW_S, 1, columns, partitions, tuple(rows), tuple(running)), rows


SITES = st.integers(0, 2**32).map(site_of)


def plainly(snapshot: FakeSnapshot, jobs: list[PendingJob]) -> list[float]:
    """The pass as its definition says it, without any bound; who would never start takes no room."""
    room = snapshot.room()
    profile = profile_of(room, snapshot.running(), NOW_S)
    found = {}
    ages = [(NOW_S - job.submit_time_s) / max(job.mean_s, 60.0) for job in jobs]
    for at in sorted(range(len(jobs)), key=lambda at: (-jobs[at].rank, -ages[at])):
        ask, expected_s = room.packing.ask(jobs[at].shape), jobs[at].expected_s
        start = profile.earliest(ask, expected_s)
        found[at] = math.inf if start is None else start[0]
        if start is not None:
            profile.take(start[0], expected_s, ask, start[1])
    return [found[at] for at in range(len(jobs))]


def is_too_large(snapshot: FakeSnapshot, shape: Shape) -> bool:
    """Even if nothing ran on them, too few of the site's available nodes would hold a part of it."""
    nodes, available = snapshot.columns.nodes, snapshot.columns.is_available
    idle = FakeColumns.of_idle(nodes, [at for at in range(len(nodes)) if not available[at]])
    return sum(idle.fits(at, shape) for at in range(len(nodes))) < shape.node_count


@given(SITES)
def test_within_the_bounds_it_is_the_plain_pass(site: tuple[FakeSnapshot, list[PendingJob]]) -> None:
    snapshot, jobs = site
    assert starts_in_turn(snapshot, jobs) == plainly(snapshot, jobs)


@given(SITES, st.integers(0, 6), st.integers(0, 60), st.integers(0, 120))
def test_beyond_the_bounds_nobody_starts_sooner_than_alone_and_never_is_true(
    site: tuple[FakeSnapshot, list[PendingJob]], most: int, steps: int, asked_steps: int
) -> None:
    snapshot, jobs = site
    told = starts_in_turn(snapshot, jobs, Bounds(most, steps, asked_steps))
    for job, start_s, plain_s in zip(jobs, told, plainly(snapshot, jobs), strict=True):
        (alone_s,) = plainly(snapshot, [job])
        if is_too_large(snapshot, job.shape):
            assert start_s == alone_s == math.inf
        elif start_s == math.inf:
            assert plain_s == math.inf
        elif alone_s < math.inf:
            assert start_s >= alone_s


@given(SITES, st.integers(0, 6), st.integers(0, 60))
def test_who_takes_no_room_is_told_too_soon_at_worst(
    site: tuple[FakeSnapshot, list[PendingJob]], most: int, steps: int
) -> None:
    """Then nobody is rented for who would start as soon by himself."""
    snapshot, jobs = site
    told = starts_in_turn(snapshot, jobs, attrs.evolve(UNBOUNDED, jobs=most, steps=steps))
    for job, start_s, plain_s in zip(jobs, told, plainly(snapshot, jobs), strict=True):
        assert plainly(snapshot, [job])[0] <= start_s <= plain_s


def unlike_site(node_count: int, soon: int, jobs: list[PendingJob]) -> FakeSnapshot:
    """Each node runs one job, and their room differs: on the first few for five minutes, on the others for days."""
    nodes = [Node(NodeName(f"n{at}"), 64, 1000) for at in range(node_count)]
    columns = FakeColumns.of_idle(nodes)
    running: list[RunningJob] = []
    for at in range(node_count):
        part = Shape(ALL, 1, 64 - at % 4, 100 + at // 2)
        columns.take(at, part)
        end_s = NOW_S + (300.0 + at if at < soon else 72 * HOUR_S + 60.0 * at)
        running.append(RunningJob(JobId(at), 0, part, (at,), end_s))
    partitions = {ALL: Partition(ALL, tuple(node.name for node in nodes), is_default=True)}
    return FakeSnapshot(NOW_S, 1, columns, partitions, tuple(jobs), tuple(running))


def test_what_no_node_can_hold_hides_nobody_behind_it() -> None:
    """A pool is there for such elements; however many stand first, who comes behind is asked about as if alone."""
    huge = [PendingJob(JobId(1), 400, Shape(ALL, 1, 64, 2000 + at % 20), HOUR_S, 0, 0.0) for at in range(400)]
    behind = PendingJob(JobId(2), 1, Shape(ALL, 100, 64, 800), HOUR_S, 0, 0.0)
    site = unlike_site(200, 0, [*huge, behind])
    *never, start_s = starts_in_turn(site, [*huge, behind])
    assert set(never) == {math.inf}
    assert [start_s] == starts_in_turn(site, [behind], UNBOUNDED)
    assert start_s > NOW_S + 72 * HOUR_S


def test_a_wide_job_hides_no_small_ones_behind_it() -> None:
    wide = PendingJob(JobId(1), 1, Shape(ALL, 500, 64, 200), 24 * HOUR_S, 0, 0.0, rank=10)
    small = [PendingJob(JobId(2 + at), 1, Shape(ALL, 1, 32, 1), HOUR_S + at, 0, 0.0) for at in range(20)]
    jobs = [wide, *small]
    site = unlike_site(1000, 30, jobs)
    wide_s, *found = starts_in_turn(site, jobs, attrs.evolve(BOUNDS, steps=1000))
    assert wide_s > NOW_S + 72 * HOUR_S
    assert max(found) < NOW_S + 400.0


def test_whom_nobody_asks_about_any_more_waits_for_all_that_runs() -> None:
    jobs = [PendingJob(JobId(1), 1, Shape(ALL, 1, 32, 1), HOUR_S, 0, 0.0)]
    site = unlike_site(40, 30, jobs)
    assert starts_in_turn(site, jobs, Bounds(0, 0, -1)) == [NOW_S + 72 * HOUR_S + 39 * 60.0]
