"""Preemption over whole workloads in simulated time: who makes room, for whom, and that it never was in vain."""

from __future__ import annotations

import itertools
from random import Random

import attrs
import pytest
from hypothesis import example, given, settings, strategies as st

from hal_core.config.reading import parse_configuration
from hal_core.errors import InvalidInput
from hal_core.models.event import JobCancelRequested, JobEnded, JobPlaced
from hal_core.models.job import EndKind, JobId, JobSpec, Shape
from hal_core.models.message import AddReservation
from hal_core.models.node import Cluster, NodeName, Partition, PartitionName, Reservation
from hal_core.models.packing import Packing
from hal_core.models.plan import Plan, Preempt, RunningJob, Victim
from hal_core.models.policy import PreemptMode, Priorities, Qos, QueueOrder
from hal_core.models.room import Room
from hal_core.rules.core import Core
from hal_core.rules.explain import explain
from hal_core.rules.state import State
from hal_core.rules.victims import least_loss
from hal_core.sim.executor_model import Delays, Fault
from hal_core.sim.report import summarise
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, Workload, WorkloadJob, generate
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs
from hal_engine_backfill.preempting import Preempting
from tests.simulation.test_simulation import check
from tests.support.core_world import ADA, make_cluster, make_spec

LOW, HIGH, TOP = PartitionName("low"), PartitionName("high"), PartitionName("top")
ENGINES = {
    "fcfs": lambda: Preempting(Fcfs()),
    "easy": lambda: Preempting(Easy()),
    "easy-sjbf": lambda: Preempting(Easy(is_shortest_first=True), is_one_by_one=True),
    "conservative": lambda: Preempting(Conservative()),
    "reserve": lambda: Preempting(Conservative(promise_max=2)),
    "hal": lambda: Preempting(Expansion(60.0, 5 * 86_400.0), is_one_by_one=True),
}
every_engine = pytest.mark.parametrize("engine", ENGINES)


def a_cluster(node_count=2, **fields) -> Cluster:
    cluster = make_cluster(node_count)
    names = tuple(node.name for node in cluster.nodes)
    low = Partition(LOW, names, is_default=True, **fields)
    high = Partition(HIGH, names, priority=10, preempts=(LOW,))
    top = Partition(TOP, names, priority=20, preempts=(HIGH, LOW))
    return attrs.evolve(cluster, partitions=(low, high, top))


def job(submit_time_s, runtime_s, partition=LOW, **fields):
    fields = {"walltime_s": 1000.0, "cpus_per_task": 4, **fields}
    return WorkloadJob(submit_time_s, make_spec(partition=partition, **fields), ADA, runtime_s)


class Watched:
    """An engine whose plans name nobody twice: commit would refuse the second, and hide that the engine is wrong."""

    def __init__(self, engine):
        self._engine = engine

    def plan(self, snapshot):
        plan = self._engine.plan(snapshot)
        victims = [key for preempt in plan.preempts for key in preempt.victims]
        assert len(set(victims)) == len(victims), "a victim makes room for two"
        return plan


def run(engine, jobs, cluster=None, delays=None, faults=()):
    simulation = Simulation(Core(Watched(ENGINES[engine]()), engine), cluster or a_cluster(), delays)
    simulation.add_workload(Workload.of(jobs))
    simulation.add_faults(faults)
    simulation.run()
    check(simulation)
    return simulation


def placed(simulation):
    """(job, attempt) -> when it was placed."""
    return {(event.job_id, event.attempt): event.time_s for event in simulation.events if isinstance(event, JobPlaced)}


def preempted(simulation):
    """[(time, victim, for whom)]"""
    return [
        (event.time_s, event.job_id, event.preempted_for)
        for event in simulation.events
        if isinstance(event, JobCancelRequested) and event.preempted_for is not None
    ]


# -- examples ----------------------------------------------------------------------------------------------------------


@every_engine
def test_the_job_that_has_run_least_makes_room_and_starts_again(engine):
    simulation = run(engine, [job(0.0, 500.0), job(100.0, 500.0), job(200.0, 50.0, HIGH)])
    assert preempted(simulation) == [(200.0, 2, 3)]
    assert placed(simulation) == {(1, 1): 0.0, (2, 1): 100.0, (3, 1): 200.0, (2, 2): 250.0}
    assert summarise(simulation.events).ended == {"COMPLETED": 3}


