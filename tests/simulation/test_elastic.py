"""Elastic jobs beside batch jobs on the heap shell: who waits for whom, for how long, and who gets what is left."""

from __future__ import annotations

from collections import Counter
from random import Random, SystemRandom

import attrs
import pytest

from hal_core.models.event import JobCancelRequested, JobEnded, JobPlaced, JobRequeued
from hal_core.models.job import ArraySpec, JobSpec, Owner
from hal_core.models.policy import Account
from hal_core.models.ranges import count_of
from hal_core.plugins import Plugins
from hal_core.rules.share_view import share_views
from hal_core.rules.state import State
from hal_core.sim.decisions import repeat_decisions
from hal_core.sim.workload import Workload, WorkloadJob
from tests.support.elastic_runs import GRACE_S, PARTITION, cpus_of, delays_s, make_case, run, session_job, waits_s

LEAVE_S = 0.05
ENGINES = ("easy", "fcfs", "hal", "conservative")


def case_of(seed, job_count=120, load=0.8, engine="easy"):
    return attrs.evolve(make_case(Random(seed), job_count, load, node_count=6, cpus=4), engine=engine, leave_s=LEAVE_S)


def batch_job(time_s, nodes=1, cpus=4, runtime_s=100.0, limit_s=None):
    spec = JobSpec(
        "batch", PARTITION, command=("true",), node_count=nodes, task_count=nodes, cpus_per_task=cpus,
        walltime_s=runtime_s if limit_s is None else limit_s,
    )  # fmt: skip
    return WorkloadJob(time_s, spec, Owner("b", 1001, 1001), runtime_s)


def with_jobs(jobs, **changes):
    case = case_of(0)
    return attrs.evolve(case, batch=Workload.of(jobs), **changes)


def counts_at(events, time_s):
    """How many elements each job has placed then."""
    counts = Counter()
    for event in events:
        if event.time_s > time_s:
            break
        if isinstance(event, JobPlaced):
            counts[event.job_id] += count_of(event.elements)
        elif isinstance(event, JobEnded) and event.start_time_s is not None:
            counts[event.job_id] -= count_of(event.elements)
        elif isinstance(event, JobRequeued):
            counts[event.key.job_id] -= 1
    return counts


@pytest.mark.parametrize("engine", ENGINES)
def test_no_start_waits_longer_than_elastic_jobs_take_to_leave_and_they_fill_the_rest(engine):
    seed = SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    case = case_of(seed, engine=engine)
    alone, beside = run(case), run(case, [session_job(case.cpu_count)])
    assert all(wait_s <= LEAVE_S + 1e-6 for wait_s in waits_s(beside.events))
    idle_cpu_s = case.cpu_count * case.span_s - beside.batch_cpu_s
    assert beside.elastic_cpu_s >= 0.5 * idle_cpu_s
    assert len(beside.start_s) >= len(alone.start_s) - 6, "batch jobs go on as before, but for some at the end"


@pytest.mark.parametrize("engine", ENGINES)
def test_within_a_limit_that_they_share_no_start_waits_longer_either_and_they_fill_it(engine):
    """Of the whole cluster: fourteen of its CPUs, of which batch jobs need nine or so."""
    seed = SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    case = case_of(seed, job_count=80, load=0.4, engine=engine)
    case = attrs.evolve(case, cluster=attrs.evolve(case.cluster, limits=(("cpus", 14),)))
    alone, beside = run(case), run(case, [session_job(case.cpu_count)])
    assert all(wait_s <= LEAVE_S + 1e-6 for wait_s in waits_s(beside.events))
    assert max(used_cpus(beside.events, case)) <= 14
    assert beside.elastic_cpu_s >= 0.5 * (14 * case.span_s - beside.batch_cpu_s)
    assert len(beside.start_s) >= len(alone.start_s) - 6, "batch jobs go on as before, but for some at the end"


def used_cpus(events, case):
    """How many CPUs are held after each event; the session is job 1, of elements of one CPU."""
    cpus = {1: 1} | {2 + at: cpus_of(job.spec) for at, job in enumerate(case.batch.jobs)}
    held = Counter()
    for event in events:
        if isinstance(event, JobPlaced):
            held[event.job_id] += count_of(event.elements)
        elif isinstance(event, JobEnded) and event.start_time_s is not None:
            held[event.job_id] -= count_of(event.elements)
        elif isinstance(event, JobRequeued):
            held[event.key.job_id] -= 1
        yield sum(count * cpus[job_id] for job_id, count in held.items())


