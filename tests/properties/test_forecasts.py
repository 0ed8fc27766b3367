"""What is foreseen is what happens: the same engine on the real state, in which jobs end at their limits.

The excerpt that a forecast lives in is a model of the state; here it is held against the state itself, with commit and
events, over random clusters with limits, licences, shares of GPUs, arrays and reservations.
"""

from __future__ import annotations

import math
from contextlib import suppress
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import InvalidInput
from hal_core.models.event import JobEnded
from hal_core.models.job import ArraySpec, End, EndKind, JobId, JobSpec, Owner
from hal_core.models.message import AddReservation, DefineCluster, NodeReported, Submission, Submit
from hal_core.models.node import Cluster, NodeName, Partition, PartitionName, Reservation
from hal_core.models.policy import Priorities, QueueOrder
from hal_core.planes import Engine
from hal_core.rules.commit import commit
from hal_core.rules.core import Core
from hal_core.rules.excerpt import as_it_would_be, excerpt
from hal_core.rules.explain import explain, question, verified
from hal_core.rules.forecast import forecast
from hal_core.rules.state import State
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ALL, GIB, make_cluster, make_spec

SECOND = PartitionName("second")
ENGINES = {
    "fcfs": Fcfs,
    "easy": Easy,
    "easy-sjbf": lambda: Easy(is_shortest_first=True),
    "conservative": Conservative,
    "hal": lambda: Expansion(60.0, 1e9),
}
USERS = tuple(Owner(name, uid, uid) for uid, name in enumerate(("ada", "bob", "eve"), 1000))


def a_cluster(random: Random) -> Cluster:
    cluster = make_cluster(random.randint(1, 4), gpus=("a", "a"))
    names = cluster.partitions[0].nodes
    second = Partition(SECOND, names[: random.randint(1, len(names))], priority=random.choice([0, 5]))
    limits = random.choice([(), (("running_jobs", 4),), (("cpus", 6), ("user.running_jobs", 2))])
    return attrs.evolve(
        cluster,
        partitions=(*cluster.partitions, second),
        limits=limits,
        licences=random.choice([(), (("matlab", 2),)]),
    )


def a_spec(random: Random, cluster: Cluster) -> JobSpec:
    nodes = random.choice([1, 1, 1, 2])
    array = (
        None
        if nodes > 1 or random.random() < 0.8
        else ArraySpec(((0, random.randint(2, 4)),), random.choice([None, 1]))
    )
    kind = random.choice(["", "", "gpu", "share", "licence", "exclusive"])
    return make_spec(
        partition=random.choice([ALL, ALL, SECOND]),
        node_count=nodes,
        task_count=nodes,
        cpus_per_task=random.randint(1, 4),
        memory_bytes_per_node=random.randint(0, 8) * GIB,
        walltime_s=float(random.randint(1, 40) * 60),
        priority=random.choice([0, 0, -1]),
        array=array,
        gpus_per_node=random.randint(1, 2) if kind == "gpu" else 0,
        gpu_milli=500 if kind == "share" else 0,
        is_exclusive=kind == "exclusive",
        licences=(("matlab", 1),) if kind == "licence" and cluster.licences else (),
    )


def a_core(random: Random, engine: str) -> tuple[Core, float]:
    """A cluster on which jobs run and wait, some minutes after they came."""
    cluster = a_cluster(random)
    core = Core(ENGINES[engine](), engine)
    core.receive(DefineCluster(cluster), 0.0)
    for node in cluster.nodes:
        core.receive(NodeReported(node, "boot"), 0.0)
    if random.random() < 0.3:
        repair = Reservation("repair", (NodeName("n0"),), float(random.randint(10, 60) * 60), 1800.0, by="oper")
        core.receive(AddReservation(repair), 0.0)
    for _ in range(random.randint(2, 14)):
        with suppress(InvalidInput):  # what limits would never let start
            core.receive(Submit((Submission("", random.choice(USERS), a_spec(random, cluster)),)), 0.0)
    core.plan(0.0)
    now_s = float(random.randint(0, 10) * 60)
    for activity in list(core.state.allocations.values()):
        if activity.limit_time_s <= now_s:
            end(core.state, activity, now_s)
    core.plan(now_s)
    return core, now_s


