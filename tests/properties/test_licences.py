"""Licences are room like any other: never given twice, part of every promise, and whoever waits for one is told."""

from __future__ import annotations

from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import InvalidInput
from hal_core.models.event import JobEnded, JobPlaced, Planned
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.node import Cluster, Partition, PartitionName
from hal_core.models.plan import Plan, Snapshot, Start
from hal_core.models.ranges import members
from hal_core.planes import Engine
from hal_core.rules.core import Core
from hal_core.rules.explain import explain
from hal_core.rules.state import State
from hal_core.rules.waiting import Waiting
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ALL, World, make_cluster

ENGINES = (Easy, Fcfs, Conservative)
SECOND = PartitionName("second")


def cluster_of(node_count: int, matlab: int) -> Cluster:
    """Two partitions with nodes of their own, and licences that both draw from."""
    cluster = make_cluster(2 * node_count)
    names = cluster.partitions[0].nodes
    parts = (Partition(ALL, names[:node_count], True), Partition(SECOND, names[node_count:]))
    return attrs.evolve(cluster, partitions=parts, licences=(("ansys", 1), ("matlab", matlab)))


def lone_node(matlab: int) -> Cluster:
    """A cluster of one node, for which engines have ways of their own."""
    return attrs.evolve(make_cluster(1), licences=(("ansys", 1), ("matlab", matlab)))


def workload(seed: int, most: int, is_lone: bool = False) -> Workload:
    random, jobs = Random(seed), []
    for number in range(random.randint(1, 30)):
        licences = random.choice([(), (("matlab", random.randint(1, most)),), (("ansys", 1), ("matlab", 1))])
        node_count = 1 if is_lone else random.choice([1, 1, 2])
        limit_s = float(random.randint(10, 400))
        spec = JobSpec(
            f"job{number}",
            ALL if is_lone else random.choice([ALL, SECOND]),
            command=("x",),
            node_count=node_count,
            task_count=node_count,
            cpus_per_task=random.randint(1, 4),
            walltime_s=limit_s,
            licences=licences,
        )
        jobs.append(WorkloadJob(float(random.randint(0, 300)), spec, Owner("ada", 1, 1), limit_s))
    return Workload.of(jobs)


@given(
    node_count=st.integers(1, 4),
    matlab=st.integers(1, 4),
    seed=st.integers(0, 1 << 32),
    engine=st.sampled_from(ENGINES),
)
@settings(max_examples=60, deadline=None)
def test_licences_are_never_given_twice_and_promises_are_kept(
    node_count: int, matlab: int, seed: int, engine: type[Engine]
) -> None:
    """Jobs run to their limits here, so that a promise that moves later was broken by backfill."""
    is_lone = node_count == 1
    cluster = lone_node(matlab) if is_lone else cluster_of(node_count, matlab)
    simulation = Simulation(Core(engine(), "engine"), cluster)
    simulation.add_workload(workload(seed, matlab, is_lone))
    simulation.run()
    specs = {event.job_id: event.spec for event in simulation.events if hasattr(event, "spec")}
    declared, held = dict(cluster.licences), dict.fromkeys(dict(cluster.licences), 0)
    promised: dict[JobId, float] = {}
    for event in simulation.events:
        match event:
            case JobPlaced() | JobEnded():
                sign = 1 if isinstance(event, JobPlaced) else -1
                for _ in members(event.elements):
                    for name, count in specs[event.job_id].licences:
                        held[name] += sign * count
                        assert 0 <= held[name] <= declared[name], (event, held)
                if isinstance(event, JobPlaced):
                    assert event.time_s <= promised.get(event.job_id, event.time_s) + 1e-6, "later than promised"
            case Planned():
                for job_id, start_s in event.reserves:
                    assert start_s <= promised.get(job_id, start_s) + 1e-6, (job_id, start_s, promised[job_id])
                    promised[job_id] = start_s
            case _:
                pass
    assert not simulation.core.state.jobs, "every job gets its turn"


def licensed(matlab: int = 3) -> World:
    return World(cluster_of(2, matlab)).join()


