"""The judge of the campaign of cloud faults finds what is planted."""

from __future__ import annotations

import random

from hal_core.fleet.machines import MachineName, digest_of
from tests.campaigns.cloud_faults import Order, Trial, judge


def named(slot, token):
    return MachineName("lab", "small", slot, digest_of(token))


def trial(**orders):
    return Trial(lambda: None, None, random.Random(1), orders)


def test_what_was_ordered_and_is_there_is_no_problem():
    truth = [("i-1", named(0, "t0")), ("i-2", named(1, "t0"))]
    assert judge(trial(t0=Order(2, is_open=False)), truth, {"i-1", "i-2"}) == []


def test_each_broken_promise_is_found():
    told = trial(t0=Order(1), t1=Order(1, is_refused=True))
    told.released = {"i-3"}
    truth = [("i-1", named(0, "t0")), ("i-2", named(0, "t0")), ("i-3", named(2, "t1"))]
    problems = "\n".join(judge(told, truth, {"i-1", "i-2"}))
    for text in (
        "2 machines are node lab-small-0",
        "t0 has 2 machines",
        "t1 has 1 machines",
        "i-3 was released and is there",
        "i-3 is there and is not listed",
    ):
        assert text in problems