def end(state: State, activity, time_s: float) -> None:
    elements = ((activity.index, activity.index + 1),)
    over = End(EndKind.EXITED, exit_code=0)
    job_id, attempt = activity.record.job_id, activity.attempt
    state.apply(JobEnded(time_s, job_id, elements, attempt, over, activity.begin_time_s, time_s))


def really_starts_s(content: bytes, job_id: JobId, engine: Engine, now_s: float, spec: JobSpec | None) -> float | None:
    """When the next element of the job starts on a copy of the state, jobs ending at their limits."""
    state = State.load(content)
    record = state.jobs[job_id]
    if spec is not None:
        state.queue.remove(record)
        record.spec, record.shape, record.row = spec, spec.shape(), None
        record.payer = record.payer._replace(partition=spec.partition)
        state.queue.update(record)
    had = set(record.active)
    for _ in range(1000):
        snapshot = state.snapshot(now_s)
        plan = engine.plan(snapshot)
        commit(state, plan, "test", now_s)
        if set(record.active) - had:
            return now_s
        times = [activity.limit_time_s for activity in state.allocations.values()]
        times += [state.reservations.holds.next_edge_s(now_s), *(each for each in (plan.wake_s,) if each > now_s)]
        now_s = min(times, default=math.inf)
        if now_s == math.inf:
            return None
        for activity in list(state.allocations.values()):
            if activity.limit_time_s <= now_s:
                end(state, activity, now_s)
    raise AssertionError("it goes on for ever")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), engine=st.sampled_from(sorted(ENGINES)))
def test_a_job_starts_when_it_was_foreseen_and_so_it_does_with_every_suggestion(seed: int, engine: str) -> None:
    core, now_s = a_core(Random(seed), engine)
    state, content = core.state, core.state.dump()
    for record in list(state.jobs.values()):
        if not record.is_queued:
            continue
        asked = question(state, record, now_s)
        found = verified(explain(state, record, now_s), asked, ENGINES[engine](), now_s)
        assert found.reason, "whoever waits has a reason"
        assert found.start_time_s == really_starts_s(content, record.job_id, ENGINES[engine](), now_s, None)
        told = {suggestion.option: suggestion.start_time_s for suggestion in found.suggestions}
        for change in asked.changes:
            option, spec = change.option, change.spec
            if option in told and not record.active:  # changing a running array here would change what runs
                begins_s = really_starts_s(content, record.job_id, ENGINES[engine](), now_s, spec)
                assert begins_s is not None
                assert begins_s <= told[option], option
    assert state.dump() == content, "looking changes nothing"


@pytest.mark.parametrize("order", QueueOrder)
def test_where_a_job_stands_is_counted_without_going_through_the_queue(order: QueueOrder) -> None:
    random = Random(5)
    core, now_s = a_core(random, "fcfs")
    cluster = attrs.evolve(core.state.cluster, priorities=Priorities(order))
    core.receive(DefineCluster(cluster), now_s)
    for _ in range(30):
        with suppress(InvalidInput):
            core.receive(
                Submit((Submission("", random.choice(USERS), a_spec(random, cluster)),)), now_s + random.random()
            )
    state = core.state
    state.snapshot(now_s + 100.0)
    shares = state.fair_shares(now_s + 100.0)
    queue = list(state.queue)
    for at, job_id in enumerate(queue):
        assert state.queue.count_before(state.jobs[job_id], now_s + 100.0, shares) == at
        asked = as_it_would_be(state, state.jobs[job_id], now_s + 100.0)
        assert asked.before_count == at


def test_a_job_that_may_not_begin_yet_is_foreseen_at_its_begin_time() -> None:
    core = Core(Easy(), "easy")
    cluster = make_cluster(1)
    core.receive(DefineCluster(cluster), 0.0)
    core.receive(NodeReported(cluster.nodes[0], "boot"), 0.0)
    specs = (make_spec(cpus_per_task=4, walltime_s=60.0), make_spec(begin_time_s=500.0, walltime_s=60.0))
    core.receive(Submit(tuple(Submission("", USERS[0], spec) for spec in specs)), 0.0)
    core.plan(0.0)
    assert forecast(excerpt(core.state, JobId(2), 0.0), Easy(), 0.0).start_time_s == 500.0
