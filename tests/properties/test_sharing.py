"""Usage, fair shares and the queue's order against naive readings of the same facts, and what they are for: overload
ends in shares."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.event import ClusterDefined, Event, JobEnded, JobPlaced, JobRequeued
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.policy import Account, Priorities, Qos, QueueOrder
from hal_core.models.ranges import members
from hal_core.rules.core import Core
from hal_core.rules.fair_share import FairShares, Standing, points_of
from hal_core.rules.state import State
from hal_core.sim.executor_model import Fault
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob
from hal_engine_backfill.easy import Easy
from tests.support.core_world import ALL, make_cluster

DAY_S = 86_400.0
USERS = ("ada", "bob", "eve")
FAST = PartitionName("fast")
FAULT = Fault(NodeName("n1"), 700.0, 1000.0)
"""Of which some jobs die, and a few are queued again."""


def cluster_of(priorities: Priorities, accounts: tuple[Account, ...] = (), node_count: int = 3) -> Cluster:
    cluster = make_cluster(node_count, gpus=("a100", "a100"))
    fast = Partition(FAST, cluster.partitions[0].nodes, priority=2)
    levels = (Qos("normal", is_default=True), Qos("short", 3))
    return attrs.evolve(
        cluster, partitions=(*cluster.partitions, fast), priorities=priorities, accounts=accounts, qos=levels
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    random = Random(draw(st.integers(0, 1 << 32)))
    jobs = []
    for number in range(draw(st.integers(1, 25))):
        user = random.choice(USERS)
        limit_s = random.choice([60.0, 600.0, 7200.0])
        spec = JobSpec(
            f"job{number}",
            random.choice([ALL, ALL, FAST]),
            command=("true",),
            cpus_per_task=random.randint(1, 4),
            gpus_per_node=random.choice([0, 0, 1, 2]),
            walltime_s=limit_s,
            is_exclusive=random.random() < 0.1,
            priority=random.choice([0, 0, -100]),
            qos=random.choice(["normal", "short"]),
            begin_time_s=random.choice([0.0, 0.0, 500.0]),
        )
        runtime_s = random.uniform(1.0, limit_s)
        jobs.append(WorkloadJob(random.uniform(0.0, 2000.0), spec, Owner(user, 1000, 1000), runtime_s))
    return Workload.of(jobs)


RULES = st.builds(
    Priorities,
    order=st.sampled_from(QueueOrder),
    age_s_max=st.sampled_from([0.0, 300.0, 7 * DAY_S]),
    half_life_s=st.sampled_from([0.0, 600.0, 7 * DAY_S]),
    size_s=st.sampled_from([0.0, 1000.0]),
    floor_s=st.sampled_from([0.0, 600.0]),
    starvation_s=st.sampled_from([0.0, 1000.0]),
)


def run(cluster: Cluster, workload: Workload, until_s: float = math.inf) -> Simulation:
    simulation = Simulation(Core(Easy(), "easy"), cluster)
    simulation.add_faults([FAULT])
    simulation.add_workload(workload)
    simulation.run(until_s)
    return simulation


@given(workload=workloads(), rules=RULES, until_s=st.floats(0.0, 8000.0))
@settings(max_examples=40, deadline=None)
def test_usage_is_what_the_journal_says(workload: Workload, rules: Priorities, until_s: float) -> None:
    """Each allocation counts from its placement to its end, at the half-life's discount, whenever it is looked at."""
    simulation = run(cluster_of(rules), workload, until_s)
    state = simulation.core.state
    for now_s in (max(until_s, state.time_s), until_s + 5000.0):
        expected = usage_by_journal(simulation.events, rules.half_life_s, now_s)
        found = {payer.user: [0.0, 0.0] for payer, _ in state.ledger.used(now_s)}
        for payer, used in state.ledger.used(now_s):
            found[payer.user][0] += used.cpu_s
            found[payer.user][1] += used.gpu_s
        for user in found.keys() | expected.keys():
            amounts = expected.get(user, [0.0, 0.0])
            assert found.get(user, [0.0, 0.0]) == pytest.approx(amounts, rel=1e-9, abs=1e-6)
    content = state.dump()
    assert State.load(content).dump() == content


