"""Preemption by suspending, over whole workloads in simulated time: who lends CPUs to whom, and when it goes on."""

from __future__ import annotations

from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.component import Component
from hal_core.models.effect import SuspendOrder, SuspendPart
from hal_core.models.event import JobEnded, JobPlaced, JobResumed, JobSuspended
from hal_core.models.job import ArraySpec, JobId, JobState
from hal_core.models.message import AddReservation, Cancel, JobSelection, Requeue
from hal_core.models.node import NodeName, PartitionName, Reservation
from hal_core.models.placement import AttemptKey
from hal_core.models.plan import Plan, Preempt
from hal_core.models.policy import PreemptMode, Qos
from hal_core.rules.core import Core
from hal_core.rules.effects import outstanding_on
from hal_core.rules.excerpt import excerpt, excerpt_of_queue
from hal_core.rules.explain import explain
from hal_core.rules.forecast import Future, forecast
from hal_core.rules.state import State
from hal_core.rules.trial import Sampled, Span, waits
from hal_core.sim.executor_model import Delays, Fault
from hal_core.sim.report import summarise
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, Workload, generate
from hal_engine_backfill.easy import Easy
from tests.simulation.test_preemption import (
    ENGINES,
    HIGH,
    LOW,
    TOP,
    a_cluster,
    every_engine,
    job,
    placed,
    preempted,
    run,
)
from tests.support.core_world import make_cluster

SUSPEND = PreemptMode.SUSPEND


def cluster(node_count=1, **fields):
    """Jobs of `low` are suspended, those of `high` as well."""
    made = a_cluster(node_count, preempt_mode=SUSPEND, **fields)
    partitions = (attrs.evolve(each, preempt_mode=SUSPEND) for each in made.partitions)
    return attrs.evolve(made, partitions=tuple(partitions))


def stood_still(simulation):
    """[(when, job, for whom)], and [(when, job)] for those who went on."""
    suspended = [(e.time_s, e.job_id, e.suspended_for) for e in simulation.events if isinstance(e, JobSuspended)]
    return suspended, [(e.time_s, e.job_id) for e in simulation.events if isinstance(e, JobResumed)]


def ended(simulation):
    """Job -> (state, when it ended, how long it stood still)."""
    events = [event for event in simulation.events if isinstance(event, JobEnded)]
    return {event.job_id: (event.end.state.value, event.time_s, event.suspended_s) for event in events}


def paused(engine, jobs, until_s, where=None, delays=None):
    simulation = Simulation(Core(ENGINES[engine](), engine), where or cluster(), delays)
    simulation.add_workload(Workload.of(jobs))
    simulation.run(until_s=until_s)
    return simulation


# -- examples ----------------------------------------------------------------------------------------------------------


@every_engine
def test_it_stands_still_while_the_other_runs_and_loses_nothing(engine):
    simulation = run(engine, [job(0.0, 500.0), job(200.0, 50.0, HIGH)], cluster())
    assert stood_still(simulation) == ([(200.0, 1, 2)], [(250.0, 1)])
    assert placed(simulation) == {(1, 1): 0.0, (2, 1): 200.0}
    assert ended(simulation) == {1: ("COMPLETED", 550.0, 50.0), 2: ("COMPLETED", 250.0, 0.0)}


@every_engine
def test_its_time_limit_stands_still_as_well(engine):
    simulation = run(engine, [job(0.0, 900.0, walltime_s=400.0), job(200.0, 300.0, HIGH)], cluster())
    assert ended(simulation)[1] == ("TIMEOUT", 700.0, 300.0)


@every_engine
def test_it_goes_on_before_anybody_of_lower_priority_starts_on_its_cpus(engine):
    jobs = [job(0.0, 500.0), job(10.0, 500.0), job(200.0, 50.0, HIGH, cpus_per_task=2, walltime_s=60.0)]
    jobs.append(job(210.0, 5.0, cpus_per_task=1, walltime_s=5.0))
    simulation = run(engine, jobs, cluster())
    assert stood_still(simulation) == ([(200.0, 1, 3)], [(250.0, 1)])
    begun = placed(simulation)
    assert begun[2, 1] >= 550.0, "nobody has room before it has ended"
    assert begun[4, 1] >= 550.0, "not even on the CPUs that nobody uses meanwhile"