def test_a_backfilled_job_leaves_a_promised_licence_alone() -> None:
    """The second job is promised all licences when the first ends; the third is in the way, the fourth is not."""
    world = licensed()
    one = (("matlab", 1),)
    first = world.submit(walltime_s=100.0, licences=one)
    second = world.submit(walltime_s=100.0, licences=(("matlab", 3),))
    third = world.submit(walltime_s=900.0, licences=one, partition=SECOND)
    fourth = world.submit(walltime_s=90.0, licences=one, partition=SECOND)
    fifth = world.submit(walltime_s=900.0, partition=SECOND)
    for engine in (Easy(), Conservative()):
        world.plan(engine)
    assert [bool(world.job(each).active) for each in (first, second, third, fourth, fifth)] == [
        *(True, False, False, True, True)
    ]
    assert world.state.reserves[0] == (second, world.now_s + 100.0)
    reason = Waiting(world.state, world.now_s).reason(world.job(second))
    assert reason is not None
    assert (reason.kind, reason.text) == ("licence", "waits for licence matlab: 2 of 3 in use, and it takes 3")
    found = explain(world.state, world.job(second), world.now_s)
    assert found.constraint is not None
    assert found.constraint.text == "licence matlab: 2 of 3 in use, and it takes 3"


@attrs.frozen
class Stubborn:
    """An engine that starts one job on one node, come what may."""

    job_id: JobId

    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan((Start(self.job_id, (1,)),))


def test_the_engine_is_not_believed() -> None:
    world = licensed(1)
    world.submit(licences=(("matlab", 1),))
    world.plan(Easy())
    other = world.submit(licences=(("matlab", 1),))
    decided = world.plan(Stubborn(other))
    assert [each.reason for each in decided.refused] == ["licence matlab: 1 of 1 in use, and it takes 1"]


def test_an_array_takes_a_licence_for_each_element() -> None:
    for engine in ENGINES:
        world = licensed(3)
        job_id = world.submit(array="0-9", licences=(("matlab", 1),), walltime_s=60.0)
        world.plan(engine())
        assert len(world.job(job_id).active) == 3
        loaded = State.load(world.state.dump())
        assert dict(loaded.limits.licences.free()) == {"ansys": 1, "matlab": 0}


def test_what_there_is_not_is_refused_with_the_nearest_name() -> None:
    world = licensed(3)
    with pytest.raises(InvalidInput, match=r"no licence 'matlba'.*matlab.*there are: ansys, matlab"):
        world.submit(licences=(("matlba", 1),))
    with pytest.raises(InvalidInput, match="4 of licence 'matlab'; there are only 3"):
        world.submit(licences=(("matlab", 4),))


def test_fewer_licences_than_are_held_let_nobody_start() -> None:
    world = licensed(3)
    world.submit(licences=(("matlab", 3),))
    world.plan(Easy())
    world.define(cluster_of(2, 2))
    second = world.submit(licences=(("matlab", 1),))
    for engine in ENGINES:
        world.plan(engine())
    assert not world.job(second).active


FEATURES = ("a", "b", "c")


@given(
    has=st.lists(st.sets(st.sampled_from(FEATURES)), min_size=1, max_size=5),
    features=st.sets(st.sampled_from(FEATURES), max_size=1),
    alternatives=st.lists(st.sets(st.sampled_from(FEATURES), min_size=1), max_size=3),
    engine=st.sampled_from(ENGINES),
)
@settings(max_examples=60, deadline=None)
def test_a_constraint_is_held_on_every_node(
    has: list[set[str]], features: set[str], alternatives: list[set[str]], engine: type[Engine]
) -> None:
    cluster = make_cluster(len(has))
    nodes = tuple(
        attrs.evolve(node, features=tuple(sorted(some))) for node, some in zip(cluster.nodes, has, strict=True)
    )
    world = World(attrs.evolve(cluster, nodes=nodes)).join()
    wanted = tuple(tuple(sorted(some)) for some in alternatives)
    job_id = world.submit(features=tuple(features), alternatives=wanted, cpus_per_task=4, walltime_s=60.0)
    world.plan(engine())
    suiting = {
        number
        for number, some in enumerate(has)
        if features <= some and (not alternatives or any(each <= some for each in alternatives))
    }
    active = world.job(job_id).active
    assert bool(active) == bool(suiting)
    for activity in active.values():
        assert set(activity.node_numbers) <= suiting
