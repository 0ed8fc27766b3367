"""Whatever a pool sees, what it decides stays within its budget and its counts, and is the same every time."""

from __future__ import annotations

import math

import attrs
from hypothesis import HealthCheck, given, settings, strategies as st

from hal_core.models.cloud_pool import AccountBudget, CloudPool, Market, PoolOffer, SpendLimit, WaitGoal
from hal_core.models.job import JobId
from hal_core.models.pool_decision import (
    Admit,
    Decline,
    Extend,
    InstanceState,
    PoolInstance,
    Provision,
    Relinquish,
    Want,
)
from hal_core.rules.pool_budget import Purse, paid_by
from hal_core.rules.pool_ledger import requested
from hal_core.rules.pool_worth import Worth
from hal_core.rules.pools import PoolView, decide_pool

NOW_S = 1_000_000.0
NAMES = ("small", "large", "spot")
PAYERS = ("", "physics", "chemistry")
seconds = st.floats(0.0, 20_000.0).map(round).map(float)


@st.composite
def offers(draw: st.DrawFn, name: str) -> PoolOffer:
    market = Market.SPOT if name == "spot" else Market.ON_DEMAND
    price, count_max = draw(st.floats(0.01, 10.0)), draw(st.integers(0, 6))
    life_s = draw(st.just(math.inf) | st.just(7200.0))
    return PoolOffer(name, price, draw(seconds), count_max, market, draw(st.floats(0.0, 1.0)), life_s=life_s)


@st.composite
def pools(draw: st.DrawFn) -> CloudPool:
    budget = st.builds(SpendLimit, st.floats(0.0, 200.0), st.sampled_from([math.inf, 86_400.0]))
    return CloudPool(
        "burst",
        tuple(draw(offers(name)) for name in draw(st.lists(st.sampled_from(NAMES), unique=True))),
        count_max=draw(st.integers(0, 8)),
        count_min=draw(st.integers(0, 3)),
        idle_s=draw(st.none() | seconds),
        budget=draw(st.none() | budget),
        goal=WaitGoal(draw(st.sampled_from([0.0, 0.9, 1.0])), draw(st.none() | seconds)),
        value_per_hour=draw(st.sampled_from([0.0, 1.0, 1000.0])),
        wait_s_max=draw(st.just(math.inf) | seconds),
        is_stopped=draw(st.booleans()),
        account_budgets=tuple(AccountBudget(each, draw(budget)) for each in PAYERS[1:] if draw(st.booleans())),
    )


@st.composite
def instances(draw: st.DrawFn, number: int) -> PoolInstance:
    state = draw(st.sampled_from(InstanceState))
    is_idle = state is InstanceState.READY and draw(st.booleans())
    made = PoolInstance(
        f"burst-{number}-1",
        f"burst-{number}",
        draw(st.sampled_from(NAMES)),
        state,
        draw(st.floats(0.01, 10.0)),
        NOW_S - draw(seconds),
        NOW_S + draw(seconds),
        NOW_S + draw(st.floats(-1000.0, 1000.0)),
        NOW_S - draw(seconds) if is_idle else None,
        life_s=draw(st.just(math.inf) | st.just(7200.0)),
        account=draw(st.sampled_from(PAYERS)),
    )
    return attrs.evolve(made, until_s=min(made.until_s, made.until_s_max))


@st.composite
def wants(draw: st.DrawFn, number: int) -> Want:
    limit_s = draw(seconds | st.just(math.inf))
    needs = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])))
    start_s = NOW_S + draw(seconds | st.just(math.inf))
    deadline_s = draw(st.just(math.inf) | seconds.map(lambda s: NOW_S + s))
    times_s = (start_s, min(limit_s, draw(seconds)), limit_s, NOW_S - draw(seconds), deadline_s)
    return Want(JobId(number), needs, *times_s, account=draw(st.sampled_from(PAYERS)))


