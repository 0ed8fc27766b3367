"""The pure core under everything that people, nodes, networks and bad engines can do to it, step by step at random.

After each event all invariants are recomputed from scratch (tests/support/invariants.py) and a naive second reading of
the events (tests/support/witness.py) must agree. In the end everything is put right, and then every job must end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hal_core.errors import UserError
from hal_core.models.component import Component
from hal_core.models.job import ArraySpec, Dependency, DependencyKind, End, EndKind, JobId, JobSpec, Owner, Spread
from hal_core.models.masks import mask_of
from hal_core.models.message import (
    Cancel,
    DrainNode,
    Hold,
    JobSelection,
    NodeLost,
    NodeSilent,
    PartsChanged,
    PartStatus,
    Release,
    Requeue,
    ResumeNode,
    SetPriority,
    StagingDone,
    StagingFailed,
    Submission,
    Submit,
    Tick,
)
from hal_core.models.mixed import are_enough
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.placement import AttemptKey
from hal_core.models.plan import Plan, Reserve, Snapshot, Start
from hal_core.models.ranges import RangeSet
from hal_core.planes import Engine
from hal_core.rules.state import State
from hal_core.testing import FakeEngine
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ADA, BAD, GIB, OK, World
from tests.support.invariants import check_dump

ENDS = st.sampled_from([OK, OK, BAD, End(EndKind.OUT_OF_MEMORY, exit_code=0), End(EndKind.TIME_LIMIT, signal=15)])
OWNERS = st.sampled_from([Owner("ada", 1, 1), Owner("bob", 2, 2)])
VERBS = (Cancel, Cancel, Requeue, Requeue, Hold, Release, Release, SetPriority)
ALL, SOME = PartitionName("all"), PartitionName("some")
ENGINES: tuple[Engine, ...] = (FakeEngine(), Fcfs(), Easy())
NUMBERS = st.integers(0, 10**6)
"""Which of many: taken modulo their number, so that examples shrink well."""


@attrs.frozen
class Scripted:
    """An engine that proposes whatever it was told to."""

    answer: Plan

    def plan(self, snapshot: Snapshot) -> Plan:
        return self.answer


@st.composite
def small_clusters(draw: st.DrawFn) -> Cluster:
    """Up to four nodes, alike in pairs; a partition of all, and one of the first."""
    kinds = (
        {"cpu_count": 4, "memory_bytes": 8 * GIB, "gpus": ("a100", "h100"), "generic": (("licence", 2),)},
        {"cpu_count": 2, "memory_bytes": 4 * GIB, "features": ("fast",)},
    )
    count = draw(st.integers(1, 4))
    nodes = tuple(Node(NodeName(f"n{number}"), **kinds[number // 2]) for number in range(count))
    names = tuple(node.name for node in nodes)
    partitions = (Partition(ALL, names), Partition(SOME, names[:1], priority=draw(st.integers(0, 1))))
    return Cluster("test", nodes, partitions, node_timeout_s=300.3)


@st.composite
def changed(draw: st.DrawFn, cluster: Cluster) -> Cluster:
    """The cluster with some nodes smaller, larger or gone."""
    nodes = []
    for node in cluster.nodes:
        match draw(st.sampled_from(["same", "same", "smaller", "larger", "gone"])):
            case "same":
                nodes.append(node)
            case "smaller":
                nodes.append(attrs.evolve(node, cpu_count=1, memory_bytes=GIB, gpus=node.gpus[1:], generic=()))
            case "larger":
                nodes.append(attrs.evolve(node, cpu_count=8, gpus=("h100", *node.gpus), generic=(("licence", 5),)))
            case _:
                pass
    left = {node.name for node in nodes}
    partitions = tuple(
        attrs.evolve(each, nodes=tuple(n for n in each.nodes if n in left)) for each in cluster.partitions
    )
    return attrs.evolve(cluster, nodes=tuple(nodes), partitions=partitions)


@st.composite
def components(draw: st.DrawFn) -> Component:
    """What further nodes of a job may ask for."""
    tasks = draw(st.integers(1, 2))
    return Component(
        task_count=tasks,
        cpus_per_task=draw(st.integers(1, 2)),
        memory_bytes_per_node=draw(st.sampled_from([0, GIB])),
        gpus_per_node=draw(st.sampled_from([0, 0, 1])),
        features=draw(st.sampled_from([(), (), ("fast",)])),
    )


@st.composite
def specs(draw: st.DrawFn, job_count: int) -> JobSpec:
    """Valid requests of every kind, most of which fit somewhere."""
    node_count = draw(st.sampled_from([1, 1, 2, 3]))
    array = None
    if draw(st.booleans()):
        indices = draw(st.sampled_from([((0, 1),), ((0, 4),), ((1, 3), (5, 6))]))
        array = ArraySpec(indices, draw(st.none() | st.integers(1, 2)))
    dependencies = draw(_dependencies(job_count, array is not None)) if job_count else ()
    is_rare = draw(st.integers(0, 3)) == 0
    has_components = array is None and node_count < 3 and draw(st.integers(0, 3)) == 0
    return JobSpec(
        components=tuple(draw(st.lists(components(), min_size=1, max_size=2))) if has_components else (),
        name=draw(st.sampled_from(["a", "b"])),
        partition=draw(st.sampled_from([ALL, ALL, SOME])),
        command=("true",),
        node_count=node_count,
        task_count=node_count + draw(st.integers(0, 1)),
        memory_bytes_per_node=draw(st.sampled_from([0, 0, GIB, 3 * GIB])),
        gpus_per_node=draw(st.integers(0, 1)) if is_rare else 0,
        gpu_type=draw(st.sampled_from(["", "h100"])) if is_rare else "",
        generic_per_node=draw(st.sampled_from([(), (("licence", 1),)])) if is_rare else (),
        features=draw(st.sampled_from([(), ("fast",)])) if is_rare else (),
        is_exclusive=draw(st.booleans()) if is_rare else False,
        walltime_s=draw(st.none() | st.integers(1, 1000).map(float)),
        array=array,
        dependencies=dependencies,
        needs_all_dependencies=draw(st.booleans()) or any(d.kind is DependencyKind.AFTERCORR for d in dependencies),
        priority=draw(st.integers(-1, 1)),
        begin_time_s=draw(st.sampled_from([0.0, 1300.0, 2000.7])) if is_rare else 0.0,
        is_held=draw(st.booleans()) if is_rare else False,
        spread=draw(st.sampled_from([Spread.NODE, Spread.JOB])),
        inputs=draw(st.sampled_from([(), (), ("data",)])),
    )


@st.composite
def _dependencies(draw: st.DrawFn, job_count: int, is_array: bool) -> tuple[Dependency, ...]:
    kinds = [kind for kind in DependencyKind if is_array or kind is not DependencyKind.AFTERCORR]
    found = []
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        kind = draw(st.sampled_from(kinds))
        parent = 0 if kind is DependencyKind.SINGLETON else draw(st.integers(max(1, job_count - 2), job_count))
        found.append(Dependency(kind, JobId(parent)))
    return tuple(found)


class CoreMachine(RuleBasedStateMachine):
    world: World

    @initialize(cluster=small_clusters(), data=st.data())
    def begin(self, cluster: Cluster, data: st.DataObject) -> None:
        self.cluster = cluster
        self.world = World(cluster)
        self.seen: list[PartsChanged] = []
        self.world.join()
        for _ in range(3):
            self._try(Submit((Submission("", ADA, data.draw(specs(len(self.world.witness.jobs)))),)))

    # -- people --------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), owner=OWNERS, client_id=st.sampled_from(["", "", "", "x"]))
    def submit(self, data: st.DataObject, owner: Owner, client_id: str) -> None:
        made = data.draw(st.lists(specs(len(self.world.witness.jobs)), min_size=1, max_size=2))
        submissions = tuple(Submission(f"{client_id}{n}" if client_id else "", owner, s) for n, s in enumerate(made))
        self._try(Submit(submissions))

    @rule(which=NUMBERS, part=st.sampled_from([None, None, 0, 1]), verb=st.sampled_from(VERBS))
    def control(self, which: int, part: int | None, verb: Any) -> None:
        """Jobs that hold nodes first: there it is interesting."""
        jobs = self.world.witness.jobs
        active = [job_id for job_id, job in jobs.items() if job.phases()["active"]]
        job_id = (active or list(jobs) or [JobId(1)])[which % max(1, len(active or jobs))]
        if which % 5 == 0:
            job_id = JobId(which // 5 % (len(jobs) + 1) + 1)
        if verb is SetPriority:
            self._try(SetPriority(job_id, which % 3, "root"))
            return
        indices = None
        if part is not None and job_id in jobs and jobs[job_id].spec.array:
            indices = RangeSet((index, index + 1) for index in sorted(jobs[job_id].elements)[part::2]).ranges()
        self._try(verb(JobSelection(job_id, indices), "ada"))

    @rule(which=NUMBERS, data=st.data(), what=st.sampled_from(["drain", "resume", "resume", "change", "restore"]))
    def operate(self, which: int, data: st.DataObject, what: str) -> None:
        """Drain and resume; nodes shrink, grow, go and come back."""
        name = self._node(which)
        match what:
            case "drain":
                self._try(DrainNode(name, "work", "root"))
            case "resume":
                self._try(ResumeNode(name, "root"))
            case "change":
                self.world.define(data.draw(changed(self.cluster)))
            case _:
                self.world.define(self.cluster)

    # -- nodes and the network -----------------------------------------------------------------------------------------

    @rule(which=NUMBERS, count=st.integers(1, 5))
    def deliver(self, which: int, count: int) -> None:
        self.world.deliver(self._node(which), count)

    @rule(engine=st.sampled_from(ENGINES), does_join=st.sampled_from([True, True, False]))
    def work(self, engine: Engine, does_join: bool) -> None:
        """All goes well for a while."""
        self.world.core.engine = engine
        if does_join:
            self.world.join()
        for stage in list(self.world.staging):
            self.world.staged(stage.key)
        self.world.settle()

    @rule(which=NUMBERS, end=ENDS, count=st.integers(1, 3))
    def finish_and_report(self, which: int, end: End, count: int) -> None:
        running = [(name, key) for name, node in self.world.nodes.items() for key in node.running()]
        for name, key in (running[which % len(running) :] if running else [])[:count]:
            self.world.finish(name, key, end)
            self.world.report(name, key)

    @rule(which=NUMBERS, many=st.integers(1, 3), is_reversed=st.booleans())
    def report(self, which: int, many: int, is_reversed: bool) -> None:
        """A batch of true reports, some of them doubled."""
        node = self.world.nodes[self._node(which)]
        parts = list(node.parts.values()) * many
        if parts and node.is_in_contact:
            message = PartsChanged(node.node.name, tuple(reversed(parts) if is_reversed else parts))
            self.seen.append(message)
            self.world.tell(message)

    @precondition(lambda self: self.seen)
    @rule(which=NUMBERS)
    def report_again(self, which: int) -> None:
        """A report that was true once comes again, late."""
        self.world.tell(self.seen[which % len(self.seen)])

    @rule(which=NUMBERS, end=ENDS)
    def finish(self, which: int, end: End) -> None:
        running = [(name, key) for name, node in self.world.nodes.items() for key in node.running()]
        if running:
            self.world.finish(*running[which % len(running)], end)

    @rule(
        which=NUMBERS, index=st.integers(0, 3), attempt=st.integers(1, 2), job=st.integers(1, 4), is_end=st.booleans()
    )
    def report_nonsense(self, which: int, index: int, attempt: int, job: int, is_end: bool) -> None:
        """A node claims that something which it never had has ended, or runs."""
        node = self._node(which)
        key = AttemptKey(JobId(job), index, attempt)
        if key not in self.world.nodes[node].parts and not any(
            key == a.key and node in a.parts_left for a in self.world.state.allocations.values()
        ):
            status = PartStatus(key, 5.0, 6.0, OK) if is_end else PartStatus(key, 5.0)
            self.world.tell(PartsChanged(node, (status,)))

    @precondition(lambda self: self.world.state.allocations)
    @rule(which=NUMBERS, is_lost=st.booleans(), is_reboot=st.booleans())
    def lose(self, which: int, is_lost: bool, is_reboot: bool) -> None:
        name = self._node(which)
        self.world.nodes[name].is_in_contact = False
        if is_reboot:
            self.world.reboot(name)
        self.world.tell(NodeLost(name, "test") if is_lost else NodeSilent(name))

    @rule(which=NUMBERS)
    def join(self, which: int) -> None:
        self.world.join(self._node(which))

    @precondition(lambda self: self.world.staging)
    @rule(which=NUMBERS, is_done=st.booleans())
    def stage(self, which: int, is_done: bool) -> None:
        if self.world.staging:
            key = self.world.staging[which % len(self.world.staging)].key
            self.world.tell(StagingDone(key, 1) if is_done else StagingFailed(key, "no such file"))

    # -- time and engines ----------------------------------------------------------------------------------------------

    @rule(delta_s=st.sampled_from([0.0, 0.1, 17.3, 200.0, 300.3, 1000.0]))
    def tick(self, delta_s: float) -> None:
        self.world.now_s += delta_s
        self.world.tell(Tick())

    @rule()
    def wake(self) -> None:
        """What is due at the time that the core asked for is done then: no shell is kept busy."""
        wake_s = self.world.core.next_wake_s()
        if wake_s is not None:
            self.world.now_s = max(self.world.now_s, wake_s)
            self.world.tell(Tick())
            self.world.plan()
            later_s = self.world.core.next_wake_s()
            assert later_s is None or later_s > self.world.now_s, "woken for nothing, for ever"

    @rule(engine=st.sampled_from(ENGINES))
    def plan(self, engine: Engine) -> None:
        decided = self.world.plan(engine)
        assert not decided.refused, f"{engine}: {decided.refused}"

    @rule(data=st.data())
    def plan_nonsense(self, data: st.DataObject) -> None:
        numbers = st.lists(st.integers(-1, len(self.world.nodes)), max_size=3).map(tuple)
        pending = list(self.world.state.queue)
        job_ids = st.sampled_from([*pending, JobId(0), *self.world.state.jobs])
        starts = st.builds(Start, job_ids, numbers, st.sampled_from([1, 1, 1, 2, 3, 0, -1]))
        reserves = st.builds(Reserve, job_ids, st.integers(0, 3000).map(float), numbers)
        made = data.draw(st.tuples(st.lists(starts, min_size=1, max_size=6), st.lists(reserves, max_size=2)))
        self.world.plan(Scripted(Plan(tuple(made[0]), tuple(made[1]))))

    @rule()
    def restart(self) -> None:
        """The daemon is killed and starts from a snapshot: nothing is decided differently."""
        self.world.core.state = State.load(self.world.state.dump())

    # -- checks --------------------------------------------------------------------------------------------------------

    @invariant()
    def dump_is_whole(self) -> None:
        if hasattr(self, "world"):
            check_dump(self.world.state)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self._put_everything_right()
            self.world.check_at_end()

    def _put_everything_right(self) -> None:
        """Faults stop, people are helpful: now every job ends, and nothing runs that is not wanted."""
        world = self.world
        world.now_s += 10_000.0
        world.core.engine = Easy()
        world.tell(Tick())
        for name in world.nodes:
            world.tell(ResumeNode(name, "root"))
        world.join()
        event_count = -1
        while len(world.events) != event_count:
            event_count = len(world.events)
            for job_id, record in list(world.state.jobs.items()):
                if record.held_by:
                    world.tell(Release(JobSelection(job_id), "root"))
            world.settle()
            running = [(name, key) for name, node in world.nodes.items() for key in node.running()]
            for stage in list(world.staging):
                world.staged(stage.key)
            for name, key in running:
                world.finish(name, key)
            for name, node in world.nodes.items():
                if node.parts:
                    world.report(name)
        held = [
            (
                activity.key,
                activity.is_launched,
                activity.parts_started,
                activity.parts_left,
                activity.cancel,
                activity.end,
            )
            for activity in world.state.allocations.values()
        ]
        assert not held, f"these hold nodes for ever: {held}; records: {[node.parts for node in world.nodes.values()]}"
        waiting = [job_id for job_id in world.state.jobs if self._fits(job_id)]
        assert not waiting, f"jobs {waiting} wait on an idle cluster"
        while world.state.jobs:
            world.cancel(next(iter(world.state.jobs)))
        assert all(not node.running() for node in world.nodes.values()), "processes that nobody wants"

    def _fits(self, job_id: JobId) -> bool:
        """Whether it could start now, on an idle cluster."""
        state = self.world.state
        record = state.jobs[job_id]
        numbers = state.partition_numbers.get(record.spec.partition, [])
        parts = record.shape.parts
        room = [mask_of([number for number in numbers if state.table.room_count(number, part)]) for part in parts]
        return record.startable_count > 0 and are_enough(parts, room)

    def _node(self, which: int) -> NodeName:
        return list(self.world.nodes)[which % len(self.world.nodes)]

    def _try(self, message: Any) -> None:
        """Send it; if it is refused, nothing has changed."""
        before = self.world.state.dump()
        try:
            self.world.tell(message)
        except UserError:
            assert self.world.state.dump() == before, "refused, and yet something changed"


TestCore = CoreMachine.TestCase
TestCore.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=timedelta(seconds=60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
