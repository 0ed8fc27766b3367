"""`pools` in the configuration: what it means, and what is said of every mistake."""

from __future__ import annotations

import math

import pytest

from hal_core.config.reading import parse_configuration
from hal_core.errors import InvalidInput
from hal_core.models.cloud_pool import AccountBudget, CloudPool, Market, PoolOffer, SpendLimit, WaitGoal

GOOD = """\
nodes:
  - names: n1
    cpus: 4
    memory: 8G
  - names: c[0-2]
    cpus: 2
    memory: 4G
  - names: s[0-1]
    cpus: 2
    memory: 4G
partitions:
  - name: main
clouds:
  static: {}
pools:
  - name: burst
    cloud: static
    accounts: [physics]
    offers:
      - name: small
        nodes: c[0-2]
        price_per_hour: 0.10
        boot: 2m
      - name: spot
        nodes: s[0-1]
        price_per_hour: 0.03
        market: spot
        interruptions_per_hour: 0.02
        count_max: 1
    count_max: 20
    budget: 500
    period: 30d
    value_per_hour: 0.50
"""


def test_what_it_means():
    (pool,) = parse_configuration(GOOD, "c.yaml").cluster.pools
    small = PoolOffer("small", 0.1, 120.0, 3, nodes=("c0", "c1", "c2"))
    spot = PoolOffer("spot", 0.03, 120.0, 1, Market.SPOT, 0.02, nodes=("s0", "s1"))
    terms = {"budget": SpendLimit(500.0, 30 * 86_400.0), "goal": WaitGoal(), "value_per_hour": 0.5}
    assert pool == CloudPool("burst", (small, spot), 20, **terms, cloud="static", accounts=("physics",))
    assert pool.wait_s_max == math.inf


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("    cloud: static", "    cloud: statik", "no cloud 'statik' under `clouds`; there are: static (did you mean"),
        ("nodes: c[0-2]\n        p", "nodes: c[0-3]\n        p", "no such node: 'c3'; describe them under `nodes`"),
        ("nodes: s[0-1]\n        p", "nodes: c[1-2]\n        p", "node c1 is of offer 'small' already"),
        ("nodes: s[0-1]\n        p", "nodes: n1,s[0-1]\n        p", "its nodes differ"),
        (
            "  - name: main",
            "  - name: main\n    nodes: n1,c[0-1]",
            "some of them, but not c2; name all of them or none",
        ),
        ("name: spot", "name: small", "there is an offer 'small' already in this pool"),
        ("count_max: 20", "count_mox: 20", "no key 'count_mox' here (did you mean 'count_max'?)"),
        ("market: spot", "market: sport", "'sport' is not known (did you mean 'spot'?)"),
        ("budget: 500", "budget: much", "much"),
    ],
)
def test_what_is_said_of_a_mistake(old, new, text):
    assert old in GOOD
    with pytest.raises(InvalidInput) as refused:
        parse_configuration(GOOD.replace(old, new), "c.yaml")
    assert text in str(refused.value)
    assert "c.yaml:" in str(refused.value)


def test_two_pools_need_two_names():
    twice = GOOD.replace("pools:\n", "pools:\n  - name: burst\n    cloud: static\n    offers: []\n")
    with pytest.raises(InvalidInput, match="pool 'burst' is named twice") as refused:
        parse_configuration(twice, "c.yaml")
    assert "there are no offers; name at least one" in str(refused.value)


ACCOUNTS = """\
accounts:
  - name: physics
  - name: optics
    parent: physics
  - name: chemistry
"""
BUDGETS = "    account_budgets:\n      physics: {budget: 200, period: 7d}\n"


def test_the_budget_of_an_account_is_for_those_below_it_too():
    (pool,) = parse_configuration(GOOD + BUDGETS + ACCOUNTS, "c.yaml").cluster.pools
    assert pool.account_budgets == (AccountBudget("physics", SpendLimit(200.0, 7 * 86_400.0), ("optics",)),)
    assert [pool.payer_of(each) for each in ("physics", "optics", "chemistry", "")] == ["physics", "physics", "", ""]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("      physics: {", "      phisics: {", "no account named 'phisics' (did you mean 'physics'?)"),
        ("budget: 200", "budgit: 200", "no key 'budgit' here (did you mean 'budget'?)"),
        ("budget: 200, ", "", "key 'budget' is missing"),
        ("account_budgets", "account_budget", "no key 'account_budget' here (did you mean 'account_budgets'?)"),
        ("      physics: {", "      chemistry: {", "the pool is not for jobs of account 'chemistry', but of: physics"),
        (BUDGETS, BUDGETS + "      optics: {budget: 1}\n", "account 'optics' is below 'physics', whose budget pays"),
    ],
)
def test_what_is_said_of_a_mistake_about_budgets_of_accounts(old, new, text):
    with pytest.raises(InvalidInput) as refused:
        parse_configuration(GOOD + BUDGETS.replace(old, new) + ACCOUNTS, "c.yaml")
    assert text in str(refused.value)
