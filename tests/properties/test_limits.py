"""Limits over random clusters: none is ever exceeded, none keeps anything waiting that it does not name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import InvalidInput
from hal_core.models.event import Event, JobEnded, JobPlaced, JobRequeued, JobSubmitted, Planned
from hal_core.models.job import ArraySpec, JobId, JobSpec, Owner
from hal_core.models.message import Submission, Submit
from hal_core.models.node import Cluster, NodeName
from hal_core.models.plan import Plan, Snapshot, Start
from hal_core.models.policy import LIMIT_NAMES, Account, Limits, Priorities, Qos
from hal_core.models.ranges import members
from hal_core.planes import Engine
from hal_core.rules.core import Core
from hal_core.rules.explain import explain
from hal_core.rules.state import State
from hal_core.rules.waiting import Waiting
from hal_core.sim.executor_model import Fault
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ADA, ALL, World, make_cluster, make_spec
from tests.support.invariants import check_state

USERS = ("ada", "bob", "eve")
ACCOUNTS = {"ada": "physics", "bob": "optics", "eve": "biology"}
LEAST = {"cpus": 8, "gpus": 4, "cpu_minutes": 200, "gpu_minutes": 100, "running_jobs": 1, "pending_jobs": 0}
ENGINES = (Easy, Fcfs, Conservative)
SEEDS = st.integers(0, 1 << 32)


@st.composite
def some_limits(draw: st.DrawFn) -> Limits:
    """At least so much that every job of the workload may start some day."""
    names = draw(st.lists(st.sampled_from(LIMIT_NAMES), max_size=3, unique=True))
    return tuple(sorted((name, LEAST[name.removeprefix("user.")] + draw(st.integers(0, 12))) for name in names))


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    cluster = make_cluster(draw(st.integers(1, 3)), cpu_count=8, gpus=("a", "a", "a", "a"))
    accounts = (
        Account("physics", limits=draw(some_limits()), users=(("ada", 1),)),
        Account("optics", "physics", limits=draw(some_limits())),
        Account("biology", limits=draw(some_limits())),
    )
    return attrs.evolve(
        cluster,
        partitions=(attrs.evolve(cluster.partitions[0], limits=draw(some_limits())),),
        accounts=accounts,
        qos=(Qos("normal", is_default=True, limits=draw(some_limits())), Qos("short", limits=draw(some_limits()))),
        limits=draw(some_limits()),
        priorities=Priorities(half_life_s=draw(st.sampled_from([600.0, 3600.0]))),
    )


def workload(seed: int) -> Workload:
    random, jobs = Random(seed), []
    for number in range(random.randint(1, 30)):
        user = random.choice(USERS)
        array = ArraySpec(((0, random.randint(2, 6)),)) if random.random() < 0.2 else None
        limit_s = random.choice([60.0, 600.0])
        spec = JobSpec(
            f"job{number}",
            ALL,
            command=("x",),
            cpus_per_task=random.randint(1, 4),
            gpus_per_node=random.choice([0, 0, 1, 2]),
            walltime_s=limit_s,
            is_exclusive=random.random() < 0.1,
            account=ACCOUNTS[user],
            qos=random.choice(["normal", "short"]),
            array=array,
            can_requeue=random.random() < 0.5,
        )
        owner = Owner(user, 1000, 1000)
        jobs.append(WorkloadJob(random.uniform(0.0, 900.0), spec, owner, random.uniform(1.0, limit_s)))
    return Workload.of(jobs)


class Facts:
    """What the events say, counted in the plainest way: a limit is a sum over jobs."""

    def __init__(self, cluster: Cluster) -> None:
        self.half_life_s = cluster.priorities.half_life_s
        self.jobs: dict[int, tuple[Owner, JobSpec]] = {}
        self.held: dict[tuple[int, int], tuple[float, int, int]] = {}
        self.past: list[tuple[int, float, float, int, int]] = []
        self.cluster = cluster

    def see(self, event: Event) -> None:
        match event:
            case JobSubmitted():
                self.jobs[event.job_id] = (event.owner, event.spec)
            case JobPlaced():
                cpus = sum(len(numbers(share.cpus)) for share in event.shares)
                gpus = sum(len(numbers(share.gpus)) for share in event.shares)
                count = len(list(members(event.elements)))
                for index in members(event.elements):
                    self.held[event.job_id, index] = (event.time_s, cpus // count, gpus // count)
            case JobEnded():
                for index in members(event.elements):
                    self._end((event.job_id, index), event.time_s)
            case JobRequeued():
                self._end((event.key.job_id, event.key.index), event.time_s)
            case _:
                pass

    def _end(self, key: tuple[int, int], time_s: float) -> None:
        if key in self.held:
            start_s, cpus, gpus = self.held.pop(key)
            self.past.append((key[0], start_s, time_s, cpus, gpus))

    def limits(self) -> Iterator[tuple[str, str, str, int]]:
        cluster = self.cluster
        scopes = [("cluster", "", cluster.limits), ("partition", ALL, cluster.partitions[0].limits)]
        scopes += [("account", each.name, each.limits) for each in cluster.accounts]
        scopes += [("qos", each.name, each.limits) for each in cluster.qos]
        for kind, name, limits in scopes:
            for what, most in limits:
                for user in USERS if what.startswith("user.") else ("",):
                    yield kind, name, f"{what.removeprefix('user.')}/{user}", most

    def is_in(self, job_id: int, kind: str, name: str, user: str) -> bool:
        owner, spec = self.jobs[job_id]
        mine = {"cluster": {""}, "partition": {spec.partition}, "qos": {spec.qos}}
        mine["account"] = {spec.account, "physics"} if spec.account == "optics" else {spec.account}
        return name in mine[kind] and user in ("", owner.user)

    def current(self, kind: str, name: str, what: str, user: str, now_s: float) -> float:
        held = [row for key, row in self.held.items() if self.is_in(key[0], kind, name, user)]
        if what == "running_jobs":
            return len(held)
        at = 1 if what.startswith("cpu") else 2
        if what in ("cpus", "gpus"):
            return sum(row[at] for row in held)
        rows = [row for row in self.past if self.is_in(row[0], kind, name, user)]
        seconds = sum(row[at + 2] * self.discounted(row[1], row[2], now_s) for row in rows)
        return (seconds + sum(row[at] * self.discounted(row[0], now_s, now_s) for row in held)) / 60

    def discounted(self, start_s: float, end_s: float, now_s: float) -> float:
        rate = math.log(2.0) / self.half_life_s
        return (math.exp(-rate * (now_s - end_s)) - math.exp(-rate * (now_s - start_s))) / rate


def numbers(text: str) -> list[int]:
    spans = [span.partition("-") for span in text.split(",") if span]
    return [number for low, _, high in spans for number in range(int(low), int(high or low) + 1)]


def run(cluster: Cluster, seed: int, engine: Engine) -> Simulation:
    simulation = Simulation(Core(engine, "engine"), cluster)
    simulation.add_faults([Fault(NodeName("n0"), 500.0, 900.0)])
    simulation.add_workload(workload(seed))
    simulation.run()
    return simulation


@given(cluster=clusters(), seed=st.integers(0, 1 << 32), engine=st.sampled_from(ENGINES))
@settings(max_examples=40, deadline=None)
def test_no_limit_is_ever_exceeded_and_all_jobs_end(cluster: Cluster, seed: int, engine: type[Engine]) -> None:
    simulation = run(cluster, seed, engine())
    facts = Facts(cluster)
    for event in simulation.events:
        facts.see(event)
        assert not isinstance(event, Planned) or not event.refused_count, "the engine started what a limit forbids"
        if isinstance(event, JobPlaced | JobEnded):
            for kind, name, key, most in facts.limits():
                what, _, user = key.partition("/")
                if what != "pending_jobs":
                    current = facts.current(kind, name, what, user, event.time_s)
                    assert current <= most + 1e-6, (event, kind, name, key, current, most)
    state = simulation.core.state
    check_state(state)
    assert not state.jobs, "a job that a limit held was never let go"
    assert not any(tally.running or tally.cpus or tally.pending for tally in state.limits.tallies())


@given(
    cluster=clusters(), seed=st.integers(0, 1 << 32), until_s=st.floats(0.0, 1200.0), engine=st.sampled_from(ENGINES)
)
@settings(max_examples=40, deadline=None)
def test_who_waits_is_held_by_a_limit_or_by_room(
    cluster: Cluster, seed: int, until_s: float, engine: type[Engine]
) -> None:
    """Work conserving but for limits: the first of the queue that no limit holds does not fit; who is held is told."""
    simulation = Simulation(Core(engine(), "engine"), cluster)
    simulation.add_workload(workload(seed))
    simulation.run(until_s)
    state, now_s = simulation.core.state, simulation.now_s
    waiting = Waiting(state, now_s)
    loaded = State.load(state.dump())
    free = [record for record in map(state.jobs.__getitem__, state.queue) if waiting.limit(record) is None]
    if free:
        first = free[0]
        rooms = [state.table.room_count(number, first.shape) for number in state.partition_numbers[ALL]]
        assert not any(rooms) or engine is not Easy, "the first that may start has room and does not start"
    for record in map(state.jobs.__getitem__, state.queue):
        hit = waiting.limit(record)
        if hit is not None:
            found = explain(state, record, now_s)
            assert found.constraint is not None
            assert found.reason == "limit"
            assert found.constraint.resource == "limit"
            assert found.text.startswith("limit ")
            assert all(job_id != record.job_id for job_id, _ in state.reserves), "a promise to whom a limit holds"
        mine = Waiting(loaded, now_s).limit(loaded.jobs[record.job_id])
        assert (mine and mine.text) == (hit and hit.text), "a loaded state counts differently"


class Greedy:
    """An engine that has never heard of limits: it starts whatever has room."""

    def plan(self, snapshot: Snapshot) -> Plan:
        room = snapshot.room()
        starts = []
        for job in snapshot.pending():
            ask = room.packing.ask(job.shape)
            for _ in range(job.element_count):
                chosen = room.choose(ask)
                if chosen:
                    room.take(chosen, ask)
                    starts.append(Start(job.job_id, chosen))
        return Plan(tuple(starts))


def limited(most: int, **fields: object) -> World:
    cluster = attrs.evolve(make_cluster(3), qos=(Qos("short", is_default=True, limits=(("user.running_jobs", most),)),))
    return World(attrs.evolve(cluster, **fields), is_checked=False).join()


def test_the_engine_is_not_believed_and_the_limit_is_named() -> None:
    world = limited(2)
    for _ in range(4):
        world.submit(walltime_s=60.0)
    decided = world.plan(Greedy())
    assert len(decided.refused) == 2
    assert {each.reason for each in decided.refused} == {"limit user.running_jobs of quality of service short: 2 of 2"}
    found = explain(world.state, world.job(JobId(3)), world.now_s)
    assert found.text == "limit user.running_jobs of quality of service short: 2 of 2"
    assert found.constraint is not None
    assert found.constraint.text.endswith("in use by ada (2 running)")


def test_who_is_at_the_limit_holds_nobody_up() -> None:
    world = limited(1)
    first, second = world.submit(walltime_s=60.0), world.submit(walltime_s=60.0, cpus_per_task=4)
    other = world.tell(Submit((Submission("", Owner("bob", 7, 7), make_spec(walltime_s=60.0)),)))
    assert isinstance(other, tuple)
    world.plan(Easy())
    assert [bool(world.job(job_id).active) for job_id in (first, second, other[0])] == [True, False, True]
    assert not world.state.reserves


def test_an_array_gets_what_is_left() -> None:
    world = limited(3)
    job_id = world.submit(array="0-9", walltime_s=60.0)
    for engine in ENGINES:
        world.plan(engine())
        assert len(world.job(job_id).active) == 3


def test_minutes_are_used_up_and_come_back() -> None:
    rules = Priorities(half_life_s=3600.0)
    world = limited(9, limits=(("cpu_minutes", 60),), priorities=rules)
    (job_id,) = world.tell(Submit((Submission("", ADA, make_spec(cpus_per_task=2, walltime_s=1200.0)),)))  # type: ignore[misc]
    second = world.submit(cpus_per_task=2, walltime_s=1200.0)
    world.plan(Easy())
    assert world.job(job_id).active
    assert not world.job(second).active, "40 and 40 minutes are more than 60"
    reason = Waiting(world.state, world.now_s).reason(world.job(second))
    assert reason is not None
    assert reason.text == "limit cpu_minutes of the cluster: 40 of 60, and it takes 40"
    with pytest.raises(InvalidInput, match="limit cpu_minutes of the cluster is 60, and it takes 80"):
        world.submit(cpus_per_task=4, walltime_s=1200.0)
    with pytest.raises(InvalidInput, match="and it has no time limit; give one"):
        world.submit()


def test_too_many_that_wait_are_refused_at_the_door() -> None:
    world = limited(9, limits=(("user.pending_jobs", 3),))
    world.submit(array="0-1", is_held=True)
    with pytest.raises(InvalidInput, match=r"limit user\.pending_jobs of the cluster: 2 of 3, and it takes 2"):
        world.submit(array="0-1")
    held = Submission("", ADA, make_spec(is_held=True))
    with pytest.raises(InvalidInput, match="3 of 3"):
        world.tell(Submit((held, held)))
    world.tell(Submit((held,)))


def test_limits_that_come_later_count_what_is_there() -> None:
    world = limited(9)
    for _ in range(3):
        world.submit(walltime_s=60.0)
    world.plan(Easy())
    world.define(attrs.evolve(world.state.cluster, limits=(("running_jobs", 3),)))
    fourth = world.submit(walltime_s=60.0)
    world.plan(Easy())
    reason = Waiting(world.state, world.now_s).reason(world.job(fourth))
    assert reason is not None
    assert reason.text == "limit running_jobs of the cluster: 3 of 3"
