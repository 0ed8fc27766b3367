"""Examples of what a pool decides: whom it serves, by what, when it gives nodes back, and what it says."""

from __future__ import annotations

import math

import attrs

from hal_core.models.cloud_pool import HOUR_S, CloudPool, Market, PoolOffer, SpendLimit, WaitGoal
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
from hal_core.rules.pools import PoolView, decide_pool

NOW_S = 50_000.0
OFFER = PoolOffer("c8", price_per_hour=1.0, boot_s=100.0, count_max=100)
POOL = CloudPool("burst", (OFFER,), count_max=50, value_per_hour=2.0)


def want(number: int = 1, **changes: object) -> Want:
    plain = Want(JobId(number), {"c8": 1.0}, NOW_S + 10 * HOUR_S, HOUR_S, 2 * HOUR_S, NOW_S)
    return attrs.evolve(plain, **changes)


def instance(number: int = 1, **changes: object) -> PoolInstance:
    times = {"requested_s": NOW_S - 500.0, "until_s": NOW_S + 9 * HOUR_S, "ready_s": NOW_S - 400.0}
    plain = PoolInstance(f"burst-{number}-1", f"burst-{number}", "c8", InstanceState.READY, 1.0, **times)
    return attrs.evolve(plain, **changes)


def decide(pool: CloudPool, **view: object) -> tuple[object, ...]:
    return decide_pool(pool, PoolView(NOW_S, **view)).actions


def only(actions: tuple[object, ...], kind: type) -> list:
    return [action for action in actions if isinstance(action, kind)]


def test_a_job_whose_wait_is_worth_more_than_the_nodes_is_served():
    rent, admit = decide(POOL, wants=[want(instances={"c8": 3.0})])

    assert (rent.offer, rent.count, rent.token) == ("c8", 3, "burst-1")
    assert admit.job_id == 1
    assert "c8 to start 10.0 h sooner" in admit.reason


def test_a_job_that_costs_more_than_its_wait_is_worth_waits_and_is_told_the_sum():
    (decline,) = decide(POOL, wants=[want(instances={"c8": 30.0})])

    assert isinstance(decline, Decline)
    assert "30.83 on c8" in decline.reason
    assert "worth only" in decline.reason


def test_more_nodes_do_not_help_a_job_that_starts_before_they_are_up():
    actions = decide(POOL, wants=[want(expected_start_s=NOW_S + 90.0)])

    assert [action.reason for action in actions] == ["more nodes would not start it sooner"]


def test_an_idle_instance_is_used_before_another_is_rented():
    idle = instance(idle_since_s=NOW_S - 20.0)

    actions = decide(POOL, wants=[want()], instances=[idle], free={idle.name: 1.0})

    assert [type(action) for action in actions] == [Admit]


def test_small_jobs_share_an_instance():
    jobs = [want(number, instances={"c8": 0.25}) for number in range(1, 5)]

    actions = decide(POOL, wants=jobs)

    assert [action.count for action in only(actions, Provision)] == [1]
    assert len(only(actions, Admit)) == 4


def test_a_cap_of_ten_instances_with_demand_for_a_thousand_gives_ten():
    jobs = [want(number) for number in range(1, 401)]

    actions = decide(attrs.evolve(POOL, count_max=10), wants=jobs)

    assert sum(action.count for action in only(actions, Provision)) == 10
    assert len(only(actions, Decline)) == 390


def test_what_would_be_committed_counts_against_the_budget_before_it_is_spent():
    """A lease of 2 h, the longest boot, and some spare costs 2.19: of 5.00 two are paid."""
    pool = attrs.evolve(POOL, budget=SpendLimit(5.0))

    actions = decide(pool, wants=[want(1), want(2), want(3)])

    assert [action.count for action in only(actions, Provision)] == [1, 1]
    (decline,) = only(actions, Decline)
    assert "the budget has 0.6" in decline.reason


def test_an_offer_that_failed_is_left_alone_and_the_next_one_is_taken():
    dear = PoolOffer("c9", price_per_hour=1.5, boot_s=100.0, count_max=9)
    pool = attrs.evolve(POOL, offers=(OFFER, dear))
    job = want(instances={"c8": 1.0, "c9": 1.0})

    actions = decide(pool, wants=[job], closed_until_s={"c8": NOW_S + 60.0})

    assert [action.offer for action in only(actions, Provision)] == ["c9"]


