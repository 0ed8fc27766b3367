"""When a job could have started with its right size: never after it did, and as a plain look at all nodes has it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

import attrs
from hypothesis import given, settings, strategies as st

from hal_core.models.event import Event, JobPlaced, JobSubmitted
from hal_core.models.job import JobId, JobSpec
from hal_core.models.message import AddReservation, Message, RemoveReservation
from hal_core.models.node import NodeName, Reservation
from hal_core.models.receipt import RightSize
from hal_core.planes import Engine
from hal_core.rules.core import Core
from hal_core.rules.earliest_start import EarliestStart, right_sized
from hal_core.rules.state import State
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob
from hal_core.testing import FakeEngine
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ADA, make_cluster, make_spec
from tests.support.stories import CLUSTER, Story, make_story, run_simulation

OWN = "own"
UNTIL_S = 200.0
"""Without it a simulation in which a held job waits would go from window to window for ever."""


def with_reservations(story: Story, random: Random) -> Story:
    """The same with nodes kept for ADA, in which some jobs want to run, and for nobody, once or again and again."""
    names = [node.name for node in CLUSTER.nodes]
    every_s = random.choice([0.0, 25.0, 40.0])
    start_s, duration_s = float(random.randint(0, 60)), float(random.randint(8, 25))
    own = Reservation(OWN, (names[0],), start_s, duration_s, every_s, until_s=UNTIL_S, users=(ADA.user,))
    script: list[tuple[float, Message]] = []
    for number in range(random.randint(0, 3)):
        nodes, at_s = tuple(random.sample(names, random.randint(1, 3))), float(random.randint(0, 60))
        every_s = random.choice([0.0, 0.0, 20.0])
        start_s, duration_s = at_s + random.choice([0, 7, 30]), float(random.randint(5, 20))
        kept = Reservation(f"r{number}", nodes, start_s, duration_s, every_s, until_s=UNTIL_S)
        script.append((at_s, AddReservation(kept, does_ignore_jobs=True)))
        if every_s or random.random() < 0.3:
            script.append((at_s + random.randint(20, 60), RemoveReservation(kept.name, "oper")))
    jobs = [attrs.evolve(job, spec=_in_own(job.spec, own, random)) for job in story.workload.jobs]
    cluster = attrs.evolve(story.cluster, reservations=(own,) if random.random() < 0.7 else ())
    return attrs.evolve(story, cluster=cluster, workload=Workload.of(jobs), script=(*story.script, *script))


def _in_own(spec: JobSpec, own: Reservation, random: Random) -> JobSpec:
    is_possible = spec.node_count == 1 and random.random() < 0.2
    return attrs.evolve(spec, reservation=OWN, walltime_s=8.0) if is_possible else spec


def placed_jobs(events: list[Event]) -> dict[JobId, tuple[JobSubmitted, float]]:
    """Each with the time of its first placement."""
    submitted = {event.job_id: event for event in events if isinstance(event, JobSubmitted)}
    placed: dict[JobId, float] = {}
    for event in events:
        if isinstance(event, JobPlaced):
            placed.setdefault(event.job_id, event.time_s)
    return {job_id: (submitted[job_id], time_s) for job_id, time_s in placed.items()}


def size_of(spec: JobSpec, random: Random) -> RightSize:
    """No more than it asked for, as receipts have it."""
    cpus = spec.task_count * spec.cpus_per_task
    memory_bytes = random.choice([None, random.randint(1, spec.memory_bytes_per_node or 1)])
    return RightSize(
        cpu_count=random.choice([cpus, random.randint(1, cpus)]),
        memory_bytes_per_node=memory_bytes if spec.memory_bytes_per_node else None,
        walltime_s=float(random.randint(1, 100)),
        core_s=0.0,
        money=0.0,
    )


def found(events: list[Event], job_id: JobId, size: RightSize) -> float | None:
    fold, state = EarliestStart(job_id, size), State()
    for event in events:
        fold.before(event, state)
        if fold.is_over:
            break
        state.apply(event)
    return fold.time_s


def plain(events: list[Event], job_id: JobId, size: RightSize) -> float:
    """Node by node, after every event, and at every time until the next one at which a reservation begins or ends."""
    state = State()
    for event in events:
        record = state.jobs.get(job_id)
        if record is not None and record.startable_count:
            spec = right_sized(record.spec, size)
            for time_s in moments(state, record.spec.begin_time_s, event.time_s):
                if sum(has_room(state, spec, number, time_s) for number in range(len(state.table))) >= spec.node_count:
                    return time_s
        if isinstance(event, JobPlaced) and event.job_id == job_id:
            return event.time_s
        state.apply(event)
    raise AssertionError("it was never placed")


def moments(state: State, begin_s: float, until_s: float) -> list[float]:
    edges = {edge for each in state.reservations.by_name.values() for pair in windows(each, until_s) for edge in pair}
    times = {begin_s, *edges}
    return sorted(
        each for each in {state.time_s, *(t for t in times if state.time_s < t <= until_s)} if each >= begin_s
    )


def windows(reservation: Reservation, until_s: float) -> Iterator[tuple[float, float]]:
    """Those that begin before that time."""
    start_s = reservation.start_time_s
    while start_s <= until_s:
        yield start_s, start_s + reservation.duration_s
        start_s += reservation.every_s or math.inf
        if reservation.until_s is not None and start_s >= reservation.until_s:
            break


def has_room(state: State, spec: JobSpec, number: int, start_s: float) -> bool:
    assert spec.walltime_s is not None
    end_s, node = start_s + spec.walltime_s, state.table.nodes[number].name
    is_inside = not spec.reservation
    for each in state.reservations.by_name.values():
        if node in each.nodes:
            for first_s, last_s in windows(each, end_s):
                if each.name == spec.reservation:
                    is_inside = is_inside or (first_s <= start_s and end_s <= last_s)
                elif first_s < end_s and start_s < last_s:
                    return False
    shape = spec.shape()
    is_its = number in state.partition_numbers[shape.partition]
    return is_inside and is_its and state.table.room_count(number, shape) > 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**9), engine=st.sampled_from([FakeEngine, Fcfs, Easy]))
def test_it_is_never_after_the_start_and_as_a_plain_look_has_it(seed: int, engine: type[Engine]) -> None:
    random = Random(seed)
    story = make_story(random)
    events = run_simulation(with_reservations(story, random) if random.random() < 0.7 else story, engine())
    for job_id, (submitted, placed_s) in placed_jobs(events).items():
        size = size_of(submitted.spec, random)
        time_s = found(events, job_id, size)
        assert time_s is not None
        assert submitted.time_s <= time_s <= placed_s
        assert time_s == plain(events, job_id, size)


@given(seed=st.integers(0, 10**9))
def test_the_right_size_is_in_no_amount_more_than_was_asked_for(seed: int) -> None:
    random = Random(seed)
    for job in make_story(random).workload.jobs:
        size = size_of(job.spec, random)
        right = right_sized(job.spec, size)
        assert right.task_count <= job.spec.task_count
        assert right.cpus_per_task <= job.spec.cpus_per_task
        assert right.task_count * right.cpus_per_task >= size.cpu_count
        assert right.memory_bytes_per_node <= job.spec.memory_bytes_per_node
        assert right.walltime_s is not None
        assert right.walltime_s <= (job.spec.walltime_s or size.walltime_s)


def test_some_could_have_started_sooner_and_some_could_not() -> None:
    """Else the other tests show nothing."""
    sooner = {True: 0, False: 0}
    for seed in range(15):
        random = Random(seed)
        events = run_simulation(make_story(random), Fcfs())
        for job_id, (submitted, placed_s) in placed_jobs(events).items():
            if placed_s > submitted.time_s:
                time_s = found(events, job_id, size_of(submitted.spec, random))
                sooner[time_s is not None and time_s < placed_s] += 1
    assert min(sooner.values()) > 5, sooner


def told(reservation: Reservation, *jobs: WorkloadJob, job_id: int) -> tuple[float | None, float]:
    """When the job could have started with 2 CPUs for 40 s on the only node, and when it was placed."""
    simulation = Simulation(Core(Fcfs(), "fcfs"), make_cluster(1))
    simulation.post(10.0, AddReservation(reservation, does_ignore_jobs=True))
    simulation.add_workload(Workload.of(list(jobs)))
    simulation.run()
    size = RightSize(cpu_count=2, memory_bytes_per_node=None, walltime_s=40.0, core_s=0.0, money=0.0)
    return found(simulation.events, JobId(job_id), size), placed_jobs(simulation.events)[JobId(job_id)][1]


def a_job(submit_s: float, run_s: float, cpus: int, **fields: object) -> WorkloadJob:
    return WorkloadJob(submit_s, make_spec(**{"cpus_per_task": cpus, "walltime_s": 1000.0, **fields}), ADA, run_s, 0)


REPAIR = Reservation("repair", (NodeName("n0"),), 50.0, 150.0)


def test_the_end_of_a_reservation_gives_room_although_it_is_no_event() -> None:
    assert told(REPAIR, a_job(60.0, 900.0, 2), a_job(70.0, 5.0, 4), job_id=2) == (200.0, 1100.0)


def test_it_gives_room_also_if_nothing_happens_then() -> None:
    """The first job has half of the node all the time, and nobody else can start."""
    assert told(REPAIR, a_job(0.0, 900.0, 2), a_job(70.0, 5.0, 4), job_id=2) == (200.0, 900.0)


def test_a_begin_time_is_no_event_either() -> None:
    once = attrs.evolve(REPAIR, start_time_s=5000.0)
    jobs = a_job(0.0, 900.0, 2), a_job(70.0, 5.0, 4, begin_time_s=300.0)
    assert told(once, *jobs, job_id=2) == (300.0, 900.0)
