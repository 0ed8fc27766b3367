"""Random schedules of a pool with everything that can go wrong, from a seed: what has to hold of each."""

from __future__ import annotations

import math
from random import Random

import attrs

from hal_core.models.cloud_pool import AccountBudget, CloudPool, Market, PoolOffer, SpendLimit, WaitGoal
from hal_core.models.pool_event import InstancesRequested, LeaseExtended, PoolEvent
from hal_core.rules.pool_budget import paid_by
from hal_core.rules.pool_ledger import PoolLedger
from hal_core.sim.burst import Burst, BurstReplay
from hal_core.sim.cloud import Machine as CloudMachine, SimulatedOffer
from hal_core.sim.expectations import CORRECTIONS, Expectations
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight
from hal_core.sim.trace import TraceJob
from hal_engine_backfill.expansion import Expansion
from tests.support.crashing_site import CrashingSite, DeadlyCloud

DAY_S = 86_400.0
USERS = ("physics", "somebody", "optics", "chemistry")
"""And the accounts of their jobs; optics is below physics."""


@attrs.frozen
class Outcome:
    """What came of one schedule."""

    crash_count: int
    instance_count: int
    interruption_count: int
    served_count: int
    account_count: int
    """Accounts whose budgets paid for something."""
    account_lack_count: int
    """How often an account had too little left."""


def run_schedule(seed: int, has_accounts: bool = True) -> Outcome:
    """Raises AssertionError, with the seed, if money, instances or jobs were lost. `has_accounts`: some of the accounts
    have budgets, and their jobs are among the others."""
    random = Random(seed)
    pool, offers = _pool(random)
    jobs = _jobs(random)
    if has_accounts:
        pool = attrs.evolve(pool, account_budgets=_account_budgets(Random(f"{seed}/accounts")))
    cloud = DeadlyCloud(offers, random, random.choice([0.0, 0.1, 0.3]), random.choice([0.0, 0.02, 0.1]))
    site = CrashingSite(pool, cloud, random)
    has_deadlines = random.random() < 0.3
    burst = Burst(
        site,
        site.rule,
        {"small": 2, "large": 4, "spot": 2},
        lambda job: job.submit_s + 3.0 * job.limit_s + 900.0 if has_deadlines else math.inf,
        random.choice([math.inf, 300.0]),
        payer_of=lambda job: pool.payer_of(job.user),
    )
    engine = Expansion(60.0, 5 * DAY_S, 1000, 20_000)
    foresight = Foresight(Expectations(), CORRECTIONS["request"])
    replay = BurstReplay(engine, Machine.pool(4), jobs, foresight, burst)
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    text = f"seed {seed}"
    assert not cloud.alive, f"{text}: leaked {sorted(cloud.alive)}"
    assert not site.ledger.instances, f"{text}: the ledger has {sorted(site.ledger.instances)}"
    assert not site.unknown_count, f"{text}: instances that no event tells of"
    assert all(time_s == time_s for time_s, job in zip(replay.start_s, jobs, strict=True) if job.processors <= 4), text
    _check_spend(pool.budget, cloud.ended, text)
    _check_accounts(pool, cloud, site.events, text)
    _check_counts(pool, cloud, text)
    counts = (site.crash_count, cloud.begun_count, replay.interruption_count, replay.served_count)
    paying = {event.account for event in site.events if isinstance(event, InstancesRequested) and event.account}
    return Outcome(*counts, len(paying), site.account_lack_count)


def _check_spend(limit: SpendLimit | None, machines: list[CloudMachine], text: str) -> None:
    """By what the provider saw."""
    if limit is None:
        return
    for begin_s, end_s in {limit.period_of(each.begin_s) for each in machines}:
        spent = math.fsum(each.cost(end_s, begin_s) for each in machines)
        assert spent <= limit.amount + 1e-6, f"{text}: {spent} of {limit.amount} spent from {begin_s}"