@every_engine
def test_who_ran_while_the_daemon_was_started_anew_starts_again_too(engine):
    """The engine's view of it is made while it runs and makes room, when nothing of it can start."""
    simulation = Simulation(Core(Watched(ENGINES[engine]()), engine), a_cluster(1))
    simulation.add_workload(Workload.of([job(0.0, 500.0), job(200.0, 50.0, HIGH)]))
    simulation.run(until_s=100.0)
    simulation.core.state = State.load(simulation.core.state.dump())
    simulation.run()
    assert placed(simulation) == {(1, 1): 0.0, (2, 1): 200.0, (1, 2): 250.0}


@every_engine
def test_what_is_cancelled_ends_with_its_reason(engine):
    cluster = a_cluster(1, preempt_mode=PreemptMode.CANCEL)
    simulation = run(engine, [job(0.0, 500.0), job(200.0, 50.0, HIGH)], cluster)
    (end,) = [event.end for event in simulation.events if isinstance(event, JobEnded) and event.job_id == 1]
    assert (end.kind, end.by, end.detail) == (EndKind.CANCELLED, "hal", "preempted for job 2")


@every_engine
def test_nothing_is_preempted_in_its_first_while(engine):
    simulation = run(
        engine, [job(0.0, 500.0), job(100.0, 500.0), job(200.0, 50.0, HIGH)], a_cluster(preempt_exempt_s=150.0)
    )
    assert preempted(simulation) == [(200.0, 1, 3)]


@every_engine
def test_the_grace_of_the_partition_is_given_and_the_room_is_kept_meanwhile(engine):
    """While the victims end (after 60 s), the jobs that wait behind take nothing of what they leave."""
    jobs = [job(0.0, 500.0), job(1.0, 500.0), job(2.0, 30.0), job(3.0, 30.0)]
    jobs.append(job(200.0, 50.0, HIGH, node_count=2, task_count=2, walltime_s=100.0))
    cluster = a_cluster(preempt_grace_s=60.0)
    simulation = run(engine, jobs, cluster, Delays(cancel_share=1.0))
    assert [row[:2] for row in preempted(simulation)] == [(200.0, 2), (200.0, 1)]
    assert placed(simulation)[5, 1] == 260.0


@every_engine
def test_a_checkpoint_saves_what_was_done_before_it(engine):
    jobs = [job(0.0, 900.0, checkpoint_s=100.0), job(150.0, 900.0), job(210.0, 50.0, HIGH)]
    assert preempted(run(engine, jobs)) == [(210.0, 1, 3)], "it loses 10 s, the other 60 s"


@every_engine
def test_nobody_is_preempted_for_a_job_that_would_not_fit_even_then(engine):
    jobs = [job(0.0, 500.0), job(0.0, 500.0, TOP), job(100.0, 50.0, HIGH, node_count=2, task_count=2)]
    simulation = run(engine, jobs)
    assert preempted(simulation) == []
    assert placed(simulation)[3, 1] == 500.0


@every_engine
def test_a_higher_one_preempts_both_below_and_none_of_them_it(engine):
    jobs = [job(0.0, 300.0), job(0.0, 300.0), job(10.0, 300.0, HIGH)]
    jobs.append(job(20.0, 300.0, TOP, node_count=2, task_count=2, walltime_s=300.0))
    simulation = run(engine, jobs)
    pairs = sorted(row[1:] for row in preempted(simulation))
    assert pairs in ([(1, 4), (2, 3), (3, 4)], [(1, 3), (2, 4), (3, 4)])
    assert placed(simulation)[4, 1] == 20.0
    assert placed(simulation)[3, 2] == 320.0


@every_engine
def test_several_jobs_get_room_in_one_pass(engine):
    jobs = [job(0.0, 500.0, cpus_per_task=1) for _ in range(8)]
    jobs += [job(100.0, 50.0, HIGH, cpus_per_task=2) for _ in range(2)]
    simulation = run(engine, jobs)
    assert len(preempted(simulation)) == 4
    assert {time_s for (job_id, _), time_s in placed(simulation).items() if job_id > 8} == {100.0}


