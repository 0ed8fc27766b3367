"""The file of `hal replay --with-cloud`: what it means, and what is said of one that is wrong."""

from __future__ import annotations

import math

import pytest

from hal_core.config.cloud_file import parse_cloud_file
from hal_core.errors import InvalidInput
from hal_core.models.cloud_pool import Market

SMALL = """
offers:
  - {name: small, cpus: 2, price_per_hour: 0.10}
"""


def test_what_is_not_given_has_its_default():
    file = parse_cloud_file(SMALL, "prices.yaml")
    pool = file.cloud_pool()

    assert (file.on_premises, file.checkpoint, pool.budget) == (1.0, math.inf, None)
    assert (pool.offers[0].boot_s, pool.offers[0].market, pool.within_s) == (120.0, Market.ON_DEMAND, 120.0)


def test_everything_can_be_given():
    text = SMALL + "pool: {budget: 12.5, period: 30d, idle: 1m, goal_within: 5m, wait_max: 1d, value_per_hour: 2}\n"

    pool = parse_cloud_file(text, "prices.yaml").cloud_pool()

    assert (pool.budget.amount, pool.budget.period_s) == (12.5, 30 * 86_400.0)
    assert (pool.idle_s, pool.within_s, pool.wait_s_max, pool.value_per_hour) == (60.0, 300.0, 86_400.0, 2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pool: {}\n", "'offers' is missing"),
        (SMALL + "pol: {}\n", "did you mean 'pool'"),
        (SMALL.replace("cpus: 2", "cpus: 0"), "offers[0].cpus"),
        (SMALL.replace("0.10", "cheap"), "price_per_hour"),
        (SMALL.replace("name: small", "name: small, market: spott"), "spot"),
        (SMALL.replace("name: small", "name: small, market: spot"), "sold on demand"),
        (SMALL + "  - {name: small, cpus: 4, price_per_hour: 1}\n", "already"),
        (SMALL + "on_premises: 1.5\n", "from 0 to 1"),
        (SMALL + "pool: {budget: much}\n", "pool.budget"),
    ],
)
def test_a_mistake_is_told_with_its_line(text, words):
    with pytest.raises(InvalidInput) as caught:
        parse_cloud_file(text, "prices.yaml")

    assert words in str(caught.value)
    assert "prices.yaml" in str(caught.value)