def usage_by_journal(events: list[Event], half_life_s: float, now_s: float) -> dict[str, list[float]]:
    owners: dict[int, str] = {}
    held: dict[tuple[int, int], tuple[float, int, int]] = {}
    found: dict[str, list[float]] = {}

    def charge(key: tuple[int, int], end_s: float) -> None:
        start_s, cpus, gpus = held.pop(key)
        if half_life_s:
            rate = math.log(2.0) / half_life_s
            seconds = (math.exp(-rate * (now_s - end_s)) - math.exp(-rate * (now_s - start_s))) / rate
        else:
            seconds = end_s - start_s
        amounts = found.setdefault(owners[key[0]], [0.0, 0.0])
        amounts[0] += cpus * seconds
        amounts[1] += gpus * seconds

    for event in events:
        match event:
            case JobPlaced():
                cpus = sum(len(list(parts(share.cpus))) for share in event.shares)
                gpus = sum(len(list(parts(share.gpus))) for share in event.shares)
                for index in members(event.elements):
                    held[event.job_id, index] = (event.time_s, cpus, gpus)
            case JobEnded():
                for index in members(event.elements):
                    if (event.job_id, index) in held:
                        charge((event.job_id, index), event.time_s)
            case JobRequeued():
                if (event.key.job_id, event.key.index) in held:
                    charge((event.key.job_id, event.key.index), event.time_s)
            case _:
                if hasattr(event, "owner"):
                    owners[event.job_id] = event.owner.user
    for key in list(held):
        charge(key, now_s)
    return found


def parts(text: str) -> list[int]:
    spans = [span.partition("-") for span in text.split(",") if span]
    return [number for low, _, high in spans for number in range(int(low), int(high or low) + 1)]


@given(workload=workloads(), rules=RULES, until_s=st.floats(0.0, 4000.0))
@settings(max_examples=60, deadline=None)
def test_the_queue_is_in_the_order_of_its_terms(workload: Workload, rules: Priorities, until_s: float) -> None:
    """Merging lanes gives what sorting all jobs by the sum of their printed terms gives."""
    state = run(cluster_of(rules), workload, until_s).core.state
    now_s = max(until_s, state.time_s)
    state.snapshot(now_s)
    shares, order = state.fair_shares(now_s), state.queue.order
    priority_of = {partition.name: partition.priority for partition in state.cluster.partitions}

    def rank(job_id: JobId) -> tuple[float, ...]:
        record = state.jobs[job_id]
        terms = {term.name: term.value for term in order.terms(record, now_s, shares)}
        starved = "starvation" in terms
        since_s = max(record.submit_time_s, record.spec.begin_time_s)
        if starved:
            return (0, since_s)
        if rules.order is QueueOrder.WEIGHTED:
            return (1, -sum(terms.values()))
        expansion = terms.pop("expansion factor", 0.0)
        fixed = sum(value for name, value in terms.items() if not name.startswith("partition"))
        return (1, -priority_of[record.spec.partition], -fixed, -expansion)

    found = list(state.queue)
    assert sorted(found) == sorted(record.job_id for record in state.jobs.values() if record.startable_count)
    for earlier, later in pairwise(found):
        before, after = rank(earlier), rank(later)
        is_close = all(math.isclose(a, b, rel_tol=1e-9, abs_tol=0.2) for a, b in zip(before, after, strict=True))
        assert before < after or is_close, (earlier, before, later, after)
    ranks = list(state.queue.ranks())
    assert ranks == sorted(ranks)
    for at, each in enumerate(ranks):
        assert list(state.queue.ranks(each)) == ranks[at + 1 :]


@given(workload=workloads(), until_s=st.floats(0.0, 3000.0))
@settings(max_examples=20, deadline=None)
def test_a_loaded_state_orders_its_queue_alike(workload: Workload, until_s: float) -> None:
    rules = Priorities(order=QueueOrder.WEIGHTED, half_life_s=600.0)
    state = run(cluster_of(rules), workload, until_s).core.state
    loaded = State.load(state.dump())
    now_s = state.time_s + 10.0
    assert [row.job_id for row in loaded.snapshot(now_s).pending()] == [
        row.job_id for row in state.snapshot(now_s).pending()
    ]
    assert list(loaded.queue.ranks()) == list(state.queue.ranks())


TREES = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=6)


