"""Reservations over whole workloads in simulated time, with every engine: nobody runs into one, and promises hold."""

from __future__ import annotations

import math
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.event import JobPlaced, JobSubmitted, Planned, ReservationAdded, ReservationRemoved
from hal_core.models.message import AddReservation, RemoveReservation
from hal_core.models.node import NodeName, Reservation
from hal_core.rules.core import Core
from hal_core.sim.executor_model import Fault
from hal_core.sim.report import summarise
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, Workload, WorkloadJob, generate
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.simulation.test_simulation import check
from tests.support.core_world import ADA, ALL, make_cluster, make_spec

ENGINES = {
    "fcfs": Fcfs,
    "easy": Easy,
    "easy-sjbf": lambda: Easy(is_shortest_first=True),
    "conservative": Conservative,
    "reserve": lambda: Conservative(promise_max=2),
}
every_engine = pytest.mark.parametrize("engine", ENGINES)


def course(**fields) -> Reservation:
    given = {"name": "course", "nodes": ("n0", "n1"), "start_time_s": 1000.0, "duration_s": 500.0, "users": ("ada",)}
    return Reservation(**given | {"by": "oper"} | fields)


def job(submit_time_s=0.0, runtime_s=10.0, **fields):
    return WorkloadJob(submit_time_s, make_spec(**fields), ADA, runtime_s)


def run(engine, reservations, jobs, cluster=None, faults=(), start_s=0.0):
    cluster = make_cluster(2) if cluster is None else cluster
    simulation = Simulation(Core(ENGINES[engine](), engine), cluster, start_time_s=start_s)
    for each in reservations:
        simulation.post(start_s, AddReservation(each))
    simulation.add_workload(Workload.of(jobs))
    simulation.add_faults(faults)
    simulation.run()
    check(simulation)
    assert_kept(simulation.events)
    return simulation


def placed_at(simulation):
    return {event.job_id: event.time_s for event in simulation.events if isinstance(event, JobPlaced)}


def assert_kept(events) -> None:
    """A naive reading: no job is placed where a foreign window begins before its limit, or its own does not hold."""
    reservations, specs = {}, {}
    for event in events:
        match event:
            case ReservationAdded():
                reservations[event.reservation.name] = event.reservation
            case ReservationRemoved():
                del reservations[event.name]
            case JobSubmitted():
                specs[event.job_id] = event.spec
            case JobPlaced():
                spec = specs[event.job_id]
                end_s = event.time_s + (math.inf if spec.walltime_s is None else spec.walltime_s)
                for each in reservations.values():
                    for start_s, stop_s in windows(each, event.time_s, end_s):
                        overlaps = start_s < end_s and event.time_s < stop_s
                        if each.name == spec.reservation:
                            assert {share.node for share in event.shares} <= set(each.nodes)
                        elif overlaps:
                            touched = {share.node for share in event.shares} & set(each.nodes)
                            assert not touched, f"{event} runs into {each}"
                if spec.reservation:
                    found = windows(reservations[spec.reservation], event.time_s, end_s)
                    assert any(start_s <= event.time_s and end_s <= stop_s for start_s, stop_s in found)


def windows(reservation, from_s, until_s):
    """All windows that begin before `until_s`, one after the other."""
    found, start_s = [], reservation.start_time_s
    while start_s < min(until_s, from_s + 100_000):
        found.append((start_s, start_s + reservation.duration_s))
        start_s += reservation.every_s or math.inf
        if reservation.until_s is not None and start_s >= reservation.until_s:
            break
    return found


def assert_promises_held(events) -> None:
    """No job (nor the next element of an array) starts later than it was first promised."""
    promised: dict[int, float] = {}
    for event in events:
        if isinstance(event, Planned):
            for job_id, time_s in event.reserves:
                promised.setdefault(job_id, time_s)
        if isinstance(event, JobPlaced):
            promised_s = promised.pop(event.job_id, math.inf)
            assert event.time_s <= promised_s, f"job {event.job_id} is later than promised"


# -- examples ----------------------------------------------------------------------------------------------------------


@every_engine
def test_a_long_job_waits_for_the_end_and_a_short_one_does_not(engine):
    simulation = run(engine, [course()], [job(100.0, 50.0, walltime_s=900.0), job(100.0, 800.0, walltime_s=901.0)])
    assert placed_at(simulation) == {1: 100.0, 2: 1500.0}


@every_engine
def test_a_member_starts_with_the_window_and_must_end_in_it(engine):
    jobs = [
        job(0.0, 10.0, walltime_s=500.0, reservation="course"),
        job(1400.0, 10.0, walltime_s=100.0, reservation="course"),
        job(1401.0, 10.0, walltime_s=100.0, reservation="course"),
    ]
    simulation = run(engine, [course()], jobs)
    assert placed_at(simulation) == {1: 1000.0, 2: 1400.0}, "the third would reach beyond the end"