def test_what_is_idle_for_a_quarter_of_its_boot_is_released_down_to_the_minimum():
    idle = [instance(number, idle_since_s=NOW_S - 26.0) for number in (1, 2, 3)]
    free = {each.name: 1.0 for each in idle}

    actions = decide(attrs.evolve(POOL, count_min=1), instances=idle, free=free)

    assert [action.instance for action in actions] == ["burst-1-1", "burst-2-1"]
    assert actions[0].reason == "idle for 25 s"


def test_an_instance_that_never_joins_is_released():
    lost = instance(state=InstanceState.BOOTING, requested_s=NOW_S - OFFER.boot_s_max)

    assert [action.reason for action in decide(POOL, instances=[lost])] == ["it did not join in time"]


def test_a_job_whose_offer_is_used_up_is_told_so():
    taken = [instance(number, until_s=NOW_S + HOUR_S) for number in (1, 2)]
    pool = attrs.evolve(POOL, offers=(attrs.evolve(OFFER, count_max=2),))

    actions = decide(pool, wants=[want(3)], instances=taken, admitted={JobId(3): "c8"}, free={})

    assert next(action.reason for action in only(actions, Decline)).startswith("no more of c8 can be had now")


def test_nothing_waits_for_an_instance_that_never_joins():
    """It was paid for until long after the job, and given up, in one breath."""
    lost = instance(state=InstanceState.BOOTING, requested_s=NOW_S - OFFER.boot_s_max, until_s=NOW_S + HOUR_S)

    actions = decide(POOL, wants=[want()], instances=[lost], admitted={JobId(1): "c8"})

    assert [action.instance for action in only(actions, Relinquish)] == [lost.name]
    assert not only(actions, Extend)
    assert [action.count for action in only(actions, Provision)] == [1], "another takes its place"


def test_the_kill_switch_rents_nothing_and_releases_what_is_idle():
    idle, busy = instance(1, idle_since_s=NOW_S), instance(2)

    actions = decide(attrs.evolve(POOL, is_stopped=True), wants=[want()], instances=[idle, busy])

    assert [action.instance for action in only(actions, Relinquish)] == [idle.name]
    assert [action.reason for action in only(actions, Decline)] == ["the pool is stopped"]


def test_a_job_without_a_limit_is_not_served_for_nobody_knows_what_it_would_cost():
    (decline,) = decide(POOL, wants=[want(limit_s=math.inf)])

    assert isinstance(decline, Decline)


def test_the_goal_serves_cheap_jobs_and_lets_dear_ones_wait():
    pool = attrs.evolve(POOL, value_per_hour=0.0, goal=WaitGoal(0.9))
    served: dict[bool, int] = {True: 0, False: 0}
    view = PoolView(NOW_S)
    for number in range(3000):
        is_dear = number % 10 == 0
        job = want(number, instances={"c8": 40.0 if is_dear else 1.0})
        decision = decide_pool(pool, attrs.evolve(view, wants=[job]))
        view = attrs.evolve(view, worth=decision.worth)
        served[is_dear] += bool(only(decision.actions, Admit))

    assert served[False] > 10 * served[True]
    assert sum(served.values()) >= 0.9 * 3000


SPOT = PoolOffer("spot", 0.3, 100.0, 100, Market.SPOT, interruptions_per_hour=0.1)
BOTH = attrs.evolve(POOL, offers=(OFFER, SPOT))


def due(in_s: float) -> Want:
    return want(instances={"c8": 1.0, "spot": 1.0}, deadline_s=NOW_S + in_s)


def test_spot_serves_a_deadline_that_leaves_time_to_begin_again():
    far, near = (only(decide(BOTH, wants=[due(in_s)]), Provision) for in_s in (2 * (2 * HOUR_S + 400.0), 3 * HOUR_S))

    assert [rent.offer for rent in far] == ["spot"]
    assert near == []


def test_a_deadline_that_is_far_away_is_put_off_and_asked_about_again():
    decision = decide_pool(BOTH, PoolView(NOW_S, wants=[due(9 * HOUR_S)]))

    assert not only(decision.actions, Provision)
    assert NOW_S < decision.wake_s < NOW_S + 9 * HOUR_S


def test_on_demand_serves_a_deadline_that_spot_might_miss():
    actions = decide(BOTH, wants=[due(2 * HOUR_S + OFFER.boot_s_max + 60.0)])

    assert [rent.offer for rent in only(actions, Provision)] == ["c8"]
