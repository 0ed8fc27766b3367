"""An engine that goes on from its last plan makes the same plans as one that begins anew each time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from hypothesis import example, given, settings, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, Plan, Reserve, RunningJob, Snapshot
from hal_core.models.topology import Level, Link, Topology
from hal_core.planes import Engine
from hal_core.rules.timeline import earliest_start
from hal_core.sim.expectations import CORRECTIONS
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.groups import Blocked, changed_groups, kept_shadows
from hal_engine_backfill.promises import Memo
from hal_engine_backfill.shadow import Shadow, can_be_kept
from tests.properties.test_mixed_jobs import a_full_snapshot
from tests.simulation.test_replay import PROCESSORS, cluster_of
from tests.support.replays import expectations_of
from tests.support.simple_traces import some_jobs

ENGINES: dict[str, Callable[[], Engine]] = {
    "easy": Easy,
    "easy-sjbf": lambda: Easy(is_shortest_first=True),
    "conservative": Conservative,
    "expansion": lambda: Expansion(60.0, 3600.0),
    "few promises": lambda: Conservative(promise_max=3),
}


class Anew:
    """The snapshot without what an engine could go on from."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.changes = None
        self.memo = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._snapshot, name)


@attrs.define
class Both:
    """Plans both ways at every pass; what differs is kept."""

    engine: Engine
    memo_count: int = 0
    differing: list[tuple[Plan, Plan]] = attrs.Factory(list)

    def plan(self, snapshot: Snapshot) -> Plan:
        anew = self.engine.plan(Anew(snapshot))  # type: ignore[arg-type]
        self.memo_count += isinstance(snapshot.memo, Memo) and snapshot.changes is not None
        plan = self.engine.plan(snapshot)
        for each in ((plan, anew), (anew, plan)):
            if _decided(each[0]) != _decided(each[1]):
                self.differing.append(each)
        return plan


def _decided(plan: Plan) -> object:
    return sorted(plan.starts, key=lambda start: start.job_id), plan.reserves, plan.wake_s, plan.is_settled


def random_step(seed: int) -> int:
    return Random(seed).choice((1, 7, 60))


@example(seed=0, name="conservative", node_count=1, estimates="last-two", order=EventOrder.TOGETHER)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(sorted(ENGINES)),
    node_count=st.sampled_from([1, 1, 4]),
    estimates=st.sampled_from(["requested", "perfect", "last-two"]),
    order=st.sampled_from(EventOrder),
)
def test_plans_are_the_same(seed: int, name: str, node_count: int, estimates: str, order: EventOrder) -> None:
    engine = Both(ENGINES[name]())
    jobs = some_jobs(seed, 100, step_s=random_step(seed))
    machine = Machine.pool(PROCESSORS) if node_count == 1 else Machine(cluster_of(node_count, PROCESSORS // node_count))
    run = Replay(engine, machine, jobs, Foresight(expectations_of(estimates), CORRECTIONS["incremental"]))
    for _ in run.run(order):
        pass
    if node_count == 1:
        assert engine.differing == []
    else:  # where nodes are chosen, a promise that is kept may name others than one that is made again
        assert [pair for pair in engine.differing if pair[0].starts != pair[1].starts] == []


def test_it_does_go_on() -> None:
    engine = Both(Conservative())
    foresight = Foresight(expectations_of("requested"), CORRECTIONS["request"])
    run = Replay(engine, Machine.pool(PROCESSORS), some_jobs(1, 200, 60), foresight)
    for _ in run.run(EventOrder.TOGETHER):
        pass
    assert engine.memo_count > 0.8 * run.pass_count


# -- partitions that share no nodes ------------------------------------------------------------------------------------

PARTITION_NODES = {"left": range(3), "both": range(2, 5), "right": range(4, 6), "other": range(6, 9)}
"""The first three are one group."""


def partitions_apart() -> Machine:
    nodes = tuple(Node(NodeName(f"n{number}"), 4, 0) for number in range(9))
    partitions = tuple(
        Partition(PartitionName(name), tuple(nodes[number].name for number in numbers), is_default=name == "left")
        for name, numbers in PARTITION_NODES.items()
    )
    return Machine(Cluster("apart", nodes, partitions))


@attrs.define
class BothApart(Both):
    """Counts the passes over one of the groups alone, too."""

    partial_count: int = 0

    def plan(self, snapshot: Snapshot) -> Plan:
        groups = changed_groups(snapshot, tried_max=1000)
        self.partial_count += groups is not None and 0 < len(groups) < len(snapshot.room().packing.group_nodes)
        return Both.plan(self, snapshot)


def replay_apart(seed: int, is_shortest_first: bool, depth_max: int = 1000) -> BothApart:
    random = Random(seed)
    jobs = some_jobs(seed, 120, step_s=random_step(seed))
    for job in jobs:
        job.partition = random.choice(list(PARTITION_NODES))
        job.processors = min(job.processors, 4 * len(PARTITION_NODES[job.partition]))
    engine = BothApart(Easy(depth_max=depth_max, is_shortest_first=is_shortest_first))
    foresight = Foresight(expectations_of("requested"), CORRECTIONS["request"])
    for _ in Replay(engine, partitions_apart(), jobs, foresight).run(EventOrder.TOGETHER):
        pass
    return engine


def _told(plan: Plan) -> object:
    """Who starts where, and who is promised when: a promise that is kept may name other nodes."""
    return plan.starts, [(reserve.job_id, reserve.start_time_s) for reserve in plan.reserves]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), is_shortest_first=st.booleans(), depth_max=st.sampled_from([2, 1000]))