def levels(cluster=None, **fields) -> Cluster:
    """One partition; `urgent` may preempt `normal` and `spare`, which say how."""
    urgent = Qos("urgent", 10, preempts=("normal", "spare"))
    names = (Qos("spare", -5, preempt_mode=PreemptMode.CANCEL), Qos("normal", is_default=True, **fields), urgent)
    return attrs.evolve(cluster or make_cluster(2), qos=names)


def of_level(qos, submit_time_s, runtime_s, **fields):
    return job(submit_time_s, runtime_s, PartitionName("all"), qos=qos, **fields)


@every_engine
def test_a_quality_of_service_preempts_those_that_it_names_and_each_goes_as_its_own_says(engine):
    jobs = [of_level("normal", 0.0, 500.0), of_level("spare", 0.0, 500.0)]
    jobs.append(of_level("urgent", 100.0, 50.0, node_count=2, task_count=2, walltime_s=50.0))
    simulation = run(engine, jobs, levels())
    assert sorted(preempted(simulation)) == [(100.0, 1, 3), (100.0, 2, 3)]
    assert placed(simulation) == {(1, 1): 0.0, (2, 1): 0.0, (3, 1): 100.0, (1, 2): 150.0}
    assert summarise(simulation.events).ended == {"COMPLETED": 2, "CANCELLED": 1}


@every_engine
def test_a_level_that_names_nobody_preempts_nobody(engine):
    jobs = [of_level("spare", 0.0, 500.0), of_level("spare", 0.0, 500.0), of_level("normal", 100.0, 50.0)]
    assert preempted(run(engine, jobs, levels())) == []


@every_engine
def test_the_exemption_of_a_level_holds(engine):
    jobs = [of_level("normal", 0.0, 500.0), of_level("normal", 60.0, 500.0), of_level("urgent", 100.0, 50.0)]
    assert preempted(run(engine, jobs, levels(preempt_exempt_s=50.0))) == [(100.0, 1, 3)]


@every_engine
def test_who_would_come_first_again_does_not_make_room(engine):
    """Its own priority lifts the victim above the job that it would make room for."""
    jobs = [of_level("normal", 0.0, 500.0, priority=20), of_level("urgent", 100.0, 50.0)]
    assert preempted(run(engine, jobs, levels(make_cluster(1)))) == []


@pytest.mark.parametrize("mode", PreemptMode)
def test_where_ranks_do_not_decide_only_those_are_ended_that_do_not_wait_again(mode):
    cluster = attrs.evolve(levels(make_cluster(1), preempt_mode=mode), priorities=Priorities(QueueOrder.WEIGHTED))
    jobs = [of_level("normal", 0.0, 500.0), of_level("urgent", 100.0, 50.0)]
    assert len(preempted(run("easy", jobs, cluster))) == (mode is PreemptMode.CANCEL)


def test_explain_names_who_makes_room_and_for_whom():
    simulation = Simulation(
        Core(ENGINES["easy"](), "easy"), a_cluster(1, preempt_grace_s=60.0), Delays(cancel_share=1.0)
    )
    simulation.add_workload(Workload.of([job(0.0, 500.0), job(200.0, 50.0, HIGH)]))
    simulation.run(until_s=210.0)
    state = simulation.core.state
    found = explain(state, state.jobs[JobId(2)], 210.0)
    assert (found.reason, found.text) == ("preemption", "jobs that make room for it are ending: 1")
    simulation.run(until_s=270.0)
    assert "it made room for job 2 before" in explain(state, state.jobs[JobId(1)], 270.0).text


def test_a_victim_is_not_taken_where_the_room_is_reserved():
    simulation = Simulation(Core(ENGINES["easy"](), "easy"), a_cluster(1))
    simulation.post(0.0, AddReservation(Reservation("repair", (NodeName("n0"),), 1500.0, 100.0, by="oper")))
    simulation.add_workload(Workload.of([job(0.0, 900.0), job(600.0, 50.0, HIGH)]))
    simulation.run()
    assert preempted(simulation) == [], "the job's limit would reach into the reservation"
    assert placed(simulation)[2, 1] == 1600.0