@st.composite
def views(draw: st.DrawFn) -> PoolView:
    there = [draw(instances(number)) for number in range(draw(st.integers(0, 5)))]
    ready = [each for each in there if each.state is InstanceState.READY]
    free = {each.name: 1.0 if each.idle_since_s else draw(st.sampled_from([0.0, 0.25, 0.5])) for each in ready}
    waiting = [draw(wants(number)) for number in range(draw(st.integers(0, 8)))]
    admitted = {want.job_id: draw(st.sampled_from(NAMES)) for want in waiting if draw(st.booleans())}
    closed = draw(st.dictionaries(st.sampled_from(NAMES), seconds.map(lambda s: NOW_S + s - 5000.0)))
    worth = Worth(draw(st.floats(0.0, 100.0)), 100.0)
    spent_by = {account: draw(st.floats(0.0, 50.0)) for account in PAYERS[1:]}
    return PoolView(NOW_S, there, free, waiting, admitted, draw(st.floats(0.0, 50.0)), closed, worth, 40, spent_by)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pools(), views())
def test_a_decision_keeps_budget_and_counts(pool, view):
    actions = decide_pool(pool, view).actions

    there = {each.name: each for each in view.instances}
    for action in actions:
        if isinstance(action, Provision):
            offer = pool.offer(action.offer)
            assert view.closed_until_s.get(offer.name, 0.0) <= NOW_S
            for each in requested(action, offer, NOW_S):
                assert each.name not in there, "a token is used once"
                there[each.name] = each
            assert sum(each.offer == offer.name for each in there.values()) <= offer.count_max
            assert len(there) <= pool.count_max
            assert not pool.is_stopped
        elif isinstance(action, Extend):
            assert there[action.instance].until_s < action.until_s <= there[action.instance].until_s_max
            there[action.instance] = attrs.evolve(there[action.instance], until_s=action.until_s)
        elif isinstance(action, Admit):
            limit_s = next(want.limit_s for want in view.wants if want.job_id == action.job_id)
            assert limit_s < pool.offer(action.offer).life_s, "it ends before its instance does"
    left_before = Purse(pool.budget, view.spent, view.instances, NOW_S).left
    left_after = Purse(pool.budget, view.spent, there.values(), NOW_S).left
    assert left_after >= min(left_before, -1e-6), "what is committed is within the budget"
    for each in pool.account_budgets:
        spent = view.spent_by[each.account]
        left_before = Purse(each.limit, spent, paid_by(each.account, view.instances), NOW_S).left
        left_after = Purse(each.limit, spent, paid_by(each.account, there.values()), NOW_S).left
        assert left_after >= min(left_before, -1e-6), "and what an account pays for is within its own"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pools(), views())
def test_an_account_pays_for_its_own_jobs_and_for_all_that_they_need(pool, view):
    for action in decide_pool(pool, view).actions:
        if isinstance(action, Provision):
            number = int(action.reason.split(":")[0].removeprefix("job ")) if action.reason.startswith("job") else None
            payers = {want.account for want in view.wants if want.job_id == number} or {""}
            assert payers == {action.account}
        elif isinstance(action, Extend) and action.reason.startswith("job"):
            number = int(action.reason.split()[1])
            payers = {want.account for want in view.wants if want.job_id == number}
            assert payers == {next((each.account for each in view.instances if each.name == action.instance), None)}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pools(), views())
def test_a_decision_contradicts_neither_itself_nor_another_of_the_same(pool, view):
    decision = decide_pool(pool, view)

    assert decide_pool(pool, view) == decision
    let_go = [action.instance for action in decision.actions if isinstance(action, Relinquish)]
    kept = [action.instance for action in decision.actions if isinstance(action, Extend)]
    assert len(set(let_go)) == len(let_go)
    assert not set(let_go) & set(kept)
    answered = [action.job_id for action in decision.actions if isinstance(action, Admit | Decline)]
    assert len(set(answered)) == len(answered)
    jobs = {want.job_id for want in view.wants}
    assert set(answered) | set(view.admitted) == jobs or pool.is_stopped, "every job that waits is told"
    assert decision.wake_s > NOW_S or any(isinstance(action, Relinquish | Extend) for action in decision.actions), (
        "an unchanged view is not asked about at once again"
    )