@every_engine
def test_one_that_borrows_can_be_suspended_itself(engine):
    jobs = [job(0.0, 100.0), job(10.0, 100.0, HIGH), job(20.0, 100.0, TOP)]
    simulation = run(engine, jobs, cluster())
    assert stood_still(simulation) == ([(10.0, 1, 2), (20.0, 2, 3)], [(120.0, 2), (210.0, 1)])
    assert ended(simulation) == {
        1: ("COMPLETED", 300.0, 200.0),
        2: ("COMPLETED", 210.0, 100.0),
        3: ("COMPLETED", 120.0, 0.0),
    }


@every_engine
def test_memory_is_not_lent(engine):
    """So it makes room for a job that needs less memory than is left, and none for one that needs more."""
    total = make_cluster(1).nodes[0].memory_bytes
    jobs = [job(0.0, 500.0, memory_bytes_per_node=total * 3 // 4)]
    jobs.append(job(100.0, 50.0, HIGH, memory_bytes_per_node=total // 2))
    simulation = run(engine, jobs, cluster())
    assert stood_still(simulation) == ([], [])
    assert placed(simulation)[2, 1] == 500.0
    jobs[1] = job(100.0, 50.0, HIGH, memory_bytes_per_node=total // 4)
    assert placed(run(engine, jobs, cluster()))[2, 1] == 100.0


@every_engine
def test_what_is_not_lent_is_taken_by_nobody_and_an_exclusive_job_gets_no_node(engine):
    simulation = run(engine, [job(0.0, 500.0), job(100.0, 50.0, HIGH, is_exclusive=True)], cluster())
    assert stood_still(simulation) == ([], [])
    assert placed(simulation)[2, 1] == 500.0


@every_engine
def test_an_exclusive_job_that_waits_keeps_nobody_from_what_is_lent(engine):
    """Not even if the one that lends has no memory, so that all of its node seems free."""
    jobs = [job(0.0, 500.0), job(100.0, 50.0, HIGH, is_exclusive=True), job(110.0, 50.0, TOP)]
    simulation = run(engine, jobs, cluster())
    assert stood_still(simulation) == ([(110.0, 1, 3)], [(160.0, 1)])
    assert placed(simulation)[2, 1] == 550.0


@every_engine
def test_no_more_are_suspended_than_are_needed(engine):
    jobs = [job(0.0, 500.0, cpus_per_task=1) for _ in range(4)]
    jobs.append(job(100.0, 50.0, HIGH, cpus_per_task=2))
    suspended, resumed = stood_still(run(engine, jobs, cluster()))
    assert len(suspended) == len(resumed) == 2


@every_engine
def test_a_gang_is_suspended_on_all_its_nodes(engine):
    jobs = [job(0.0, 500.0, node_count=2, task_count=2), job(100.0, 50.0, HIGH)]
    simulation = run(engine, jobs, cluster(2))
    assert stood_still(simulation) == ([(100.0, 1, 2)], [(150.0, 1)])
    assert ended(simulation)[1] == ("COMPLETED", 550.0, 50.0)


@every_engine
def test_one_of_several_components_waits_again_instead(engine):
    """CPUs are lent in equal parts; but nobody escapes by asking for a second component."""
    mixed = job(0.0, 500.0, components=(Component(1, 1, 1, 0),))
    simulation = run(engine, [mixed, job(100.0, 50.0, HIGH, node_count=2, task_count=2)], cluster(2))
    assert stood_still(simulation) == ([], [])
    assert placed(simulation)[2, 1] < 200.0
    assert placed(simulation)[1, 2] >= placed(simulation)[2, 1] + 50.0
    assert ended(simulation)[1][0] == "COMPLETED"


@every_engine
def test_a_level_of_service_says_so_too(engine):
    levels = (Qos("spare", preempt_mode=SUSPEND, is_default=True), Qos("urgent", 10, preempts=("spare",)))
    where = attrs.evolve(make_cluster(1), qos=levels)
    jobs = [job(0.0, 500.0, PartitionName("all"), qos="spare")]
    jobs.append(job(100.0, 50.0, PartitionName("all"), qos="urgent"))
    assert stood_still(run(engine, jobs, where)) == ([(100.0, 1, 2)], [(150.0, 1)])


@every_engine
@pytest.mark.parametrize("message", [Cancel, Requeue])
def test_who_stands_still_can_be_ended(engine, message):
    simulation = paused(engine, [job(0.0, 500.0), job(200.0, 50.0, HIGH)], 210.0)
    assert simulation.core.state.jobs[JobId(1)].state is JobState.SUSPENDED
    simulation.post(220.0, message(JobSelection(JobId(1)), "ada"))
    simulation.run()
    assert stood_still(simulation) == ([(200.0, 1, 2)], [])
    assert ended(simulation)[2] == ("COMPLETED", 250.0, 0.0)
    last = ended(simulation)[1]
    assert last == (("CANCELLED", 220.0, 20.0) if message is Cancel else ("COMPLETED", 750.0, 0.0))


@every_engine
def test_it_goes_on_when_the_other_is_cancelled_or_loses_its_node(engine):
    simulation = paused(engine, [job(0.0, 500.0), job(200.0, 300.0, HIGH)], 210.0)
    simulation.post(230.0, Cancel(JobSelection(JobId(2)), "ada"))
    simulation.run()
    assert ended(simulation)[1] == ("COMPLETED", 530.0, 30.0)


@every_engine
def test_elastic_jobs_leave_before_anybody_stands_still(engine):
    """Their CPUs are needed beside those that are lent: they are asked to leave, and have 5 s for that."""
    jobs = [job(0.0, 500.0, cpus_per_task=2)]
    jobs.append(job(0.0, 5000.0, cpus_per_task=2, elastic_weight=1, kill_grace_s=5.0, can_requeue=True))
    jobs.append(job(100.0, 50.0, HIGH))
    simulation = paused(engine, jobs, 300.0, delays=Delays(cancel_share=1.0))
    assert stood_still(simulation) == ([(105.0, 1, 3)], [(155.0, 1)])
    assert placed(simulation)[3, 1] == 105.0


@every_engine
def test_nobody_is_suspended_into_a_reservation(engine):
    simulation = Simulation(Core(ENGINES[engine](), engine), cluster())
    simulation.post(0.0, AddReservation(Reservation("repair", (NodeName("n0"),), 1500.0, 100.0, by="oper")))
    simulation.add_workload(Workload.of([job(0.0, 900.0), job(600.0, 50.0, HIGH)]))
    simulation.run()
    assert stood_still(simulation) == ([], [])


def test_explain_says_for_whom_it_stands_still():
    state = paused("easy", [job(0.0, 500.0), job(200.0, 50.0, HIGH)], 210.0).core.state
    found = explain(state, state.jobs[JobId(1)], 210.0)
    assert (found.state, found.reason) == ("SUSPENDED", "suspended")
    assert found.text == "it stands still, and goes on after job 2, whose CPUs they are until then"


def test_what_it_lends_is_not_charged():
    """Until 200 s it has 4 CPUs, then they are the other's."""
    state = paused("easy", [job(0.0, 500.0), job(200.0, 50.0, HIGH)], 240.0).core.state
    used = {payer.partition: used.cpu_s for payer, used in state.ledger.used(240.0)}
    assert used == pytest.approx({LOW: 800.0, HIGH: 160.0}, rel=1e-3)


def test_a_state_with_suspended_jobs_survives_a_restart():
    jobs = [job(0.0, 100.0), job(10.0, 100.0, HIGH), job(20.0, 100.0, TOP)]
    state = paused("easy", jobs, 30.0).core.state
    loaded = State.load(state.dump())
    assert loaded.dump() == state.dump()
    assert list(loaded.suspended) == list(state.suspended) == [(1, 0), (2, 0)]
    assert loaded.table.free_cpus == state.table.free_cpus == [0]
    assert [row.expected_end_s for row in loaded.snapshot(30.0).running()] == [1020.0, 2010.0, 3000.0]


@pytest.mark.parametrize(("until_s", "does_resume"), [(210.0, False), (260.0, True)])
def test_a_node_that_reports_is_told_again_who_stands_still_and_who_has_gone_on(until_s, does_resume):
    """Whatever was ordered may have been lost on its way."""
    state = paused("easy", [job(0.0, 500.0), job(200.0, 50.0, HIGH)], until_s).core.state
    told = [each.order for each in outstanding_on(state, "n0") if isinstance(each, SuspendPart)]
    assert told == [SuspendOrder(AttemptKey(JobId(1), 0, 1), does_resume)]


def test_what_all_give_back_is_the_whole_cluster():
    """And the borrower only what is its own: otherwise engines would promise CPUs that there are not."""
    jobs = [job(0.0, 100.0), job(10.0, 100.0, HIGH, cpus_per_task=2), job(20.0, 100.0, TOP, cpus_per_task=1)]
    state = paused("easy", jobs, 30.0).core.state
    rows = list(state.snapshot(30.0).running())
    assert {row.job_id for row in rows} == {1, 2, 3}
    assert sum(row.shape.cpus for row in rows) + sum(state.table.free_cpus) == 4


def test_a_gang_that_borrows_on_one_of_its_nodes_is_planned_ahead_and_counts_once():
    jobs = [job(0.0, 500.0)]
    jobs.append(job(10.0, 50.0, HIGH, node_count=2, task_count=2, array=ArraySpec(((0, 3),), throttle=1)))
    jobs.append(job(20.0, 10.0))
    state = paused("easy", jobs, 30.0, cluster(2)).core.state
    assert [row.node_numbers for row in state.snapshot(30.0).running() if row.job_id == 2] == [(0,), (1,)]
    told = forecast(excerpt(state, JobId(3), 30.0), Easy(), 30.0)
    assert told.start_time_s == 4000.0, "the first goes on until 2000, then two more gangs run to their limits"
    future = Future(excerpt(state, JobId(3), 30.0), None, 30.0)
    future.move_to(future.next_time_s())
    assert future.waiting[JobId(2)].element_count == 1, "as many as may run at once"


def test_a_trial_tells_apart_the_rows_of_a_gang_that_outlives_what_was_expected():
    jobs = [job(0.0, 500.0), job(10.0, 50.0, HIGH, node_count=2, task_count=2), job(20.0, 10.0)]
    part = excerpt_of_queue(paused("easy", jobs, 30.0, cluster(2)).core.state, 30.0)
    part = attrs.evolve(part, running=[attrs.evolve(row, expected_end_s=40.0) for row in part.running])
    seen = []

    class Seeing:
        def plan(self, snapshot):
            seen.append([row.node_numbers for row in snapshot.running() if row.job_id == 2])
            return Plan()

    waits(part, Seeing(), Sampled(0, Random(0)), Span(50.0, 51.0))
    assert sorted(seen[0]) == [(0,), (1,)]


def test_what_one_has_borrowed_nobody_else_can_have():
    simulation = paused("easy", [job(0.0, 500.0), job(200.0, 50.0, HIGH, cpus_per_task=2), job(205.0, 5.0)], 210.0)
    (borrowed,) = [each for each in simulation.events if isinstance(each, JobPlaced) and each.job_id == 2]
    with pytest.raises(AssertionError, match="are not free"):
        simulation.core.state.apply(attrs.evolve(borrowed, job_id=JobId(3)))


@pytest.mark.parametrize(
    ("victims", "job_id", "numbers"),
    [
        (((JobId(1), 0), (JobId(1), 0)), 3, (1,)),
        (((JobId(2), 0),), 3, (0,)),
        (((JobId(9), 0),), 3, (1,)),
        ((), 3, (1,)),
        (((JobId(1), 0),), 2, (1,)),
        (((JobId(1), 0),), 3, (0,)),
        (((JobId(1), 0),), 3, (7,)),
        (((JobId(1), 0),), 3, (1, 1)),
    ],
)
def test_commit_believes_no_proposal(victims, job_id, numbers):
    """A victim twice, one that may not be preempted, one that is not there, none; a job that runs; other nodes."""

    class Wild:
        def plan(self, snapshot):
            wild = Plan(preempts=(Preempt(JobId(job_id), victims, numbers),))
            return wild if snapshot.now_s >= 50.0 else Easy().plan(snapshot)

    simulation = Simulation(Core(Wild(), "wild"), cluster(2))
    simulation.add_workload(Workload.of([job(0.0, 100.0), job(0.0, 100.0, TOP), job(50.0, 10.0, HIGH)]))
    simulation.run(until_s=60.0)
    assert stood_still(simulation) == ([], [])
    assert (3, 1) not in placed(simulation)


# -- at random ---------------------------------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), engine=st.sampled_from(sorted(ENGINES)), has_faults=st.booleans())
def test_everybody_goes_on_and_nothing_is_lost(seed, engine, has_faults):
    """The state is checked after every event; here, that each job that lost no node ran as long as it would."""
    random = Random(seed)
    modes = [SUSPEND, SUSPEND, PreemptMode.REQUEUE, PreemptMode.CANCEL]
    where = a_cluster(random.randint(1, 4))
    where = attrs.evolve(
        where,
        partitions=tuple(attrs.evolve(each, preempt_mode=random.choice(modes)) for each in where.partitions),
        node_timeout_s=30.0,
    )
    mix = Mix(arrival_s_mean=10.0, runtime_s_mean=60.0, element_count_max=3, node_count_max=len(where.nodes))
    jobs = []
    for each in generate(random, 25, LOW, mix).jobs:
        spec = attrs.evolve(each.spec, partition=random.choice([LOW, LOW, HIGH, TOP]))
        memory_bytes = random.choice([0, spec.memory_bytes_per_node])
        spec = attrs.evolve(spec, memory_bytes_per_node=memory_bytes, is_exclusive=random.random() < 0.2)
        jobs.append(attrs.evolve(each, spec=spec))
    faults = [Fault(NodeName("n0"), time_s := random.uniform(0, 300), time_s + 100.0)] if has_faults else []
    simulation = run(engine, jobs, where, Delays(cancel_share=random.choice([0.0, 1.0])), faults)
    assert summarise(simulation.events).unfinished_count == 0
    suspended, resumed = stood_still(simulation)
    assert len(resumed) <= len(suspended)
    made_room = {victim for _, victim, _ in preempted(simulation)}
    by_name = {each.name: each for each in where.partitions}
    for time_s, victim, winner in suspended:
        assert jobs[victim - 1].spec.partition in by_name[jobs[winner - 1].spec.partition].preempts
        assert by_name[jobs[victim - 1].spec.partition].preempt_mode is SUSPEND
        assert time_s in {
            event.time_s for event in simulation.events if isinstance(event, JobPlaced) and event.job_id == winner
        }
    for event in simulation.events:
        if isinstance(event, JobEnded) and not has_faults and event.job_id not in made_room:
            ran_s = event.end_time_s - event.start_time_s - event.suspended_s
            limit_s = jobs[event.job_id - 1].spec.walltime_s
            would_s = jobs[event.job_id - 1].runtime_s
            assert ran_s == pytest.approx(would_s if limit_s is None else min(would_s, limit_s), abs=1e-6)