@pytest.mark.parametrize(
    ("victims", "job_id"),
    [
        (((JobId(1), 0), (JobId(1), 0)), 3),
        (((JobId(2), 0),), 3),
        (((JobId(9), 0),), 3),
        ((), 3),
        (((JobId(1), 0),), 2),
        (((JobId(1), 0),), 4),
    ],
)
def test_commit_believes_no_proposal(victims, job_id):
    """A victim twice, one that may not be preempted, one that is not there; none; for a job that runs, or for none."""

    class Wild:
        def plan(self, snapshot):
            return (
                Plan(preempts=(Preempt(JobId(job_id), victims),)) if snapshot.now_s >= 50.0 else Easy().plan(snapshot)
            )

    simulation = Simulation(Core(Wild(), "wild"), a_cluster())
    jobs = [job(0.0, 100.0), job(0.0, 100.0, TOP), job(50.0, 10.0, HIGH, node_count=2, task_count=2)]
    simulation.add_workload(Workload.of(jobs))
    simulation.run(until_s=60.0)
    assert preempted(simulation) == []


# -- the choice of victims, against all sets ---------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_other_set_of_victims_loses_less(data):
    node_count = data.draw(st.integers(1, 3))
    cluster = make_cluster(node_count)
    packing = Packing(cluster.nodes, {PartitionName("all"): range(node_count)})
    room = Room.of_rows(packing, [packing.idle_row(number) for number in range(node_count)])
    victims = []
    for number in range(data.draw(st.integers(0, 6))):
        shape = Shape(PartitionName("all"), data.draw(st.integers(1, node_count)), data.draw(st.integers(1, 3)), 0)
        chosen = room.choose(packing.ask(shape))
        if chosen:
            room.take(chosen, packing.ask(shape))
            lost = float(data.draw(st.integers(0, 5)))
            victims.append(Victim(RunningJob(JobId(number), 0, shape, chosen, 100.0), lost))
    ask = packing.ask(
        Shape(PartitionName("all"), data.draw(st.integers(1, node_count)), data.draw(st.integers(1, 4)), 0)
    )

    def fits(chosen):
        trial = room.copy()
        for victim in chosen:
            trial.give(victim.job.node_numbers, packing.ask(victim.job.shape))
        return bool(trial.choose(ask))

    sets = [found for size in range(len(victims) + 1) for found in itertools.combinations(victims, size) if fits(found)]
    found = least_loss(room, ask, victims)
    if not sets:
        assert found is None
        return
    best = min((sum(victim.lost for victim in each), len(each)) for each in sets)
    assert found is not None
    assert fits(found)
    assert (sum(victim.lost for victim in found), len(found)) == best


def test_among_thousands_the_answer_is_enough_and_nobody_is_in_it_for_nothing():
    random = Random(5)
    cluster = make_cluster(500)
    packing = Packing(cluster.nodes, {PartitionName("all"): range(500)})
    room = Room.of_rows(packing, [packing.idle_row(number) for number in range(500)])
    victims = []
    while True:
        shape = Shape(PartitionName("all"), random.choice([1, 1, 1, 4]), random.randint(1, 3), 0)
        chosen = room.choose(packing.ask(shape))
        if not chosen:
            break
        room.take(chosen, packing.ask(shape))
        victims.append(Victim(RunningJob(JobId(len(victims)), 0, shape, chosen, 100.0), random.uniform(0, 1000)))
    ask = packing.ask(Shape(PartitionName("all"), 20, 4, 0))
    found = least_loss(room, ask, victims)
    assert found is not None
    for left_out in (None, *found):
        trial = room.copy()
        for victim in found:
            if victim is not left_out:
                trial.give(victim.job.node_numbers, packing.ask(victim.job.shape))
        assert bool(trial.choose(ask)) == (left_out is None)