def _check_accounts(pool: CloudPool, cloud: DeadlyCloud, events: list[PoolEvent], text: str) -> None:
    """What the provider saw of each account's instances; and what each had committed when it committed more. (What HAL
    has not seen end yet, being down, costs on in the ledger: that is more than it does, and commits nothing.)"""
    requests = [event for event in events if isinstance(event, InstancesRequested)]
    payer_of = {f"{each.token}-{number}": each.account for each in requests for number in range(1, each.count + 1)}
    for each in pool.account_budgets:
        mine = [machine for machine in cloud.ended if payer_of[machine.name] == each.account]
        _check_spend(each.limit, mine, f"{text}: account {each.account}")
    ledger = PoolLedger(pool.budget, pool.account_budgets)
    for event in events:
        ledger.apply(event)
        if isinstance(event, InstancesRequested):
            account = event.account
        elif isinstance(event, LeaseExtended):
            account = ledger.instances[event.instance].account
        else:
            continue
        for each in pool.account_budgets:
            there = paid_by(each.account, ledger.instances.values())
            owed = math.fsum(one.cost(event.time_s, one.until_s) for one in there)
            total, amount = ledger.spent_by(event.time_s)[each.account] + owed, each.limit.amount
            if account == each.account:
                assert total <= amount + 1e-6, f"{text}: {total} of {amount} are committed by account {account}"


def _check_counts(pool: CloudPool, cloud: DeadlyCloud, text: str) -> None:
    counts = sorted(change for each in cloud.ended for change in ((each.begin_s, 1), (each.end_s or math.inf, -1)))
    there = most = 0
    for _, change in counts:
        there += change
        most = max(most, there)
    assert most <= pool.count_max, f"{text}: {most} instances"


def _pool(random: Random) -> tuple[CloudPool, tuple[SimulatedOffer, ...]]:
    kinds = (("small", 1.0, Market.ON_DEMAND), ("large", 1.8, Market.ON_DEMAND), ("spot", 0.3, Market.SPOT))
    offers, simulated = [], []
    for name, price, market in kinds:
        boot_s, rate = random.choice([30.0, 120.0, 600.0]), random.choice([0.0, 2.0]) if name == "spot" else 0.0
        offers.append(PoolOffer(name, price, boot_s, random.randint(1, 12), market, rate))
        never, none = random.choice([0.0, 0.2]), random.choice([0.0, 0.3])
        simulated.append(SimulatedOffer(name, price, boot_s, 0.5, random.randint(1, 12), none, never, rate))
    budget = SpendLimit(random.uniform(1.0, 30.0), random.choice([math.inf, 3600.0, DAY_S]))
    pool = CloudPool(
        "burst",
        tuple(offers),
        count_max=random.randint(1, 12),
        budget=random.choice([None, budget, budget]),
        goal=WaitGoal(random.choice([0.5, 0.9])),
        value_per_hour=random.choice([0.0, 1.0, 100.0]),
        wait_s_max=random.choice([math.inf, 3600.0]),
    )
    return pool, tuple(simulated)


def _account_budgets(random: Random) -> tuple[AccountBudget, ...]:
    limits = [SpendLimit(random.uniform(0.2, 10.0), random.choice([math.inf, 3600.0, DAY_S])) for _ in range(2)]
    physics = AccountBudget("physics", limits[0], ("optics",))
    return random.choice([(physics,), (physics, AccountBudget("chemistry", limits[1]))])


def _jobs(random: Random) -> list[TraceJob]:
    jobs, now_s = [], 0.0
    for number in range(random.randint(1, 12)):
        now_s += random.expovariate(1.0 / random.choice([10.0, 600.0]))
        run_s = random.expovariate(1.0 / random.choice([60.0, 3000.0])) + 1.0
        jobs.append(
            TraceJob(
                number, now_s, run_s, run_s * random.uniform(1.0, 4.0), random.randint(1, 8), USERS[number % len(USERS)]
            )
        )
    return jobs
