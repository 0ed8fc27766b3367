"""Budgets of accounts in a pool: whose instances serve whom, what is told of it, and what a restart keeps."""

from __future__ import annotations

from random import Random

from hal_core.kernel.pool_meter import PoolMeter
from hal_core.models.cloud_pool import AccountBudget, SpendLimit
from hal_core.models.message import InstancesEnded
from hal_core.models.pool_decision import InstanceState
from hal_core.models.pool_event import InstanceGone, InstancesRequested, LeaseExtended
from hal_core.rules.explain import explain
from hal_core.rules.pool_ledger import LedgerContent, PoolLedger
from hal_core.rules.pool_status import pool_status
from tests.support.pool_world import BURST, PoolWorld, pool_cluster

LIMIT_S = 600.0
PHYSICS = AccountBudget("physics", SpendLimit(0.4), ("optics",))
"""Enough for one instance: 300 + 60 of boot, 600 of a job and 300 to spare are 0.35."""


def test_a_job_that_its_account_cannot_pay_for_waits_and_is_told_so():
    world = PoolWorld(pool_cluster(account_budgets=(PHYSICS,)))
    world.submit(walltime_s=LIMIT_S, cpus_per_task=4, account="optics")
    poor = world.submit(walltime_s=LIMIT_S, cpus_per_task=4, account="physics")
    other = world.submit(walltime_s=LIMIT_S, cpus_per_task=4, account="chemistry")
    world.serve()

    assert [each.account for each in world.instances] == ["physics", ""]
    assert world.activity(other)
    (text,) = explain(world.state, world.job(poor), world.now_s).pools
    assert text.endswith("; the budget of account physics has 0.05 left, and 0.35 would be committed")
    world.check_at_end()


def test_what_an_account_pays_for_serves_no_others():
    """An hour of its instance is idle, and another one is rented beside it."""
    world = PoolWorld(pool_cluster(idle_s=3600.0, account_budgets=(PHYSICS,)))
    paid = world.submit(walltime_s=LIMIT_S, account="optics")
    world.serve()
    world.end(world.activity(paid).key)
    other = world.submit(walltime_s=LIMIT_S)
    world.serve()
    again = world.submit(walltime_s=LIMIT_S / 2, account="physics")
    world.serve()

    assert [(each.node, each.account) for each in world.instances] == [("c0", "physics"), ("c1", "")]
    assert [share.node for share in world.activity(other).shares] == ["c1"]
    assert [share.node for share in world.activity(again).shares] == ["c0"]
    world.check_at_end()


def test_what_accounts_spend_and_owe_is_shown_and_measured():
    world = PoolWorld(pool_cluster(account_budgets=(PHYSICS,)))
    world.submit(walltime_s=LIMIT_S, account="physics")
    world.serve()
    world.now_s += 360.0
    (shown,) = pool_status(world.state, world.state.pools.pools[BURST], world.now_s).account_budgets
    lines = PoolMeter(lambda: world.state, lambda: world.now_s).render().decode().splitlines()

    assert (shown.account, shown.spent, shown.budget, shown.period_s) == ("physics", 0.1, 0.4, None)
    assert shown.left == 0.4 - shown.spent - shown.committed
    assert 'hal_pool_account_spent{pool="burst",account="physics"} 0.1' in lines
    assert 'hal_pool_account_budget{pool="burst",account="physics"} 0.4' in lines


def test_what_is_gone_counts_until_its_period_is_over_and_a_dump_keeps_it():
    budget = AccountBudget("physics", SpendLimit(5.0, 3600.0))
    ledger = PoolLedger(None, (budget,))
    terms = (1, 1.0, 100.0, 9000.0, "a job waits")
    ledger.apply(InstancesRequested(3600.0, BURST, "burst-1", "small", *terms, account="physics"))
    ledger.apply(InstanceGone(5400.0, BURST, "burst-1-1", "released"))
    again = PoolLedger(None, (budget,))
    again.restore(ledger.content())
    assert [each.spent_by(6000.0)["physics"] for each in (ledger, again)] == [0.5, 0.5]
    assert again.spent_by(7200.0)["physics"] == 0.0
    again.restore(LedgerContent())  # as of a version that knew no accounts
    assert again.spent_by(6000.0).keys() == {"physics"}


def test_no_account_commits_more_than_it_has_whoever_submits_what_and_its_nodes_serve_its_jobs():
    for seed in range(4):
        _run(Random(seed), f"seed {seed}")


def _run(random: Random, text: str) -> None:
    """After each step what was committed is within the budgets, and every job is where its account pays."""
    amounts = {"physics": random.uniform(0.3, 2.0), "chemistry": random.uniform(0.3, 2.0)}
    below = {"physics": ("optics",), "chemistry": ()}
    budgets = tuple(AccountBudget(each, SpendLimit(amount), below[each]) for each, amount in amounts.items())
    world = PoolWorld(pool_cluster(rented=6, idle_s=random.choice([None, 3600.0]), account_budgets=budgets))
    payer_of = {"physics": "physics", "optics": "physics", "chemistry": "chemistry", "": ""}
    for _ in range(20):
        for _ in range(random.randint(0, 2)):
            sizes = {"cpus_per_task": random.choice([1, 4]), "walltime_s": random.choice([60.0, LIMIT_S])}
            world.submit(account=random.choice(list(payer_of)), **sizes)
        seen = len(world.events)
        world.serve()
        has_committed = {
            event.account if isinstance(event, InstancesRequested) else world.ledger.instances[event.instance].account
            for event in world.events[seen:]
            if isinstance(event, InstancesRequested | LeaseExtended)
        }
        spent = world.ledger.spent_by(world.now_s)
        for account in has_committed - {""}:
            total = spent[account] + world.ledger.committed(world.now_s, account)
            assert total <= amounts[account] + 1e-9, f"{text}: {account} has committed {total}"
        account_of = {each.node: each.account for each in world.instances}
        running = [(job, each) for job in world.state.jobs.values() for each in job.active.values()]
        for job, activity in running:
            for share in activity.shares:
                assert account_of[share.node] == payer_of[job.spec.account], f"{text}: job {job.job_id}"
            if random.random() < 0.5:
                world.end(activity.key)
        world.now_s += random.choice([5.0, 60.0, 300.0])
        world.decide()
        for each in world.instances:
            if each.state is InstanceState.RELEASING:
                world.tell(InstancesEnded(BURST, (each.name,), was_asked=True))
    world.check_at_end()