# -- at random ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), engine=st.sampled_from(sorted(ENGINES)), has_faults=st.booleans())
@example(seed=12001, engine="easy-sjbf", has_faults=False)
@example(seed=9431, engine="hal", has_faults=False)
def test_it_is_never_in_vain_and_never_without_end(seed, engine, has_faults):
    random = Random(seed)
    cluster = attrs.evolve(
        a_cluster(
            random.randint(1, 4),
            preempt_grace_s=random.choice([0.0, 40.0]),
            preempt_exempt_s=random.choice([0.0, 20.0]),
        ),
        node_timeout_s=30.0,
    )
    mix = Mix(arrival_s_mean=10.0, runtime_s_mean=60.0, element_count_max=3, node_count_max=len(cluster.nodes))
    jobs = []
    for each in generate(random, 40, LOW, mix).jobs:
        spec: JobSpec = attrs.evolve(each.spec, partition=random.choice([LOW, LOW, HIGH, TOP]))
        jobs.append(attrs.evolve(each, spec=spec))
    faults = [Fault(NodeName("n0"), time_s := random.uniform(0, 300), time_s + 100.0)] if has_faults else []
    simulation = run(engine, jobs, cluster, Delays(cancel_share=random.choice([0.0, 0.5, 1.0])), faults)
    assert summarise(simulation.events).unfinished_count == 0
    allowed = {partition.name: partition.preempts for partition in cluster.partitions}
    spec_of = {number + 1: each.spec for number, each in enumerate(jobs)}
    starts: dict[int, list[float]] = {}
    for event in simulation.events:
        if isinstance(event, JobPlaced):
            starts.setdefault(event.job_id, []).append(event.time_s)
    for time_s, victim, winner in preempted(simulation):
        assert spec_of[victim].partition in allowed[spec_of[winner].partition]
        if not has_faults:
            began = min((start_s for start_s in starts[winner] if start_s >= time_s), default=None)
            grace_s = max(40.0, spec_of[victim].kill_grace_s)
            above = any(  # It has the room; or it came meanwhile and waits for victims of its own.
                time_s < jobs[other - 1].submit_time_s <= time_s + grace_s
                or any(time_s <= start_s <= time_s + grace_s for start_s in starts.get(other, ()))
                for other in spec_of
                if other != winner and may_stand_before(engine, other, winner, spec_of)
            )
            assert above or (began is not None and began <= time_s + grace_s), (
                f"{victim} made room in vain for {winner}"
            )


def may_stand_before(engine, other, winner, spec_of) -> bool:
    """By rank, then in the order in which they came; in `hal` any of the same rank may, by its expansion factor."""
    ranks = _rank(spec_of[other]), _rank(spec_of[winner])
    return ranks[0] > ranks[1] or (ranks[0] == ranks[1] and (engine == "hal" or other < winner))


def _rank(spec: JobSpec) -> int:
    return [LOW, HIGH, TOP].index(spec.partition)


@pytest.mark.parametrize(
    ("partitions", "words"),
    [
        ("{name: a, preempts: [a]}", "'a' has priority 0, 'a' 0; only lower ones can be preempted"),
        ("{name: a, preempts: [b]}, {name: b, priority: 1, preempts: [a]}", "'b' has priority 1, 'a' 0; only lower"),
        ("{name: a, preempts: [bb]}, {name: b}", r"partitions\[0\].preempts: no partition named 'bb'"),
        ("{name: a, preempt_mode: pause}", "requeue, cancel, suspend"),
    ],
)
def test_the_configuration_lets_nobody_preempt_in_a_circle(partitions, words):
    text = f"nodes: [{{names: [n1], cpus: 4, memory: 1G}}]\npartitions: [{partitions}]\n"
    with pytest.raises(InvalidInput, match=words):
        parse_configuration(text, "hal.yaml")


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ("{name: a, preempts: [a]}", "level 'a' has priority 0, 'a' 0; only lower ones can be preempted"),
        ("{name: a, preempts: [b]}, {name: b, priority: 1}", "level 'b' has priority 1, 'a' 0; only lower ones"),
        ("{name: a, preempts: [bb]}, {name: b}", r"qos\[0\].preempts: no quality of service named 'bb'"),
        ("{name: a, preempt_mode: pause}", "pause"),
    ],
)
def test_nor_do_levels_of_service(levels, words):
    text = f"nodes: [{{names: [n1], cpus: 4, memory: 1G}}]\npartitions: [{{name: p}}]\nqos: [{levels}]\n"
    with pytest.raises(InvalidInput, match=words):
        parse_configuration(text, "hal.yaml")
