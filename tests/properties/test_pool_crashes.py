"""Random schedules of a pool, with crashes of HAL, faults of the provider and interruptions at any point."""

from __future__ import annotations

from tests.support.pool_schedules import run_schedule

SEEDS = (*range(10), 1139, 1417, 2147, 2979, 5983)
"""The last ones: of a token that was asked for again, one instance never joined and another had a longer lease; a list
that failed was forgotten over the next call."""
ACCOUNT_SEEDS = (1_007_918, 2_003_365)
"""What a request brought forth that was repeated had ended before the answer to it came."""


def test_budgets_hold_and_nothing_is_leaked_or_doubled_whatever_crashes():
    outcomes = [run_schedule(seed, has_accounts=False) for seed in SEEDS]

    assert sum(each.crash_count for each in outcomes) > 3, "the schedules have crashes"
    assert sum(each.served_count for each in outcomes) > 10, "and jobs that run in the pool"


def test_no_account_spends_more_than_its_budget_whatever_crashes():
    outcomes = [run_schedule(seed) for seed in (*range(12), *ACCOUNT_SEEDS)]

    assert sum(each.crash_count for each in outcomes) > 3, "the schedules have crashes"
    assert sum(each.account_count for each in outcomes) > 10, "accounts that pay"
    assert sum(each.account_lack_count for each in outcomes) > 10, "and budgets that are used up"