def test_the_journal_tells_the_same_again():
    case = case_of(7, job_count=60)
    events = run(case, [session_job(case.cpu_count)]).events
    state, half = State(), State()
    for at, event in enumerate(events):
        state.apply(event)
        if at < len(events) // 2:
            half.apply(event)
    loaded = State.load(half.dump())
    assert loaded.grants == half.grants
    for event in events[len(events) // 2 :]:
        loaded.apply(event)
    assert loaded.dump() == state.dump()
    verdict = repeat_decisions(lambda: iter(events), lambda name: Plugins.load({}).engine(name))
    assert verdict.differences == ()
    assert verdict.pass_count > 60


def test_a_promise_is_kept_to_the_second_because_elastic_jobs_leave_before_it():
    """One node is busy until 100; a job of all six nodes is promised that moment, and gets it."""
    case = with_jobs([batch_job(0.0), batch_job(1.0, nodes=6), batch_job(400.0)], leave_s=GRACE_S)
    alone, beside = run(case), run(case, [session_job(case.cpu_count)])
    assert set(delays_s(alone, beside)) == {0.0}
    assert alone.start_s[2] == 100.0
    assert counts_at(beside.events, 80.0)[1] == 20, "until shortly before, the five idle nodes are used"
    assert counts_at(beside.events, 99.9)[1] == 0


def test_only_as_many_leave_as_are_needed():
    case = with_jobs([batch_job(50.0, cpus=3), batch_job(400.0)])
    events = run(case, [session_job(case.cpu_count)]).events
    asked = [event for event in events if isinstance(event, JobCancelRequested) and event.time_s < 300.0]
    assert sum(count_of(event.elements) for event in asked) == 3
    assert {event.preempted_for for event in asked} == {2}
    assert counts_at(events, 60.0)[1] == 21
    assert counts_at(events, 200.0)[1] == 24, "they come back when the job has ended"


def test_what_is_left_is_divided_by_weight_also_when_one_comes_later():
    case = with_jobs([batch_job(1000.0)])
    first, second = session_job(24), session_job(24, weight=3, submit_time_s=100.0, name="second")
    events = run(case, [first, second]).events
    assert counts_at(events, 50.0) == {1: 24}
    counts = counts_at(events, 200.0)
    assert (counts[1], counts[2]) == (6, 18)
    ends = [event for event in events if isinstance(event, JobRequeued)]
    assert len(ends) == 18, "each element moved once"


def test_of_larger_priority_is_first_and_of_less_than_there_is_room_for_all_run():
    case = with_jobs([batch_job(1000.0)])
    late = session_job(20, submit_time_s=0.0)
    first = attrs.evolve(late, spec=attrs.evolve(late.spec, priority=5, name="first"))
    counts = counts_at(run(case, [late, first]).events, 50.0)
    assert (counts[2], counts[1]) == (20, 4)


def test_who_is_of_larger_priority_gets_what_others_have_whenever_it_comes():
    """Of jobs of different priorities the first has all its elements, the next what it leaves, and so on."""
    seed = SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    random = Random(seed)
    case = with_jobs([batch_job(2000.0)])
    for _ in range(2):
        jobs = []
        for priority in random.sample(range(10), 3):
            job = session_job(random.randint(2, 24), submit_time_s=random.uniform(0.0, 500.0))
            jobs.append(attrs.evolve(job, spec=attrs.evolve(job.spec, priority=priority)))
        left, wanted = case.cpu_count, {}
        for job in sorted(jobs, key=lambda job: -job.spec.priority):
            at = sorted(jobs, key=lambda job: job.submit_time_s).index(job)
            wanted[1 + at] = min(count_of(job.spec.array.indices), left)
            left -= wanted[1 + at]
        assert +counts_at(run(case, jobs).events, 1000.0) == +Counter(wanted), jobs


def test_a_job_that_is_cancelled_while_room_is_made_for_it_leaves_no_grant():
    from hal_core.models.message import Cancel, JobSelection
    from hal_core.rules.core import Core
    from hal_core.sim.executor_model import Delays
    from hal_core.sim.simulation import Simulation

    case = with_jobs([batch_job(50.0)])
    core = Core(Plugins.load({}).engine("easy"), "easy")
    simulation = Simulation(core, case.cluster, Delays(cancel_share=1.0))
    simulation.add_workload(Workload.of([session_job(24), *case.batch.jobs]))
    simulation.post(50.5, Cancel(JobSelection(2), "b"))
    simulation.run(50.4)
    assert [grant.job_id for grant in core.state.grants] == [2]
    simulation.run(60.0)
    assert core.state.grants == ()
    assert counts_at(simulation.events, 60.0)[1] == 24


def test_an_array_begins_beside_elastic_jobs_element_by_element():
    job = batch_job(50.0, cpus=2, runtime_s=30.0)
    array = attrs.evolve(job, spec=attrs.evolve(job.spec, array=ArraySpec(((0, 20),))))
    events = run(with_jobs([array, batch_job(400.0)]), [session_job(24)]).events
    assert +counts_at(events, 60.0) == {2: 12}
    assert counts_at(events, 300.0)[2] == 0
    assert counts_at(events, 300.0)[1] == 24


def test_beside_a_session_no_batch_job_begins_a_second_later():
    """A moment more can change who fits where, for better and worse; but a plan must not be so brittle that it does as
    a rule: each start is as it was without the session, at most by the workers' moments later."""
    case = case_of(23, job_count=100, engine="conservative")
    delays = delays_s(run(case), run(case, [session_job(case.cpu_count)]))
    assert 0.0 < max(delays) < 1.0
    assert min(delays) > -1.0


def test_engines_are_not_told_that_something_came_free_when_elastic_jobs_leave():
    """They never saw them: promises that are looked at again for nothing can change who fits where."""
    case = with_jobs([batch_job(50.0, cpus=3), batch_job(400.0)])
    state, seen = State(), []
    for event in run(case, [session_job(case.cpu_count)]).events:
        before = state.has_released
        state.apply(event)
        if state.has_released and not before:
            seen.append((type(event), event.job_id))
    assert seen == [(JobEnded, 2)]


def of(job, user, account=""):
    spec = attrs.evolve(job.spec, account=account)
    return attrs.evolve(job, spec=spec, owner=Owner(user, 2000 + ord(user[0]), 2000))


def test_an_owner_lends_what_it_does_not_use_and_has_its_share_back_after_the_grace():
    """Two sessions of one owner have as much as the one of another: half, when that comes, for it was all lent."""
    case = with_jobs([batch_job(1000.0)], leave_s=GRACE_S)
    first, second = of(session_job(24), "a"), of(session_job(24), "a")
    late = of(session_job(24, submit_time_s=100.0, name="late"), "b")
    events = run(case, [first, second, late]).events
    before, after = counts_at(events, 99.0), counts_at(events, 100.0 + GRACE_S + 1.0)
    assert (before[1], before[2]) == (12, 12)
    assert (after[1], after[2], after[3]) == (6, 6, 12)
    state = State()
    for event in events:
        if event.time_s <= 103.0:
            state.apply(event)
    shown = {each.user: attrs.astuple(each)[-3:] for each in share_views(state, 103.0)}
    assert {user: shown[user] for user in "ab"} == {"a": (12, 12, 0.5), "b": (12, 12, 0.5)}


def moves(events, until_s):
    """Whose elements ended for others until then, one by one."""
    return [event.key.job_id for event in events if isinstance(event, JobRequeued) and event.time_s < until_s]


def test_parts_are_of_cpus_and_several_small_elements_give_way_to_a_large_one():
    """Half of 24 CPUs: three elements of four, for which twelve of one leave, and no more."""
    case = with_jobs([batch_job(1000.0)], leave_s=GRACE_S)
    small, large = of(session_job(24), "a"), of(session_job(6, submit_time_s=100.0, name="large"), "b")
    large = attrs.evolve(large, spec=attrs.evolve(large.spec, cpus_per_task=4))
    events = run(case, [small, large]).events
    counts = counts_at(events, 100.0 + GRACE_S + 1.0)
    assert (counts[1], counts[2]) == (12, 3)
    assert counts_at(events, 900.0) == counts, "nobody moves again"
    state = State()
    for event in events:
        if event.time_s <= 110.0:
            state.apply(event)
    shown = {each.user: attrs.astuple(each)[-3:] for each in share_views(state, 110.0)}
    assert {user: shown[user] for user in "ab"} == {"a": (12, 12, 0.5), "b": (3, 12, 0.5)}


def test_what_some_have_left_for_a_large_element_waits_for_the_others_that_leave_later():
    """Twelve of one CPU leave for three of four, some soon and some after a minute, and none of them twice."""
    case = with_jobs([batch_job(1000.0)], leave_s=GRACE_S)
    quick, slow = of(session_job(13), "a"), of(session_job(11), "a")
    slow = attrs.evolve(slow, spec=attrs.evolve(slow.spec, kill_grace_s=60.0))
    large = of(session_job(6, submit_time_s=100.0, name="large"), "b")
    large = attrs.evolve(large, spec=attrs.evolve(large.spec, cpus_per_task=4))
    events = run(case, [quick, slow, large]).events
    counts = counts_at(events, 900.0)
    assert (counts[1] + counts[2], counts[3]) == (12, 3)
    left = Counter(event.key for event in events if isinstance(event, JobRequeued) and event.time_s < 900.0)
    assert set(left.values()) == {1}
    assert len(left) in (12, 13), "one may move between the jobs of their owner, for these to have as much"


def test_an_owner_of_large_elements_gives_way_to_one_of_small_ones_by_cpus_too():
    case = with_jobs([batch_job(1000.0)], leave_s=GRACE_S)
    large = of(session_job(6), "a")
    large = attrs.evolve(large, spec=attrs.evolve(large.spec, cpus_per_task=4))
    small = of(session_job(24, submit_time_s=100.0, name="small"), "b")
    events = run(case, [large, small]).events
    counts = counts_at(events, 100.0 + GRACE_S + 1.0)
    assert (counts[1], counts[2]) == (3, 12)
    assert counts_at(events, 900.0) == counts, "nobody moves again"
    assert moves(events, 900.0) == [1, 1, 1], "what three of four leave is enough for twelve of one"


def test_what_leaves_for_two_large_elements_of_a_node_is_kept_for_both_until_all_have_left():
    case = make_case(Random(0), 10, 0.8, node_count=2, cpus=8)
    case = attrs.evolve(case, batch=Workload.of([batch_job(1000.0)]), leave_s=GRACE_S)
    quick, slow = of(session_job(4), "a"), of(session_job(12, weight=3), "a")
    slow = attrs.evolve(slow, spec=attrs.evolve(slow.spec, kill_grace_s=60.0))
    large = of(session_job(4, submit_time_s=100.0, name="large"), "b")
    large = attrs.evolve(large, spec=attrs.evolve(large.spec, cpus_per_task=4))
    events = run(case, [quick, slow, large]).events
    counts = counts_at(events, 900.0)
    assert (counts[1] + counts[2], counts[3]) == (8, 2)
    assert len(moves(events, 900.0)) == 8


@pytest.mark.parametrize("limit_part", [1.0, 0.7, 0.4])
def test_sessions_of_workers_of_any_size_come_to_rest(limit_part):
    """Whoever comes and whoever leaves slowly: none leaves for room that somebody else takes then, again and again; nor
    for what a limit on that part of all CPUs leaves."""
    for number in (1000, *range(6)):
        print(f"seed {number}")
        random = Random(number)
        case = make_case(random, 10, 0.8, node_count=random.randint(1, 3), cpus=8)
        limits = () if limit_part == 1.0 else (("cpus", max(8, int(limit_part * case.cpu_count))),)
        case = attrs.evolve(case, cluster=attrs.evolve(case.cluster, limits=limits))
        case = attrs.evolve(case, batch=Workload.of([batch_job(1000.0)]), leave_s=GRACE_S)
        jobs = []
        for at in range(random.randint(2, 5)):
            count, weight = random.randint(1, 24), random.randint(1, 3)
            job = session_job(count, weight, random.uniform(0.0, 200.0) if at else 0.0)
            job = of(job, random.choice("aab"))
            size, grace_s = random.choice((1, 1, 2, 3, 4, 8)), random.choice((1.0, 5.0, 30.0))
            spec = attrs.evolve(
                job.spec, cpus_per_task=size, kill_grace_s=grace_s, priority=random.choice((0, 0, 0, 5))
            )
            jobs.append(attrs.evolve(job, spec=spec))
        events = run(case, jobs).events
        assert len(moves(events, 990.0)) == len(moves(events, 500.0)) <= 2 * case.cpu_count


def test_for_an_element_that_waits_for_another_to_leave_no_second_one_leaves():
    """Whatever happens meanwhile: here a batch job that comes and goes."""
    case = with_jobs([batch_job(110.0, runtime_s=20.0), batch_job(1000.0)], leave_s=GRACE_S)
    first = of(session_job(24), "a")
    first = attrs.evolve(first, spec=attrs.evolve(first.spec, kill_grace_s=60.0))
    late = of(session_job(1, submit_time_s=100.0, name="late"), "b")
    events = run(case, [first, late]).events
    asked = [event for event in events if isinstance(event, JobCancelRequested) and event.time_s < 900.0]
    assert sum(count_of(event.elements) for event in asked if event.preempted_for == 2) == 1
    assert +counts_at(events, 900.0) == {1: 23, 2: 1}


def test_shares_of_accounts_divide_what_is_left_and_their_limits_bound_what_is_borrowed():
    accounts = (Account("large", shares=3), Account("small", shares=1, limits=(("cpus", 8),)))
    case = with_jobs([batch_job(1000.0)])
    case = attrs.evolve(case, cluster=attrs.evolve(case.cluster, accounts=accounts))
    case = attrs.evolve(case, batch=Workload.of([of(each, "c", "large") for each in case.batch.jobs]))
    small = of(session_job(24), "a", "small")
    large = of(session_job(24, submit_time_s=100.0), "b", "large")
    events = run(case, [small, large]).events
    assert counts_at(events, 50.0) == {1: 8}, "it may borrow up to its limit, and the rest is idle"
    counts = counts_at(events, 200.0)
    assert (counts[1], counts[2]) == (6, 18)
