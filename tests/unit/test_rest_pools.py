"""What is told of pools by HTTP, and the kill switch."""

from __future__ import annotations

from pathlib import Path

from tests.support.rest_api import ADA, ADMINISTRATOR, serving_api


async def test_a_pool_is_shown_to_all_and_stopped_by_an_administrator(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        (pool,) = (await api.get("/v1/pools", uid=ADA)).json()["pools"]
        assert (pool["name"], pool["cloud"], pool["count"], pool["count_max"]) == ("burst", "static", 0, 10)
        assert (pool["spent"], pool["committed"], pool["budget"], pool["left"]) == (0.0, 0.0, None, None)
        assert [offer["name"] for offer in pool["offers"]] == ["small"]
        assert (await api.post("/v1/pools/burst/stop", {}, uid=ADA)).status == 403
        stopped = (await api.post("/v1/pools/burst/stop", {"does_release": True}, uid=ADMINISTRATOR)).json()
        assert (stopped["is_stopped"], stopped["stopped_by"]) == (True, "admin")
        assert not (await api.post("/v1/pools/burst/resume", {}, uid=ADMINISTRATOR)).json()["is_stopped"]
        assert api.kernel.rest_count == 0
        plan = (await api.get("/v1/pools/burst/plan", uid=ADA)).json()
        assert plan["actions"] == []
        assert api.kernel.rest_count == 1, "it puts the queue in order, which a pass may be going through"
        missing = await api.get("/v1/pools/brust", uid=ADA)
        assert missing.status == 404
        assert "did you mean 'burst'" in missing.body.decode()
