"""When a job could have started with its right size: never after it did, and as a plain look at all nodes has it."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings, strategies as st

from hal_core.models.event import Event, JobPlaced, JobSubmitted
from hal_core.models.job import JobId, JobSpec
from hal_core.models.receipt import RightSize
from hal_core.planes import Engine
from hal_core.rules.earliest_start import EarliestStart, right_sized
from hal_core.rules.state import State
from hal_core.testing import FakeEngine
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.stories import make_story, run_simulation


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
    """Node by node, after every event."""
    state = State()
    for event in events:
        record = state.jobs.get(job_id)
        if record is not None and record.startable_count and record.spec.begin_time_s <= state.time_s:
            shape = record.with_spec(right_sized(record.spec, size)).shape
            numbers = state.partition_numbers[shape.partition]
            if sum(state.table.room_count(number, shape) > 0 for number in numbers) >= shape.node_count:
                return state.time_s
        if isinstance(event, JobPlaced) and event.job_id == job_id:
            return event.time_s
        state.apply(event)
    raise AssertionError("it was never placed")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**9), engine=st.sampled_from([FakeEngine, Fcfs, Easy]))
def test_it_is_never_after_the_start_and_as_a_plain_look_has_it(seed: int, engine: type[Engine]) -> None:
    random = Random(seed)
    events = run_simulation(make_story(random), engine())
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
