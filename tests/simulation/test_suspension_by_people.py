"""A person lets jobs stand still and go on, over whole workloads in simulated time: who has their CPUs meanwhile."""

from __future__ import annotations

from collections import Counter
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import NotFound, Refused
from hal_core.models.component import Component
from hal_core.models.effect import SuspendOrder, SuspendPart
from hal_core.models.event import JobResumed, JobSuspended
from hal_core.models.job import ArraySpec, JobId, JobState
from hal_core.models.message import Cancel, JobSelection, Requeue, Resume, Suspend
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.policy import PreemptMode
from hal_core.rules.core import Core
from hal_core.rules.effects import outstanding_on
from hal_core.rules.excerpt import excerpt, record_of
from hal_core.rules.explain import explain
from hal_core.rules.forecast import forecast
from hal_core.rules.preemption import Victims
from hal_core.rules.state import State
from hal_core.rules.suspension import holders_of
from hal_core.sim.decisions import repeat_decisions
from hal_core.sim.executor_model import Fault
from hal_core.sim.report import summarise
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, Workload, generate
from tests.simulation.test_preemption import ENGINES, HIGH, LOW, TOP, Watched, a_cluster, every_engine, job, placed
from tests.simulation.test_simulation import check
from tests.simulation.test_suspension import cluster, ended, paused
from tests.support.core_world import ADA, GIB, make_cluster, make_spec

ABLE = frozenset({"metal"})
some_engines = pytest.mark.parametrize("engine", ["hal", "conservative"])
"""All are told what is free and what ends in the same way: one that promises and one that does not are enough."""


def suspend(job_id, indices=None):
    return Suspend(JobSelection(JobId(job_id), indices), "root", ABLE)


def resume(job_id, indices=None):
    return Resume(JobSelection(JobId(job_id), indices), "root")


def tell(engine, jobs, orders, where=None, until_s=None, faults=()):
    """`orders`: (when, message)."""
    simulation = Simulation(Core(Watched(ENGINES[engine]()), engine), where or cluster())
    simulation.add_workload(Workload.of(jobs))
    simulation.add_faults(faults)
    for time_s, message in orders:
        simulation.post(time_s, message)
    if until_s is None:
        simulation.run()
        check(simulation)
    else:
        simulation.run(until_s=until_s)
    return simulation


def still(simulation):
    """[(when, job, by whom)], and [(when, job)] for those who went on."""
    suspended = [(e.time_s, e.job_id, e.by) for e in simulation.events if isinstance(e, JobSuspended)]
    return suspended, [(e.time_s, e.job_id) for e in simulation.events if isinstance(e, JobResumed)]


def refused(state, message):
    with pytest.raises(Refused) as caught:
        Core(ENGINES["easy"](), "easy", state).receive(message, state.time_s)
    return str(caught.value)


# -- examples ----------------------------------------------------------------------------------------------------------


@some_engines
def test_it_stands_still_with_its_time_limit_until_a_person_says_otherwise(engine):
    orders = [(100.0, suspend(1)), (300.0, resume(1))]
    simulation = tell(engine, [job(0.0, 500.0, walltime_s=600.0)], orders)
    assert still(simulation) == ([(100.0, 1, "root")], [(300.0, 1)])
    assert ended(simulation) == {1: ("COMPLETED", 700.0, 200.0)}


@some_engines
def test_others_use_its_cpus_and_it_waits_for_them_before_all_who_come_later(engine):
    jobs = [job(0.0, 500.0), job(10.0, 300.0), job(20.0, 300.0)]
    simulation = tell(engine, jobs, [(100.0, suspend(1)), (150.0, resume(1))])
    assert placed(simulation) == {(1, 1): 0.0, (2, 1): 100.0, (3, 1): 800.0}
    assert still(simulation)[1] == [(400.0, 1)]


@some_engines
def test_it_takes_back_at_once_what_nobody_has_and_waits_for_the_rest(engine):
    """Nobody starts on the CPUs that are free already."""
    jobs = [job(0.0, 500.0), job(10.0, 100.0, cpus_per_task=1), job(160.0, 5.0, cpus_per_task=1, walltime_s=6.0)]
    simulation = tell(engine, jobs, [(100.0, suspend(1)), (150.0, resume(1))])
    assert placed(simulation)[2, 1] == 100.0
    assert still(simulation)[1] == [(200.0, 1)]
    assert placed(simulation)[3, 1] == 600.0