def test_a_group_in_which_nothing_happened_is_as_it_was(seed: int, is_shortest_first: bool, depth_max: int) -> None:
    engine = replay_apart(seed, is_shortest_first, depth_max)
    assert [pair for pair in engine.differing if _told(pair[0]) != _told(pair[1])] == []


def test_groups_are_looked_at_alone() -> None:
    assert replay_apart(1, is_shortest_first=False).partial_count > 20


# -- promises that are kept --------------------------------------------------------------------------------------------

LEAF_NODES, NODE_CPUS = 3, 4
LINKS = (Level("rack", Link(3e-6, 20e9)), Level("leaf", Link(2e-6, 25e9)))


def machine_of_leaves(has_topology: bool, is_apart: bool) -> Machine:
    """Twelve nodes in four leaves, half of them with twice the memory; in one partition, or in two without a common
    node."""
    nodes = tuple(
        Node(NodeName(f"n{at}"), NODE_CPUS, 8 + 8 * (at % 2), location=(f"r{at // 6}", f"l{at // LEAF_NODES}"))
        for at in range(12)
    )
    members = {"left": nodes[:7], "right": nodes[7:]} if is_apart else {"left": nodes}
    partitions = tuple(
        Partition(PartitionName(name), tuple(node.name for node in its), is_default=name == "left")
        for name, its in members.items()
    )
    topology = Topology(LINKS, across=Link(20e-3, 1e9)) if has_topology else None
    return Machine(Cluster("leaves", nodes, partitions, topology=topology))


@attrs.define
class BothKept(Both):
    """Holds the promises of whatever is planned again against each other too, with their nodes."""

    kept_count: int = 0

    def plan(self, snapshot: Snapshot) -> Plan:
        is_planned = changed_groups(snapshot, tried_max=1000) != set()
        before = kept_shadows(snapshot)
        told_before = snapshot.promises
        anew = self.engine.plan(Anew(snapshot))  # type: ignore[arg-type]
        plan = self.engine.plan(snapshot)
        fresh = {reserve.job_id: reserve for reserve in anew.reserves}
        for reserve in plan.reserves:
            is_same = reserve == fresh[reserve.job_id] or (not is_planned and reserve == told_before[reserve.job_id])
            if not is_same and not self._is_of_another_group(snapshot, reserve.job_id):
                self.differing.append((plan, anew))
        if plan.starts != anew.starts or len(plan.reserves) != len(anew.reserves):
            self.differing.append((plan, anew))
        after = plan.memo.shadows if isinstance(plan.memo, Blocked) else {}
        self.kept_count += is_planned and any(after.get(group) is shadow for group, shadow in before.items())
        return plan

    def _is_of_another_group(self, snapshot: Snapshot, job_id: JobId) -> bool:
        """Its promise was left as it is, with the nodes that it named."""
        groups = changed_groups(snapshot, tried_max=1000)
        job = next(job for job in snapshot.pending() if job.job_id == job_id)
        return groups is not None and snapshot.room().packing.group_of[job.shape.partition] not in groups


def replay_kept(seed: int, has_topology: bool, is_apart: bool, is_shortest_first: bool = False) -> BothKept:
    random = Random(seed)
    jobs = some_jobs(seed, 150, step_s=random_step(seed))
    for job in jobs:
        job.node_count = random.choice((1, 1, 1, 2, 3, 5))
        job.processors = job.node_count * random.choice((1, 2, 4))
        job.partition = random.choice(("left", "right"))
        job.memory_bytes = random.choice((1, 2, 4))
    engine = BothKept(Easy(is_shortest_first=is_shortest_first))
    foresight = Foresight(expectations_of("requested"), CORRECTIONS["request"])
    for _ in Replay(engine, machine_of_leaves(has_topology, is_apart), jobs, foresight).run(EventOrder.TOGETHER):
        pass
    return engine


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), has_topology=st.booleans(), is_apart=st.booleans(), is_shortest_first=st.booleans())
def test_a_promise_that_is_kept_is_the_one_made_anew(
    seed: int, has_topology: bool, is_apart: bool, is_shortest_first: bool
) -> None:
    assert replay_kept(seed, has_topology, is_apart, is_shortest_first).differing == []


