"""Whole workloads in simulated time: all jobs end, the same seed gives the same events, the accounts add up."""

from __future__ import annotations

import hashlib
import math
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.event import JobEnded, JobPlaced, JobRequeued, PartStarted, Planned, encode_event
from hal_core.models.job import EndKind, JobId, JobSpec, JobState, Spread
from hal_core.models.message import Cancel, JobSelection, Requeue
from hal_core.models.node import NodeName
from hal_core.rules.core import Core
from hal_core.rules.state import State
from hal_core.sim.executor_model import Delays, Fault
from hal_core.sim.report import summarise
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, Workload, WorkloadJob, generate
from hal_core.testing import FakeEngine
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ADA, ALL, make_cluster, make_spec
from tests.support.invariants import check_state
from tests.support.witness import Witness

ENGINES = (Fcfs, Easy, FakeEngine)
CLUSTER = make_cluster(4)
N0 = NodeName("n0")


def simulate(workload, engine=Fcfs, cluster=CLUSTER, delays=None, faults=()):
    simulation = Simulation(Core(engine(), "test"), cluster, delays)
    simulation.add_workload(workload)
    simulation.add_faults(faults)
    simulation.run()
    return simulation


def job(submit_time_s=0.0, runtime_s=10.0, exit_code=0, **fields):
    return WorkloadJob(submit_time_s, make_spec(**fields), ADA, runtime_s, exit_code)


def run(*jobs, **arguments):
    return simulate(Workload.of(jobs), **arguments)


def digest(events):
    found = hashlib.sha256()
    for event in events:
        for part in encode_event(event):
            found.update(repr(part).encode())
    return found.hexdigest()


def ends(simulation):
    """(state, start, end) by job id, of jobs that are no arrays."""
    return {
        event.job_id: (event.end.state, event.start_time_s, event.end_time_s)
        for event in simulation.events
        if isinstance(event, JobEnded)
    }


def check(simulation):
    """What holds of any run: the state is whole, every event follows, replay gives the same."""
    witness, replayed = Witness(), State()
    for event in simulation.events:
        witness.see(event)
        replayed.apply(event)
        assert not (isinstance(event, Planned) and event.refused_count), f"a start was refused: {event}"
    check_state(simulation.core.state)
    assert replayed.dump() == simulation.core.state.dump()


# -- whole workloads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_workload_runs_to_its_end(engine):
    workload = generate(Random(1), 300, ALL, Mix(element_count_max=5))
    simulation = simulate(workload, engine)
    check(simulation)
    report = summarise(simulation.events)
    assert report.unfinished_count == 0
    assert report.element_count == sum(report.ended.values()) == report.wait_s.count
    assert 0.0 < report.utilisation <= 1.0
    assert simulation.next_time_s() is None


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_events(engine):
    digests = {digest(simulate(generate(Random(7), 150, ALL), engine).events) for _ in range(2)}
    assert len(digests) == 1
    assert digest(simulate(generate(Random(8), 150, ALL), engine).events) not in digests


def test_the_accounts_add_up():
    workload = generate(Random(3), 200, ALL)
    report = summarise(simulate(workload).events)
    asked = [(job.spec.shape(), min(job.runtime_s, job.spec.walltime_s or math.inf)) for job in workload.jobs]
    expected = math.fsum(shape.cpus * shape.node_count * runtime_s for shape, runtime_s in asked)
    assert report.cpu_s_allocated == pytest.approx(expected)
    timeouts = sum(job.runtime_s > (job.spec.walltime_s or math.inf) for job in workload.jobs)
    assert report.ended["TIMEOUT"] == timeouts > 0
    assert report.utilisation == pytest.approx(expected / (16 * report.makespan_s))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), engine=st.sampled_from(ENGINES), delay_s=st.sampled_from([0.0, 1.5]))
