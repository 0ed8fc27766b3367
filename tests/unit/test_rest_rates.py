"""How often one may ask: the buckets by themselves, and what callers are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from hal_core.models.role import Role
from hal_core.rest.rates import USERS_MAX, Buckets, Rate, Rates, TooOften
from tests.support.rest_api import ADA, ADMINISTRATOR, BOB, OPERATOR, serving_api


def passes(buckets: Buckets, uid: int, now_s: float, cost: float = 1.0) -> bool:
    try:
        buckets.take(uid, cost, now_s)
    except TooOften:
        return False
    return True


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.integers(1, 50), st.integers(1, 20))
def test_never_more_than_burst_and_refill_in_any_span(pauses, burst, refill_per_s):
    buckets = Buckets("requests", Rate(burst, refill_per_s))
    now_s, passed = 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        if passes(buckets, 1, now_s):
            passed.append(now_s)
    for first, begin_s in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - begin_s) * refill_per_s + 1e-6


@given(st.integers(1, 50), st.integers(1, 20), st.floats(0.1, 500))
def test_whoever_waits_as_told_gets_through(burst, refill_per_s, cost):
    buckets = Buckets("requests", Rate(burst, refill_per_s))
    now_s = 0.0
    for _ in range(20):
        try:
            buckets.take(1, cost, now_s)
        except TooOften as refused:
            wait_s = refused.retry_after_s
        else:
            continue
        assert 0 < wait_s <= (cost + burst) / refill_per_s + 1e-6
        now_s += wait_s + 1e-6
        buckets.take(1, cost, now_s)


@given(st.integers(1, 50), st.integers(1, 20), st.floats(0.1, 500))
def test_what_a_request_turned_out_to_cost_is_paid_off_and_no_more(burst, refill_per_s, cost):
    buckets = Buckets("requests", Rate(burst, refill_per_s))
    buckets.take(1, 1.0, 0.0)
    buckets.charge(1, cost, 0.0)
    missing_s = max(0.0, (cost + 2.0 - burst) / refill_per_s)
    assert missing_s <= 0.001 or not passes(buckets, 1, missing_s - 0.001)
    assert passes(buckets, 1, missing_s + 0.001)


def test_one_user_does_not_touch_another():
    buckets = Buckets("requests", Rate(2, 1))
    assert [passes(buckets, 1, 0.0) for _ in range(4)] == [True, True, False, False]
    assert passes(buckets, 2, 0.0)


def test_the_table_is_bounded_and_forgets_nobody_who_is_out_of_tokens():
    buckets = Buckets("requests", Rate(1, 0.001))
    for uid in range(USERS_MAX):
        assert passes(buckets, uid, uid / 1000)
    for uid in range(USERS_MAX, 2 * USERS_MAX):
        assert passes(buckets, uid, 100.0)
        assert len(buckets) <= USERS_MAX


@pytest.fixture
def rates() -> Rates:
    return Rates(reads=Rate(3, 2), changes=Rate(2, 1))


async def test_a_user_is_told_when_to_come_back(tmp_path: Path, rates: Rates) -> None:
    now_s = 0.0
    async with serving_api(tmp_path / "s", rates=rates, monotonic_s=lambda: now_s) as api:
        assert [(await api.get("/v1/status")).status for _ in range(4)] == [200, 200, 200, 429]
        refused = await api.get("/v1/jobs")
        assert (refused.status, refused.kind, refused.headers["retry-after"]) == (429, "too_often", "1")
        assert (await api.get("/v1/status", uid=BOB)).status == 200
        assert (await api.post("/v1/jobs", {"client_id": "1", "command": ["x"]})).status == 201  # counted apart
        now_s += 0.5
        assert (await api.get("/v1/status")).status == 200


@pytest.mark.parametrize("uid", [OPERATOR, ADMINISTRATOR])
async def test_operators_are_never_kept_waiting(tmp_path: Path, rates: Rates, uid: int) -> None:
    async with serving_api(tmp_path / "s", rates=rates, monotonic_s=lambda: 0.0) as api:
        assert {(await api.get("/v1/status", uid=uid)).status for _ in range(20)} == {200}


async def test_a_refused_submission_leaves_no_event(tmp_path: Path, rates: Rates) -> None:
    async with serving_api(tmp_path / "s", rates=rates, monotonic_s=lambda: 0.0) as api:
        for number in range(2):
            await api.submit(client_id=f"c{number}")
        sequence = api.kernel.state.sequence
        assert (await api.post("/v1/jobs", {"client_id": "x", "command": ["x"]})).status == 429
        assert api.kernel.state.sequence == sequence


async def test_a_bulk_costs_more_and_is_paid_off(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    rates = Rates(reads=Rate(30, 10), changes=Rate(100, 10))
    bulk = {"common": {"client_id": "b"}, "jobs": [{"command": ["x"]}]}
    async with serving_api(tmp_path / "s", rates=rates) as api:
        assert (await api.post("/v1/jobs/bulk", bulk)).status == 201
        refused = await api.post("/v1/jobs/bulk", bulk)
        assert (refused.status, refused.headers["retry-after"]) == (429, "10")
        assert (await api.post("/v1/jobs", {"client_id": "x", "command": ["x"]}, uid=ADA)).status == 429


async def test_what_is_asked_for_beside_costs_more_and_only_if_there_is_something_to_do(tmp_path: Path) -> None:
    rates, nobody_is_more = Rates(reads=Rate(7, 10), changes=Rate(100, 10)), {"role_of": lambda _: Role.USER}
    async with serving_api(tmp_path / "s", rates=rates, monotonic_s=lambda: 0.0, **nobody_is_more) as api:
        running = await api.submit()
        api.kernel.plan()
        waiting = await api.submit()
        for uid, target, passed_count in (
            (BOB, "/v1/history?with=cost", 1),
            (ADA, f"/v1/jobs/{waiting}?with=likely_start", 2),
            (OPERATOR, f"/v1/jobs/{running}?with=likely_start", 7),
        ):
            statuses = [(await api.get(target, uid=uid)).status for _ in range(passed_count + 1)]
            assert statuses == [200] * passed_count + [429], target
