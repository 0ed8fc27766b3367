"""Jobs that may run with several amounts: the one chosen was asked for and ends first, nobody else is worse off for it,
nothing is given twice, no room stays empty that a variant would fill, and a replay chooses the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings, strategies as st

from hal_core.models.event import JobPlaced, JobSubmitted, Planned, VariantChosen
from hal_core.models.job import ArraySpec, JobId, JobSpec
from hal_core.models.node import Cluster, NodeName
from hal_core.models.plan import Plan
from hal_core.models.variant import Variant
from hal_core.planes import Engine
from hal_core.rules import elastic, variants
from hal_core.rules.array_ends import ArrayEnds
from hal_core.rules.commit import commit
from hal_core.rules.core import Core
from hal_core.rules.elastic_jobs import elastic_of
from hal_core.rules.state import State
from hal_core.sim.decisions import repeat_decisions
from hal_core.sim.executor_model import Fault
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs
from hal_engine_backfill.preempting import Preempting
from tests.support.core_world import ADA, World, make_cluster, make_spec
from tests.support.invariants import check_state

ENGINES: dict[str, Callable[[], Engine]] = {
    "fcfs": Fcfs,
    "easy": lambda: Preempting(Easy()),
    "conservative": Conservative,
    "hal": lambda: Expansion(60.0, 86_400.0),
}
EXACT = sorted(set(ENGINES) - {"hal"})
"""Their promises are the earliest starts, without a margin for what is only expected."""
LIMITS_S = (60.0, 600.0, 3600.0)


def varied(random: Random, **fields: Any) -> JobSpec:
    """A job of up to four nodes, or with GPUs, or with CPUs in their place."""
    limit_s = random.choice([*LIMITS_S, None])
    found = [Variant(1, 1, random.randint(1, 4), 0, random.choice([0, 1, 2]), "", 0, limit_s)]
    found += [
        Variant(nodes, nodes, random.randint(1, 4), 0, 0, "", 0, limit_s, 0.1 + 0.9 / nodes)
        for nodes in range(2, random.randint(2, 5))
    ]
    if random.random() < 0.5 or len(found) == 1:
        other_s = random.choice(LIMITS_S)
        found.append(Variant(1, 1, random.randint(1, 4), 0, 0, "", 0, other_s, other_s / (limit_s or other_s)))
    spec = make_spec(walltime_s=limit_s, variants=tuple(found), **fields)
    return spec.in_variant(0)


def plain(random: Random, **fields: Any) -> JobSpec:
    nodes = random.choice([1, 1, 2, 3])
    cpus, gpus, limit_s = random.randint(1, 4), random.choice([0, 0, 1]), random.choice([*LIMITS_S, None])
    return make_spec(
        node_count=nodes, task_count=nodes, cpus_per_task=cpus, gpus_per_node=gpus, walltime_s=limit_s, **fields
    )


def cluster_of(random: Random, least: int = 2) -> Cluster:
    return make_cluster(random.randint(least, 6), gpus=("a100", "a100"))


def some_state(random: Random, cluster: Cluster, engine: Engine) -> Simulation:
    """Some jobs run, some wait, of both kinds."""
    jobs = []
    for _ in range(random.randint(0, 12)):
        array = ArraySpec(((0, random.randint(2, 9)),)) if random.random() < 0.3 else None
        spec = (varied if random.random() < 0.5 else plain)(random, array=array)
        jobs.append(WorkloadJob(random.uniform(0.0, 500.0), spec, ADA, 400.0))
    simulation = Simulation(Core(engine, "engine"), cluster)
    simulation.add_workload(Workload.of(jobs))
    simulation.run(random.uniform(0.0, 900.0))
    return simulation


def plan_of(state: State, engine: Engine, now_s: float) -> Plan:
    return variants.plan(engine, state, state.snapshot(now_s))


def ends_s(state: State, planned: Plan, now_s: float) -> dict[JobId, float]:
    """When each job is expected to end, of those that start or are promised a start; whichever variant it is in."""
    numbers = {choice.job_id: choice.variant for choice in planned.choices}
    starts_s = {reserve.job_id: reserve.start_time_s for reserve in planned.reserves}
    starts_s |= {start.job_id: now_s for start in planned.starts}
    found, ends = {}, ArrayEnds(state, now_s)
    for job_id, start_s in starts_s.items():
        record = state.jobs[job_id]
        if job_id in numbers:
            record = record.with_spec(record.spec.in_variant(numbers[job_id]))
        left = ends.left_of(record)
        found[job_id] = start_s + record.expected_s if left is None else left.last_end_s(record.expected_s, start_s)
    return found


@given(seed=st.integers(0, 1 << 32), name=st.sampled_from(sorted(ENGINES)))
@settings(max_examples=100, deadline=None)
def test_who_changes_ends_sooner_and_nobody_else_later(seed: int, name: str) -> None:
    random = Random(seed)
    engine = ENGINES[name]()
    simulation = some_state(random, cluster_of(random), engine)
    state, now_s = simulation.core.state, simulation.now_s
    without = elastic.plan(engine, state.snapshot(now_s), elastic_of(state))
    planned = plan_of(state, engine, now_s)
    before, after = ends_s(state, without, now_s), ends_s(state, planned, now_s)
    for choice in planned.choices:
        assert state.jobs[choice.job_id].spec.variants[choice.variant], "a variant that was not asked for"
        assert after[choice.job_id] == choice.expected_end_s
        assert choice.expected_end_s <= choice.otherwise_s == before.get(choice.job_id, math.inf)
    assert all(after[job_id] <= end_s + 1e-6 for job_id, end_s in before.items() if end_s < math.inf)
    assert {start.job_id for start in without.starts} - {each.job_id for each in planned.choices} <= {
        start.job_id for start in planned.starts
    }, "somebody lost a start"
    _, refused = commit(state, planned, "engine", now_s)
    assert not refused
    check_state(state)


@given(seed=st.integers(0, 1 << 32), name=st.sampled_from(EXACT))
@example(seed=2394, name="conservative")  # in its first variant it can never be promised a start
@example(seed=1722, name="fcfs")  # what would be worth waiting for is never promised
@settings(max_examples=100, deadline=None)
def test_the_first_who_waits_gets_what_is_best_of_all_variants_alone(seed: int, name: str) -> None:
    """One job that nobody stands before: it ends as early as the best of its variants would have let it."""
    random = Random(seed)
    engine = ENGINES[name]()
    simulation = Simulation(Core(engine, "engine"), cluster_of(random))
    running = [WorkloadJob(random.uniform(0.0, 100.0), plain(random), ADA, 400.0) for _ in range(random.randint(0, 8))]
    simulation.add_workload(Workload.of(running))
    simulation.run(random.uniform(0.0, 300.0))
    state, now_s = simulation.core.state, simulation.now_s
    if len(state.queue):
        return
    spec = varied(random)
    alone = []
    for number in range(len(spec.variants)):
        mine = State.load(state.dump())
        job_id = submit(mine, spec.in_variant(number), now_s)
        found = ends_s(mine, engine.plan(mine.snapshot(now_s)), now_s)
        alone.append(found.get(job_id, math.inf))
    job_id = submit(state, spec, now_s)
    assert ends_s(state, plan_of(state, engine, now_s), now_s).get(job_id, math.inf) == pytest.approx(min(alone))


def submit(state: State, spec: JobSpec, now_s: float) -> JobId:
    job_id = JobId(state.next_job_id)
    state.apply(JobSubmitted(now_s, job_id, "", ADA, spec))
    return job_id


@given(seed=st.integers(0, 1 << 32), name=st.sampled_from(sorted(ENGINES)))
@settings(max_examples=60, deadline=None)
def test_a_whole_run_is_right_and_is_decided_again_as_it_was(seed: int, name: str) -> None:
    random = Random(seed)
    cluster = cluster_of(random, least=4)  # every job can run
    jobs = [
        WorkloadJob(
            random.uniform(0.0, 2000.0),
            (varied if random.random() < 0.5 else plain)(random, can_requeue=random.random() < 0.5),
            ADA,
            random.uniform(1.0, 900.0),
        )
        for _ in range(random.randint(1, 15))
    ]
    simulation = Simulation(Core(ENGINES[name](), "engine"), cluster)
    simulation.add_faults([Fault(NodeName("n0"), 700.0, 1500.0)])
    simulation.add_workload(Workload.of(jobs))
    simulation.run()
    state = simulation.core.state
    check_state(state)
    assert not state.jobs, "a job never ran"
    chosen: dict[JobId, Variant] = {}
    for event in simulation.events:
        if isinstance(event, VariantChosen):
            chosen[event.job_id] = event.variant
        if isinstance(event, JobPlaced) and event.job_id in chosen:
            assert len(event.shares) == chosen[event.job_id].node_count
            assert sum(share.task_count for share in event.shares) == chosen[event.job_id].task_count
    replayed = State()
    for event in simulation.events:
        replayed.apply(event)
    assert replayed.dump() == state.dump()
    assert State.load(state.dump()).dump() == state.dump()
    verdict = repeat_decisions(lambda: simulation.events, lambda _: ENGINES[name]())
    assert verdict.differences == ()
    assert verdict.start_count == sum(event.start_count for event in simulation.events if isinstance(event, Planned))


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_no_room_stays_empty_that_a_variant_of_the_only_job_that_waits_would_fill(seed: int) -> None:
    random = Random(seed)
    simulation = some_state(random, cluster_of(random), Easy())
    state, now_s = simulation.core.state, simulation.now_s
    if len(state.queue) != 1 or not state.owned.varied:
        return
    (job_id,) = state.queue
    planned = plan_of(state, Easy(), now_s)
    record = state.jobs[job_id]
    if record.spec.array is not None:
        return  # it waits for where its last element ends first, as a whole; a place for one of them is no better
    room = state.snapshot(now_s).room()
    trials = [record.with_spec(record.spec.in_variant(number)) for number in range(len(record.spec.variants))]
    could = [trial for trial in trials if room.choose(room.packing.ask(trial.shape))]
    if could and not planned.starts:
        promised_s = ends_s(state, planned, now_s)[job_id]
        assert all(promised_s < now_s + trial.expected_s for trial in could), "it waits for nothing better"


def test_a_limit_is_no_reason_to_wait_in_a_variant_that_it_bars() -> None:
    """GPUs are at their limit for good, CPUs are free: the variant without GPUs starts, though it is asked last."""
    cluster = make_cluster(2, gpus=("a100",))
    world = World(attrs.evolve(cluster, limits=(("gpus", 1),)), Easy()).join()
    world.start(gpus_per_node=1, walltime_s=None)
    found = (Variant(1, 1, 1, 0, 1, "", 0, 60.0), Variant(1, 1, 4, 0, 0, "", 0, 600.0, 10.0))
    key = world.start(gpus_per_node=1, walltime_s=60.0, variants=found)
    assert world.job(key.job_id).spec.gpus_per_node == 0
    assert world.activity(key.job_id).cpu_count == 4
    world.check_at_end()
