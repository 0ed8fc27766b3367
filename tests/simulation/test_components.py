"""Whole workloads in which many jobs ask for different nodes, in simulated time: with limits, licences, reservations,
preemption, lost nodes. All of them end, nothing is refused, and every decision is repeated from the journal."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import InvalidInput
from hal_core.models.component import Component
from hal_core.models.event import JobCancelRequested, JobPlaced, JobSubmitted, JobSuspended
from hal_core.models.job import JobId, JobSpec
from hal_core.models.message import AddReservation, JobSelection, Resume, Suspend
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName, Reservation
from hal_core.models.policy import Account
from hal_core.models.variant import VARIED, Variant
from hal_core.rules.core import Core
from hal_core.rules.explain import constraint
from hal_core.sim.decisions import repeat_decisions
from hal_core.sim.executor_model import Fault
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs
from hal_engine_backfill.preempting import Preempting
from tests.simulation.test_simulation import check
from tests.support.core_world import ADA, ALL, GIB, World, make_cluster, make_spec

URGENT = PartitionName("urgent")
ABLE = frozenset({"metal"})
"""Executors that can suspend."""
FAST = ("fast",)
ENGINES = {
    "fcfs": lambda: Preempting(Fcfs()),
    "easy": lambda: Preempting(Easy()),
    "easy-sjbf": lambda: Preempting(Easy(is_shortest_first=True), is_one_by_one=True),
    "conservative": lambda: Preempting(Conservative()),
    "reserve": lambda: Preempting(Conservative(promise_max=2)),
    "hal": lambda: Preempting(Expansion(60.0, 5 * 86_400.0), is_one_by_one=True),
}
NODES = tuple(
    Node(NodeName(f"n{number}"), 4, 8 * GIB, gpus=("a100",) * (number < 2), features=FAST * (number in (1, 3)))
    for number in range(5)
)
NAMES = tuple(node.name for node in NODES)


def a_cluster(random: Random, is_limited: bool) -> Cluster:
    """Five nodes: two with a GPU, two fast, one of them both. Limited, nobody may have more CPUs than all, or most."""
    limits = (("user.cpus", random.choice([20, 16])),) if is_limited else ()
    partitions = (
        Partition(ALL, NAMES, is_default=True, limits=limits),
        Partition(URGENT, NAMES, priority=10, preempts=(ALL,) if random.random() < 0.5 else ()),
    )
    return Cluster("test", NODES, partitions, licences=(("matlab", 2),))


def a_component(random: Random) -> Component:
    tasks = random.choice([1, 1, 2])
    return Component(
        1,
        tasks,
        random.choice([1, 2]),
        random.choice([0, 0, 2 * GIB]),
        random.choice([0, 0, 1]),
        features=random.choice([(), FAST]),
    )


def a_job(random: Random, number: int, is_limited: bool) -> WorkloadJob:
    """At most one component wants the GPU, and one a fast node beside it: so each may start some day."""
    components = [a_component(random) for _ in range(random.choice([0, 1, 1, 2]))]
    for at, each in enumerate(components):
        if at:
            components[at] = attrs.evolve(each, gpus_per_node=0, features=())
    limit_s = float(random.randint(10, 300))
    spec = make_spec(
        name=f"job{number}",
        partition=random.choice([ALL, ALL, URGENT]),
        node_count=(nodes := random.choice([1, 1, 2])),
        task_count=nodes,
        cpus_per_task=random.randint(1, 4),
        components=tuple(components),
        walltime_s=limit_s,
        licences=random.choice([(), (), (("matlab", 1),)]),
        is_exclusive=random.random() < 0.1,
        can_requeue=True,
        reservation="course" if random.random() < 0.1 else "",
    )
    if not components and not spec.licences and not is_limited:
        spec = random.choice([spec, with_variants(spec), attrs.evolve(spec, elastic_weight=1, reservation="")])
    return WorkloadJob(float(random.randint(0, 400)), spec, ADA, random.uniform(1.0, limit_s))


def with_variants(spec: JobSpec) -> JobSpec:
    """On one node more, for half as long."""
    first = Variant(**{name: getattr(spec, name) for name in VARIED})
    wider = attrs.evolve(first, node_count=spec.node_count + 1, task_count=spec.task_count + 1, run_ratio=0.5)
    return attrs.evolve(spec, variants=(first, wider))


def simulated(seed: int, engine: str) -> Simulation:
    random = Random(seed)
    is_limited = random.random() < 0.5
    simulation = Simulation(Core(ENGINES[engine](), engine), a_cluster(random, is_limited))
    kept = NAMES[: random.randint(3, 5)]
    course = Reservation("course", kept, 100.0, random.choice([900.0, 2000.0]), users=("ada",), by="oper")
    simulation.post(0.0, AddReservation(course))
    simulation.add_workload(Workload.of([a_job(random, number, is_limited) for number in range(random.randint(1, 25))]))
    for job_id in random.choices(range(1, 10), k=random.choice([0, 8])):
        aside_s, selection = float(random.randint(20, 400)), JobSelection(JobId(job_id))
        simulation.post(aside_s, Suspend(selection, "root", ABLE))
        simulation.post(aside_s + random.choice([1.0, 60.0]), Resume(selection, "root"))
    lost_s = float(random.randint(0, 300))
    simulation.add_faults([Fault(random.choice(NAMES), lost_s, lost_s + random.choice([5.0, 60.0]))])
    simulation.run()
    return simulation


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 1 << 32), engine=st.sampled_from(sorted(ENGINES)))
def test_all_that_may_start_ends_and_every_decision_is_repeated(seed: int, engine: str) -> None:
    simulation = simulated(seed, engine)
    check(simulation)
    state = simulation.core.state
    left = [record for record in state.jobs.values() if not record.spec.reservation]
    assert not left, f"these wait for ever: {[record.job_id for record in left]}"
    verdict = repeat_decisions(lambda: simulation.events, lambda _: ENGINES[engine]())
    assert verdict.differences == ()


def test_the_workloads_have_what_is_hard() -> None:
    found: set[str] = set()
    for seed in range(40):
        simulation = simulated(seed, "easy")
        specs = {event.job_id: event.spec for event in simulation.events if isinstance(event, JobSubmitted)}
        for event in simulation.events:
            if isinstance(event, JobPlaced | JobSuspended | JobCancelRequested) and specs[event.job_id].components:
                found.add(type(event).__name__)
            if isinstance(event, JobCancelRequested) and event.preempted_for is not None:
                found |= {"preempted for one"} if specs[event.preempted_for].components else set()
    assert found >= {"JobPlaced", "JobSuspended", "JobCancelRequested", "preempted for one"}


MIXED: dict[str, Any] = {"cpus_per_task": 3, "components": (Component(2, 4, 2, GIB),)}


def test_limits_count_the_sum_of_all_components() -> None:
    account = Account("physics", limits=(("cpus", 10),), users=(("ada", 1),))
    world = World(attrs.evolve(make_cluster(4), accounts=(account,)), Easy()).join()
    with pytest.raises(InvalidInput, match="11"):
        world.submit(**MIXED, account="physics")
    job_id = world.submit(**{**MIXED, "cpus_per_task": 2}, account="physics")
    world.plan()
    shares = world.state.jobs[job_id].active[0].shares
    assert [(share.cpus, share.task_count, share.memory_bytes) for share in shares] == [
        ("0-1", 1, 0),
        ("0-3", 2, GIB),
        ("0-3", 2, GIB),
    ]


@pytest.mark.parametrize("engine", ["easy", "conservative"])
def test_explain_names_what_its_components_lack(engine: str) -> None:
    world = World(make_cluster(3), ENGINES[engine]()).join()
    world.submit(cpus_per_task=4)
    job_id = world.submit(**MIXED)
    world.plan()
    record = world.state.jobs[job_id]
    found = constraint(world.state, record)
    assert found is not None
    assert found.text == "its 2 components ask for 3 different nodes; 2 have room for any of them"
    world.submit(cpus_per_task=2)
    world.plan()
    assert not record.active, "it has waited longer than one that came later, and which would be in its way"


def test_who_needs_the_room_of_it_has_all_of_it_ended() -> None:
    urgent = Partition(URGENT, NAMES, priority=10, preempts=(ALL,))
    cluster = Cluster("test", NODES, (Partition(ALL, NAMES, is_default=True), urgent))
    first = WorkloadJob(0.0, make_spec(**MIXED, node_count=3, task_count=3, walltime_s=900.0), ADA, 800.0)
    second = WorkloadJob(100.0, make_spec(partition=URGENT, cpus_per_task=4, walltime_s=60.0), ADA, 50.0)
    simulation = Simulation(Core(Preempting(Easy()), "easy"), cluster)
    simulation.add_workload(Workload.of([first, second]))
    simulation.run()
    check(simulation)
    placements = (event for event in simulation.events if isinstance(event, JobPlaced))
    placed = [(event.time_s, event.job_id, len(event.shares)) for event in placements]
    assert placed == [(0.0, 1, 5), (100.0, 2, 1), (150.0, 1, 5)]