@some_engines
def test_memory_stays_its_own(engine):
    total = make_cluster(1).nodes[0].memory_bytes
    jobs = [job(0.0, 500.0, memory_bytes_per_node=total * 3 // 4)]
    jobs.append(job(10.0, 50.0, memory_bytes_per_node=total // 2))
    jobs.append(job(20.0, 50.0, is_exclusive=True))
    simulation = tell(engine, jobs, [(100.0, suspend(1)), (200.0, resume(1))])
    assert ended(simulation)[1] == ("COMPLETED", 600.0, 100.0)
    assert min(placed(simulation)[job_id, 1] for job_id in (2, 3)) >= 600.0


@pytest.mark.parametrize("engine", sorted(ENGINES.keys() - {"fcfs"}))
def test_no_exclusive_job_comes_beside_one_that_stands_still_even_without_memory(engine):
    """Of what it holds nothing is left that would show; whoever is behind in line has the CPUs."""
    jobs = [job(0.0, 500.0), job(0.0, 500.0, walltime_s=900.0)]
    jobs += [job(10.0, 50.0, is_exclusive=True), job(20.0, 50.0, walltime_s=60.0), job(120.0, 20.0, walltime_s=30.0)]
    orders = [(100.0, suspend(2)), (2000.0, resume(2))]
    simulation = tell(engine, jobs, orders, cluster(2))
    begun = placed(simulation)
    assert (begun[3, 1], begun[4, 1]) == (500.0, 100.0)
    assert begun[5, 1] == 150.0, "the node is promised to nobody who cannot have it"


@every_engine
def test_no_exclusive_job_is_promised_a_node_of_one_that_stands_still(engine):
    """Not when it is the only node, nor when others on it have ended, nor beside one that was there alone."""
    jobs = [job(0.0, 500.0), job(10.0, 50.0, cpus_per_task=2), job(20.0, 50.0, is_exclusive=True)]
    simulation = tell(engine, jobs, [(100.0, suspend(1)), (1000.0, resume(1))], until_s=900.0)
    assert placed(simulation) == {(1, 1): 0.0, (2, 1): 100.0}
    state = simulation.core.state
    assert not state.promises or state.promises[JobId(3)].start_time_s == float("inf")
    room, ask = state.snapshot(900.0).room(), state.packing.ask(state.jobs[JobId(3)].shape)
    assert not room.fitting(ask)
    assert not room.is_idle(0)
    jobs = [job(0.0, 500.0, is_exclusive=True), job(10.0, 900.0), job(500.0, 50.0, is_exclusive=True)]
    orders = [(100.0, suspend(1)), (200.0, resume(1)), (300.0, suspend(2)), (2000.0, resume(2))]
    begun = placed(tell(engine, jobs, orders))
    assert begun == {(1, 1): 0.0, (2, 1): 100.0, (3, 1): 2700.0}


@some_engines
def test_the_engine_does_not_let_it_go_on_though_nobody_has_its_cpus(engine):
    """Suspended for another job first, then by a person: this counts."""
    jobs = [job(0.0, 500.0), job(200.0, 50.0, HIGH)]
    simulation = tell(engine, jobs, [(220.0, suspend(1)), (900.0, resume(1))])
    assert still(simulation) == ([(200.0, 1, "hal"), (220.0, 1, "root")], [(900.0, 1)])
    assert ended(simulation)[1] == ("COMPLETED", 1200.0, 700.0)


@some_engines
def test_what_it_has_borrowed_goes_back_and_it_waits_for_whom_that_is(engine):
    jobs = [job(0.0, 500.0), job(200.0, 50.0, HIGH)]
    simulation = tell(engine, jobs, [(220.0, suspend(2)), (300.0, resume(2))])
    assert still(simulation)[1] == [(220.0, 1), (520.0, 2)]
    assert ended(simulation) == {1: ("COMPLETED", 520.0, 20.0), 2: ("COMPLETED", 550.0, 300.0)}


def test_each_component_gives_back_what_it_has_not_borrowed():
    """The first of three has half of its CPUs from a job that is to go on."""
    mixed = job(20.0, 100.0, components=(Component(1, 1, 1, GIB), Component(1, 1, 3, GIB)))
    orders = [(10.0, suspend(1)), (30.0, resume(1))]
    where = a_cluster(3, preempt_mode=PreemptMode.CANCEL)
    state = tell("hal", [job(0.0, 500.0, cpus_per_task=2), mixed], orders, where, 40.0).core.state
    (numbers,) = [each.node_numbers for each in state.jobs[JobId(2)].active.values()]
    assert state.jobs[JobId(1)].active[0].node_numbers == numbers[:1]
    back = Counter(dict(enumerate(state.table.free_cpus)))
    for row in state.snapshot(40.0).running():
        for part, its in row.shape.assigned(row.node_numbers):
            back.update(dict.fromkeys(its, part.cpus))
    assert back == {0: 4, 1: 4, 2: 4}
    urgent = record_of(state, ADA, make_spec(partition=HIGH), 40.0)
    (victim,) = Victims(state, 40.0).of(urgent)
    its_own = victim.job.shape.assigned(victim.job.node_numbers)
    assert [(part.cpus, tuple(its)) for part, its in its_own] == [(2, numbers[:1]), (1, numbers[1:2]), (3, numbers[2:])]


@some_engines
def test_two_that_are_to_go_on_do_so_in_the_order_in_which_that_was_asked(engine):
    jobs = [job(0.0, 500.0), job(10.0, 500.0), job(20.0, 500.0)]
    orders = [(100.0, suspend(1)), (200.0, suspend(2)), (300.0, resume(2)), (310.0, resume(1))]
    simulation = tell(engine, jobs, orders)
    assert placed(simulation)[3, 1] == 200.0
    assert still(simulation)[1] == [(700.0, 2), (1100.0, 1)]


@some_engines
def test_who_borrows_from_one_that_is_to_go_on_may_be_suspended_in_turn(engine):
    jobs = [job(0.0, 500.0), job(10.0, 300.0), job(160.0, 50.0, HIGH)]
    simulation = tell(engine, jobs, [(100.0, suspend(1)), (150.0, resume(1))])
    assert still(simulation) == ([(100.0, 1, "root"), (160.0, 2, "hal")], [(210.0, 2), (450.0, 1)])


@some_engines
def test_a_gang_waits_for_all_of_its_nodes(engine):
    jobs = [job(0.0, 500.0, node_count=2, task_count=2), job(10.0, 100.0), job(10.0, 200.0)]
    simulation = tell(engine, jobs, [(100.0, suspend(1)), (110.0, resume(1))], cluster(2))
    assert still(simulation)[1] == [(300.0, 1)]
    assert ended(simulation)[1] == ("COMPLETED", 700.0, 200.0)


@some_engines
def test_elements_of_an_array(engine):
    array = ArraySpec(((0, 4),), None)
    jobs = [job(0.0, 500.0, cpus_per_task=2, array=array)]
    orders = [(100.0, suspend(1, ((1, 2), (3, 4)))), (550.0, resume(1))]
    simulation = tell(engine, jobs, orders)
    events = [event for event in simulation.events if isinstance(event, JobSuspended | JobResumed)]
    assert [(event.time_s, event.elements) for event in events] == [(100.0, ((1, 2),)), (600.0, ((1, 2),))]
    assert summarise(simulation.events).ended == {"COMPLETED": 4}


@some_engines
@pytest.mark.parametrize("message", [Cancel, Requeue])
@pytest.mark.parametrize("is_to_go_on", [False, True])
def test_it_can_be_ended_and_what_is_freed_is_what_it_had(engine, message, is_to_go_on):
    jobs = [job(0.0, 500.0), job(10.0, 500.0)]
    orders = [(100.0, suspend(1)), (200.0, message(JobSelection(JobId(1)), "ada"))]
    orders += [(150.0, resume(1))] if is_to_go_on else []
    simulation = tell(engine, jobs, orders)
    assert ended(simulation)[2] == ("COMPLETED", 600.0, 0.0)
    again = [key for key in placed(simulation) if key == (1, 2)]
    assert bool(again) == (message is Requeue)
    assert again == [] or placed(simulation)[1, 2] == 600.0, "as its next attempt, which nobody suspended"


@some_engines
def test_its_node_is_lost(engine):
    fault = Fault(NodeName("n0"), 200.0, 300.0)
    jobs = [job(0.0, 500.0, can_requeue=True)]
    simulation = tell(engine, jobs, [(100.0, suspend(1))], faults=[fault])
    assert (1, 2) in placed(simulation)
    assert ended(simulation)[1][0] == "COMPLETED"


# -- what people are told ----------------------------------------------------------------------------------------------


def test_explain_says_who_suspended_it_and_when_and_for_whom_it_waits():
    jobs = [job(0.0, 500.0), job(10.0, 500.0)]
    state = tell("easy", jobs, [(100.0, suspend(1))], until_s=120.0).core.state
    found = explain(state, state.jobs[JobId(1)], 120.0)
    when = "suspended by root since 1970-01-01T00:01:40Z"
    assert (found.state, found.reason) == ("SUSPENDED", "suspended")
    assert found.text == f"{when}; it goes on when an operator resumes it (`hal resume 1`)"
    Core(ENGINES["easy"](), "easy", state).receive(resume(1), 130.0)
    after = "it goes on after job 2, whose CPUs they are until then"
    assert explain(state, state.jobs[JobId(1)], 130.0).text == f"{when}; {after}"
    assert holders_of(state, JobId(1), None) == holders_of(state, JobId(1), ((0, 1),)) == [2]
    assert holders_of(state, JobId(1), ((1, 2),)) == holders_of(state, JobId(2), None) == []


def test_explain_says_whose_memory_is_missed_when_nobody_knows_when_that_goes_on():
    jobs = [job(0.0, 500.0, memory_bytes_per_node=6 * GIB), job(10.0, 500.0, memory_bytes_per_node=6 * GIB)]
    state = tell("easy", jobs, [(100.0, suspend(1))], cluster(1), until_s=120.0).core.state
    why_not = forecast(excerpt(state, JobId(2), 120.0), ENGINES["easy"](), 120.0).why_not
    assert why_not == "it waits for the memory of job 1, suspended for nobody knows how long"


def test_refusals_say_why():
    jobs = [job(0.0, 500.0), job(10.0, 500.0), job(0.0, 50.0, TOP, cpus_per_task=1)]
    state = tell("easy", jobs, [], cluster(2), until_s=120.0).core.state
    assert refused(state, resume(1)) == "job 1 is not suspended; there is nothing to resume"
    assert "executor 'metal' of node n" in refused(state, attrs.evolve(suspend(1), executors=frozenset({"other"})))
    assert refused(state, suspend(2)) == "job 2 has ended; there is nothing to suspend"
    state = tell("easy", [job(0.0, 500.0), job(10.0, 500.0)], [], until_s=120.0).core.state
    assert "`hal hold 2` keeps job 2 from starting" in refused(state, suspend(2))
    state = paused("easy", [job(0.0, 500.0), job(100.0, 50.0, HIGH)], 120.0).core.state
    text = "job 1 goes on by itself after job 2; nobody keeps it suspended"
    assert refused(state, resume(1)) == text
    elastic = tell("easy", [job(0.0, 500.0, elastic_weight=1, can_requeue=True)], [], until_s=120.0).core.state
    assert refused(elastic, suspend(1)).startswith("job 1 is elastic, which gives way to others by itself")
    core = Core(ENGINES["easy"](), "easy", state)
    core.receive(Cancel(JobSelection(JobId(1)), "ada"), 125.0)
    assert refused(state, suspend(1)) == "job 1 is ending already; there is nothing to suspend"
    with pytest.raises(NotFound, match="no job 9"):
        core.receive(suspend(9), 130.0)


def test_twice_is_once():
    state = tell("easy", [job(0.0, 500.0)], [(100.0, suspend(1))], until_s=120.0).core.state
    decided = Core(ENGINES["easy"](), "easy", state).receive(suspend(1), 130.0)
    assert (decided.events, decided.answer) == ((), 0)


def test_its_cpus_are_charged_to_those_who_use_them():
    state = tell("easy", [job(0.0, 500.0)], [(100.0, suspend(1))], until_s=300.0).core.state
    assert [used.cpu_s for _, used in state.ledger.used(300.0)] == pytest.approx([400.0], rel=1e-3)


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_to_go_on", [False, True])
def test_a_state_with_such_jobs_survives_a_restart(is_to_go_on):
    jobs = [job(0.0, 500.0), job(10.0, 300.0)]
    orders = [(100.0, suspend(1)), *([(150.0, resume(1))] if is_to_go_on else [])]
    simulation = tell("easy", jobs, orders, until_s=200.0)
    state = simulation.core.state
    loaded = State.load(state.dump())
    assert loaded.dump() == state.dump()
    assert loaded.table.free_cpus == state.table.free_cpus == [0]
    assert loaded.allocations.keys() == state.allocations.keys()
    assert state.jobs[JobId(1)].state is loaded.jobs[JobId(1)].state is JobState.SUSPENDED
    rows = [(row.job_id, row.shape.cpus, row.expected_end_s) for row in loaded.snapshot(200.0).running()]
    if is_to_go_on:
        assert rows == [(2, 0, 1100.0), (1, 4, 2000.0)], "who uses its CPUs gives back none that would be free"
    else:
        assert rows == [(2, 4, 1100.0), (1, 0, float("inf"))]
    simulation.core.state = loaded
    if not is_to_go_on:
        simulation.post(210.0, resume(1))
    simulation.run()
    assert ended(simulation)[1] == ("COMPLETED", 800.0, 300.0)


@pytest.mark.parametrize(("until_s", "does_resume"), [(150.0, False), (250.0, True)])
def test_a_node_that_reports_is_told_again(until_s, does_resume):
    orders = [(100.0, suspend(1)), (200.0, resume(1))]
    state = tell("easy", [job(0.0, 500.0)], orders, until_s=until_s).core.state
    told = [each.order for each in outstanding_on(state, "n0") if isinstance(each, SuspendPart)]
    assert told == [SuspendOrder(AttemptKey(JobId(1), 0, 1), does_resume)]


def test_a_node_that_reports_is_told_first_who_stands_still_and_then_who_goes_on():
    """It had been told that one goes on before the other, on the same CPUs, was to stand still (kernel_sim --seed
    3990225127)."""
    orders = [(100.0, suspend(1)), (150.0, suspend(2)), (160.0, resume(1))]
    state = tell("easy", [job(0.0, 500.0), job(10.0, 300.0)], orders, until_s=200.0).core.state
    told = [each.order for each in outstanding_on(state, "n0") if isinstance(each, SuspendPart)]
    assert told == [SuspendOrder(AttemptKey(JobId(2), 0, 1)), SuspendOrder(AttemptKey(JobId(1), 0, 1), True)]


@some_engines
def test_the_decisions_of_such_a_journal_are_repeated(engine):
    jobs = [job(0.0, 500.0), job(10.0, 300.0), job(160.0, 50.0, HIGH)]
    simulation = tell(engine, jobs, [(100.0, suspend(1)), (150.0, resume(1))])
    verdict = repeat_decisions(lambda: iter(simulation.events), lambda _: ENGINES[engine]())
    assert (verdict.differences, verdict.start_count) == ((), 3)


# -- at random ---------------------------------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), engine=st.sampled_from(sorted(ENGINES)), has_faults=st.booleans())
def test_nothing_is_held_twice_and_nothing_is_lost(seed, engine, has_faults):
    """The state is checked after every event."""
    random = Random(seed)
    where = attrs.evolve(cluster(random.randint(1, 3)), node_timeout_s=30.0)
    mix = Mix(arrival_s_mean=10.0, runtime_s_mean=60.0, element_count_max=3, node_count_max=len(where.nodes))
    jobs = []
    for each in generate(random, 20, LOW, mix).jobs:
        spec = attrs.evolve(each.spec, partition=random.choice([LOW, LOW, HIGH]))
        memory_bytes = random.choice([0, spec.memory_bytes_per_node])
        spec = attrs.evolve(spec, memory_bytes_per_node=memory_bytes, is_exclusive=random.random() < 0.2)
        jobs.append(attrs.evolve(each, spec=spec))
    simulation = Simulation(Core(Watched(ENGINES[engine]()), engine), where)
    simulation.add_workload(Workload.of(jobs))
    simulation.add_faults([Fault(NodeName("n0"), 150.0, 250.0)] if has_faults else [])
    for time_s in range(5, 400, 5):
        simulation.run(until_s=float(time_s))
        for record in list(simulation.core.state.jobs.values()):
            if record.active and random.random() < 0.2:
                message = random.choice([suspend, resume])(record.job_id)
                simulation.post(float(time_s), message)
        simulation.run(until_s=float(time_s))
    for record in list(simulation.core.state.jobs.values()):
        if any(activity.is_aside for activity in record.active.values()):
            simulation.post(400.0, resume(record.job_id))
    simulation.run()
    check(simulation)
    assert summarise(simulation.events).unfinished_count == 0
    assert all(isinstance(each.error, Refused) for each in simulation.refused)