@every_engine
def test_it_recurs(engine):
    weekly = course(every_s=1000.0, until_s=5000.0)
    jobs = [job(1600.0, 10.0, walltime_s=400.0), job(1600.0, 10.0, walltime_s=501.0)]
    jobs.append(job(1600.0, 10.0, walltime_s=20.0, reservation="course"))
    assert placed_at(run(engine, [weekly], jobs)) == {1: 1600.0, 2: 4500.0, 3: 2000.0}


@every_engine
def test_maintenance_is_for_nobody_and_a_pool_of_one_node_knows_it(engine):
    maintenance = course(nodes=("n0",), users=())
    jobs = [job(990.0, 5.0, walltime_s=10.0), job(990.0, 5.0, walltime_s=11.0), job(1000.0, 5.0, walltime_s=1.0)]
    placed = placed_at(run(engine, [maintenance], jobs, make_cluster(1)))
    assert placed == {1: 990.0, 2: 1500.0, 3: 1500.0}


@every_engine
def test_a_job_without_a_limit_goes_where_nothing_is_reserved(engine):
    simulation = run(
        engine, [course(nodes=("n0",))], [job(0.0, 10.0, cpus_per_task=4), job(0.0, 10.0, cpus_per_task=4)]
    )
    assert placed_at(simulation) == {1: 0.0, 2: 10.0}, "both on the node that is not reserved"


def test_one_who_waits_for_a_reservation_does_not_take_the_promise_of_the_others():
    """The head outside keeps its own promise: a later job may not push it back."""
    members = [job(0.0, 10.0, walltime_s=500.0, reservation="course", cpus_per_task=4)]
    outside = [
        job(1.0, 100.0, node_count=2, task_count=2, cpus_per_task=2, walltime_s=100.0),
        job(2.0, 100.0, node_count=2, task_count=2, cpus_per_task=4, walltime_s=100.0),
        job(3.0, 300.0, cpus_per_task=1, walltime_s=300.0),
    ]
    placed = placed_at(run("easy", [course()], members + outside))
    assert placed[3] == 101.0
    assert placed[4] >= 201.0


@pytest.mark.parametrize("engine", ["easy", "easy-sjbf"])
def test_a_shape_that_is_too_long_for_a_window_does_not_stand_for_a_shorter_job_of_it(engine):
    two = {"node_count": 2, "task_count": 2, "cpus_per_task": 4}
    jobs = [
        job(0.0, 5000.0, cpus_per_task=4, walltime_s=5000.0),
        job(1.0, 10.0, node_count=3, task_count=3, cpus_per_task=4, walltime_s=100.0),
        job(2.0, 10.0, walltime_s=2000.0, **two),
        job(2.0, 10.0, walltime_s=100.0, **two),
    ]
    placed = placed_at(run(engine, [course(nodes=("n1", "n2"))], jobs, make_cluster(3)))
    assert placed[4] == 2.0
    assert placed[3] == 1500.0


def test_a_removed_reservation_frees_at_once():
    simulation = Simulation(Core(Easy(), "easy"), make_cluster(2))
    simulation.post(0.0, AddReservation(course()))
    simulation.post(50.0, RemoveReservation("course", "oper"))
    simulation.add_workload(Workload.of([job(1.0, 10.0, walltime_s=2000.0)]))
    simulation.run()
    assert placed_at(simulation) == {1: 50.0}


# -- at random ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), engine=st.sampled_from(sorted(ENGINES)), has_faults=st.booleans())
def test_nothing_runs_into_a_reservation_and_promises_hold(seed, engine, has_faults):
    random = Random(seed)
    cluster = attrs.evolve(make_cluster(random.randint(1, 4)), node_timeout_s=30.0)
    names = [node.name for node in cluster.nodes]
    reservations = []
    for number in range(random.randint(1, 3)):
        duration_s = random.choice([50.0, 200.0, 400.0])
        every_s = random.choice([0.0, duration_s, duration_s + 100.0, duration_s + 700.0])
        reservations.append(
            course(
                name=f"r{number}",
                nodes=tuple(random.sample(names, random.randint(1, len(names)))),
                start_time_s=float(random.randint(0, 800)),
                duration_s=duration_s,
                every_s=every_s,
                until_s=3000.0 if every_s else None,
                users=random.choice([(), ("ada",)]),
            )
        )
    mix = Mix(arrival_s_mean=20.0, runtime_s_mean=60.0, element_count_max=2, node_count_max=len(names))
    workload = generate(random, 30, ALL, mix)
    owned = [attrs.evolve(each, owner=ADA, spec=_sometimes_inside(random, each.spec)) for each in workload.jobs]
    faults = [Fault(NodeName("n0"), time_s := random.uniform(0, 500), time_s + 100.0)] if has_faults else []
    simulation = run(engine, reservations, owned, cluster, faults)
    left = summarise(simulation.events).unfinished_count
    inside = sum(each.pending_count for each in simulation.core.state.jobs.values() if each.spec.reservation)
    assert left == inside, "only those wait for ever whose reservation is over"
    if not has_faults:
        assert_promises_held(simulation.events)


def _sometimes_inside(random, spec):
    if random.random() < 0.3:
        return attrs.evolve(spec, reservation=f"r{random.randrange(3)}", walltime_s=min(spec.walltime_s, 50.0))
    return spec