@given(
    tree=TREES,
    amounts=st.lists(st.floats(0.0, 1e15), min_size=30, max_size=30),
    active_at=st.sets(st.integers(0, 29)),
)
def test_fair_shares_add_up(tree: list[tuple[int, int, int]], amounts: list[float], active_at: set[int]) -> None:
    """At every level usage, and the shares of those who have jobs, add up to the level above."""
    accounts = []
    for number, (above, shares, user_count) in enumerate(tree):
        parent = f"a{above}" if above < number else ""
        users = tuple((f"u{user}", user + 1) for user in range(user_count))
        accounts.append(Account(f"a{number}", parent, shares, users))
    used = {(f"a{n % len(tree)}", f"u{n % 5}"): amount for n, amount in enumerate(amounts)}
    active = [who for number, who in enumerate(used) if number in active_at]
    found = FairShares(accounts, used, active)
    total = math.fsum(used.values())
    above = {account.name: account.parent for account in accounts}
    for (account, user), standing in found.standings.items():
        assert 0.0 <= standing.factor <= 1.0
        below = [each for key, each in found.standings.items() if key[1] and key[0] == account]
        below += [found.standings[name, ""] for name, parent in above.items() if parent == account]
        if not user and below:
            assert sum(each.used for each in below) == pytest.approx(standing.used)
        has_jobs = [each for each in below if any(_is_in(who, each, above) for who in active)]
        if not user and has_jobs:
            assert sum(each.share for each in has_jobs) == pytest.approx(standing.share)
    tops = [found.standings[name, ""] for name, parent in above.items() if not parent]
    assert sum(each.used for each in tops) == pytest.approx(1.0 if total else 0.0)
    assert found.of("gone", "u0").factor < 1e-9
    assert 0.0 < found.of("a0", "new").share <= 1.0


def _is_in(who: tuple[str, str], standing: Standing, above: dict[str, str]) -> bool:
    account, _ = who
    if standing.user:
        return (standing.account, standing.user) == who
    while account:
        if account == standing.account:
            return True
        account = above[account]
    return False


@pytest.mark.parametrize("seed", [1, 2])
def test_an_overload_ends_in_shares(seed: int) -> None:
    """Four users who always have work get what their accounts' shares say, however much each asks for."""
    accounts = (
        Account("physics", "", 3, (("ada", 2), ("bob", 1))),
        Account("biology", "", 1, (("eve", 1), ("joe", 1))),
    )
    rules = Priorities(order=QueueOrder.WEIGHTED, age_s_max=60.0, half_life_s=3600.0, starvation_s=0.0)
    node = Node(NodeName("n"), 24, 1 << 40)
    cluster = Cluster("c", (node,), (Partition(ALL, (node.name,), True),), accounts=accounts, priorities=rules)
    random, jobs = Random(seed), []
    greed = {"ada": 400, "bob": 600, "eve": 1500, "joe": 300}
    for user, count in greed.items():
        for _ in range(count):
            account = "physics" if user in ("ada", "bob") else "biology"
            spec = JobSpec(
                "j", ALL, command=("x",), cpus_per_task=random.randint(1, 4), walltime_s=900.0, account=account
            )
            jobs.append(WorkloadJob(random.uniform(0, 600), spec, Owner(user, 1, 1), random.uniform(100, 900)))
    simulation = Simulation(Core(Easy(), "easy"), cluster)
    simulation.add_workload(Workload.of(jobs))
    simulation.run(6 * 3600.0)
    shares = simulation.core.state.fair_shares(6 * 3600.0)
    for user, account, share in (
        *(("ada", "physics", 1 / 2), ("bob", "physics", 1 / 4)),
        *(("eve", "biology", 1 / 8), ("joe", "biology", 1 / 8)),
    ):
        standing = shares.of(account, user)
        assert standing.share == pytest.approx(share)
        assert standing.used == pytest.approx(share, abs=0.05), (user, standing)


def test_a_cluster_definition_in_the_middle_settles_what_was_used() -> None:
    """Another half-life counts from then on."""
    state = State()
    cluster = make_cluster(1)
    state.apply(ClusterDefined(0.0, cluster))
    assert points_of(cluster) == 0.0
    state.apply(ClusterDefined(10.0, attrs.evolve(cluster, priorities=Priorities(half_life_s=5.0))))
    assert state.ledger.half_life_s == 5.0