def test_with_faults_and_people_everything_still_ends(seed, engine, delay_s):
    random = Random(seed)
    mix = Mix(arrival_s_mean=5.0, runtime_s_mean=60.0, element_count_max=4)
    cluster = attrs.evolve(CLUSTER, node_timeout_s=30.0)
    simulation = Simulation(Core(engine(), "test"), cluster, Delays(delay_s, delay_s, 0.5))
    workload = generate(random, 40, ALL, mix)
    simulation.add_workload(Workload.of(attrs.evolve(each, spec=_varied(random, each.spec)) for each in workload.jobs))
    simulation.add_faults(
        Fault(node.name, (start_s := random.uniform(0, 200)), start_s + random.choice([5.0, 50.0, 100.0]))
        for node in cluster.nodes[:3]
    )
    for _ in range(20):
        verb = random.choice([Cancel, Requeue])
        simulation.post(random.uniform(0, 300), verb(JobSelection(JobId(random.randint(1, 50))), "ada"))
    simulation.run()
    check(simulation)
    assert summarise(simulation.events).unfinished_count == 0


def _varied(random: Random, spec: JobSpec) -> JobSpec:
    return attrs.evolve(
        spec,
        spread=random.choice(list(Spread)),
        inputs=random.choice([(), (), ("data",)]),
        begin_time_s=random.choice([0.0, 0.0, 150.0]),
    )


@pytest.mark.parametrize("engine", [Fcfs, Easy])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_nothing_waits_on_an_empty_cluster(engine, seed):
    """Whenever nothing is allocated after a cycle, nothing that could start waits."""
    simulation = Simulation(Core(engine(), "test"), CLUSTER)
    simulation.add_workload(generate(Random(seed), 30, ALL, Mix(arrival_s_mean=100.0, element_count_max=3)))
    while (time_s := simulation.next_time_s()) is not None:
        simulation.run(time_s)
        state = simulation.core.state
        assert state.allocations or not len(state.queue)


# -- single things -----------------------------------------------------------------------------------------------------


def test_times_are_exact():
    simulation = run(job(5.0, 10.0), delays=Delays(launch_s=2.0))
    assert ends(simulation) == {1: (JobState.COMPLETED, 7.0, 17.0)}


def test_jobs_are_killed_at_their_limit_and_exit_as_they_do():
    simulation = run(job(runtime_s=10.0, walltime_s=4.0), job(runtime_s=3.0, exit_code=7), job(runtime_s=0.0))
    assert ends(simulation) == {
        1: (JobState.TIMEOUT, 0.0, 4.0),
        2: (JobState.FAILED, 0.0, 3.0),
        3: (JobState.COMPLETED, 0.0, 0.0),
    }


def test_what_comes_at_one_instant_is_planned_once():
    simulation = run(*(job(5.0, cpus_per_task=1) for _ in range(16)))
    assert {event.time_s for event in simulation.events if isinstance(event, JobPlaced)} == {5.0}
    assert simulation.core.state.sequence == len(simulation.events)


def test_begin_times_wake_the_simulation():
    simulation = run(job(0.0, 1.0, begin_time_s=500.0), job(0.0, 1.0, begin_time_s=100.0))
    assert [start_s for _, start_s, _ in ends(simulation).values()] == [100.0, 500.0]


@pytest.mark.parametrize(("share", "end_s"), [(0.0, 50.0), (0.5, 52.5), (1.0, 55.0)])
def test_a_cancel_takes_a_part_of_the_grace(share, end_s):
    simulation = Simulation(Core(Fcfs(), "fcfs"), CLUSTER, Delays(cancel_share=share))
    simulation.add_workload(Workload.of([job(0.0, 100.0, kill_grace_s=5.0)]))
    simulation.post(50.0, Cancel(JobSelection(JobId(1)), "ada"))
    simulation.run()
    assert ends(simulation) == {1: (JobState.CANCELLED, 0.0, end_s)}


def test_a_cancel_during_the_launch():
    simulation = Simulation(Core(Fcfs(), "fcfs"), CLUSTER, Delays(launch_s=10.0))
    simulation.add_workload(Workload.of([job(0.0, 100.0)]))
    simulation.post(5.0, Cancel(JobSelection(JobId(1)), "ada"))
    simulation.run()
    assert ends(simulation) == {1: (JobState.CANCELLED, None, 5.0)}