def test_promises_are_kept() -> None:
    assert sum(replay_kept(seed, has_topology=True, is_apart=False).kept_count for seed in range(2)) > 20


def test_a_gang_that_has_lost_a_node_ends_when_a_promise_is_due() -> None:
    """What is not available is not given back at its end, so it is not taken again to see what was before."""
    nodes = tuple(Node(NodeName(f"n{number}"), 2, 1 << 30) for number in range(3))
    partition = Partition(PartitionName("all"), tuple(node.name for node in nodes))
    one, two = (Shape(partition.name, node_count, 2, 0) for node_count in (1, 2))
    columns = FakeColumns.of_idle(nodes)
    running = (RunningJob(JobId(1), 0, two, (0, 1), 50.0), RunningJob(JobId(2), 0, one, (2,), 80.0))
    for job in running:
        for number in job.node_numbers:
            columns.take(number, job.shape)
    columns.is_available = [True, False, True]
    waiting = PendingJob(JobId(3), 1, one, 10.0, 0, 0.0)
    snapshot = FakeSnapshot(1.0, 1, columns, {partition.name: partition}, (waiting,), running)
    assert Easy().plan(snapshot).reserves == (Reserve(JobId(3), 50.0, (0,)),)


@example(seed=172)
@example(seed=648)
@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_beside_components_and_drained_nodes_a_promise_that_is_kept_is_the_one_made_anew(seed: int) -> None:
    assert kept_beside_components(seed) is not False


def test_promises_are_kept_beside_components() -> None:
    assert [kept_beside_components(seed) for seed in range(300)].count(True) > 10


def kept_beside_components(seed: int) -> bool | None:
    """Whether the promise after an early end is the one that is made then; None if there is none, or none is kept."""
    random = Random(seed)
    snapshot = a_full_snapshot(random, 5)
    nodes, now_s = snapshot.columns.nodes, snapshot.now_s
    snapshot.columns.is_available = [random.random() < 0.7 for _ in nodes]
    rows = [attrs.evolve(job, expected_end_s=now_s + random.choice([1.0, 2.0, 3.0])) for job in snapshot.running()]
    running = sorted(rows, key=lambda job: job.expected_end_s)
    room = snapshot.room()
    ask = room.packing.ask(snapshot.pending_jobs[0].shape)
    promise = earliest_start(room, running, ask, now_s)
    if not running or promise is None or promise.time_s <= now_s or not can_be_kept(ask, promise):
        return None
    shadow = Shadow(JobId(1), ask, promise, running)
    early = running[-1]
    kept = shadow.go_on(now_s, [early])
    left = [job for job in running if job is not early]
    room = snapshot.room()
    room.give(early.node_numbers, room.packing.ask(early.shape))
    anew = earliest_start(room, left, ask, now_s)
    return None if kept is None else anew is not None and anew.time_s == kept.time_s


def test_a_mixed_job_with_a_drained_node_ends_when_a_promise_is_due() -> None:
    """Its second component is taken again as what it is, to see what was free before."""
    nodes = tuple(Node(NodeName(f"n{number}"), 4, 1 << 30) for number in range(4))
    all_of = PartitionName("all")
    one = {cpus: Shape(all_of, 1, cpus, 0) for cpus in (1, 3, 4)}
    mixed = attrs.evolve(one[4], also=(one[1],))
    rows = [(one[3], (1,), 5.0), (mixed, (0, 1), 10.0), (one[4], (2,), 10.0), (one[4], (3,), 20.0)]
    running = tuple(RunningJob(JobId(at), 0, *row) for at, row in enumerate(rows))
    columns = FakeColumns.of_idle(nodes)
    for job in running:
        for part, numbers in job.shape.assigned(job.node_numbers):
            for number in numbers:
                columns.take(number, part)
    columns.is_available = [False, True, True, True]
    room = FakeSnapshot(0.0, 1, columns, {all_of: Partition(all_of, tuple(node.name for node in nodes))}).room()
    ask = room.packing.ask(Shape(all_of, 2, 3, 0))
    promise = earliest_start(room.copy(), running, ask, 0.0)
    assert promise is not None
    assert promise.time_s == 10.0
    assert Shadow(JobId(9), ask, promise, running).go_on(0.0, [running[3]]) is None, "it can be at 5 now"