def test_a_requeue_is_a_new_attempt():
    simulation = Simulation(Core(Fcfs(), "fcfs"), CLUSTER)
    simulation.add_workload(Workload.of([job(0.0, 100.0)]))
    simulation.post(60.0, Requeue(JobSelection(JobId(1)), "ada"))
    simulation.run()
    assert ends(simulation) == {1: (JobState.COMPLETED, 60.0, 160.0)}
    report = summarise(simulation.events)
    assert report.ended == {"COMPLETED": 1}
    assert report.cpu_s_allocated == 160.0
    assert (report.wait_s.mean, report.makespan_s) == (60.0, 160.0)


def test_a_lost_node_takes_its_job_with_it_and_comes_back():
    cluster = attrs.evolve(make_cluster(1), node_timeout_s=30.0)
    simulation = run(job(0.0, 100.0), job(1.0, 10.0, cpus_per_task=4), cluster=cluster, faults=[Fault(N0, 50.0, 200.0)])
    assert ends(simulation)[1] == (JobState.FAILED, 0.0, 80.0)
    assert ends(simulation)[2] == (JobState.COMPLETED, 200.0, 210.0)


def test_a_quick_reboot_loses_what_ran_at_once():
    simulation = run(job(0.0, 100.0), cluster=make_cluster(1), faults=[Fault(N0, 50.0, 60.0)])
    (ended,) = (event for event in simulation.events if isinstance(event, JobEnded))
    assert (ended.end.kind, ended.time_s) == (EndKind.NODE_LOST, 60.0)


def test_a_launch_that_a_rebooting_node_never_had_is_ordered_again():
    simulation = run(
        job(0.0, 100.0), cluster=make_cluster(1), delays=Delays(launch_s=20.0), faults=[Fault(N0, 10.0, 60.0)]
    )
    assert ends(simulation) == {1: (JobState.COMPLETED, 80.0, 180.0)}
    assert not any(isinstance(event, JobRequeued) for event in simulation.events)


def test_staging_takes_its_time():
    simulation = run(job(0.0, 10.0, inputs=("data",)), delays=Delays(stage_s=30.0))
    assert ends(simulation) == {1: (JobState.COMPLETED, 30.0, 40.0)}


def test_a_gang_starts_on_all_its_nodes_and_fails_as_a_whole():
    simulation = run(job(0.0, 10.0, 3, node_count=3, task_count=3, spread=Spread.NODE))
    assert sum(isinstance(event, PartStarted) for event in simulation.events) == 3
    assert ends(simulation) == {1: (JobState.FAILED, 0.0, 10.0)}


def test_what_the_core_refuses_is_kept_and_the_run_goes_on():
    simulation = run(job(0.0, partition="nowhere"), job(1.0))
    assert [refused.time_s for refused in simulation.refused] == [0.0]
    assert list(ends(simulation)) == [1]


def test_easy_fills_the_hole_and_delays_nobody():
    jobs = (
        job(0.0, 100.0, cpus_per_task=3, walltime_s=100.0),
        job(1.0, 10.0, cpus_per_task=4, walltime_s=10.0),
        job(2.0, 50.0, cpus_per_task=1, walltime_s=50.0),
        job(3.0, 500.0, cpus_per_task=1, walltime_s=500.0),
    )
    starts = {
        engine: [
            start_s for _, (_, start_s, _) in sorted(ends(run(*jobs, engine=engine, cluster=make_cluster(1))).items())
        ]
        for engine in (Fcfs, Easy)
    }
    assert starts[Fcfs] == [0.0, 100.0, 110.0, 110.0]
    assert starts[Easy] == [0.0, 100.0, 2.0, 110.0]


def test_a_run_can_be_stopped_and_continued():
    workload = generate(Random(5), 60, ALL)
    whole = simulate(workload)
    parts = Simulation(Core(Fcfs(), "test"), CLUSTER)
    parts.add_workload(workload)
    for until_s in (0.0, 100.0, 1000.5):
        parts.run(until_s)
        assert parts.now_s <= until_s
    parts.run()
    assert parts.events == whole.events
