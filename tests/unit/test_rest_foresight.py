"""Explanations and dry runs over HTTP: told to everybody who may see the job, and nothing is changed by asking."""

from __future__ import annotations

from pathlib import Path

from hal_core.models.explanation import LikelyStart
from hal_core.models.prediction import Arrival, Foretold, LearnedFrom, Prediction
from hal_core.rules.excerpt import Excerpt
from tests.support.rest_api import ADA, BOB, serving_api
from tests.support.rest_kernel import RestKernel


async def test_a_waiting_job_is_explained(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        job_id = await api.submit(uid=ADA, options=[["hold", ""]])
        answer = await api.get(f"/v1/jobs/{job_id}/explanation", uid=BOB)
        assert answer.status == 200
        found = answer.json()
        assert (found["reason"], found["why_not"]) == ("held", "it is held by ada")
        assert [term["name"] for term in found["priority"]][-1] == "job"


async def test_a_dry_run_tells_the_start_and_submits_nothing(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        sequence = api.kernel.durable_sequence
        answer = await api.post("/v1/forecasts", {"command": ["true"], "options": [["time", "10"]]})
        assert answer.status == 200
        assert answer.json()["start_time_s"] is not None
        assert answer.json()["nodes"] == ["n1"]
        assert api.kernel.durable_sequence == sequence
        assert not api.kernel.state.jobs


async def test_a_dry_run_refuses_what_a_submission_would_refuse(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        answer = await api.post("/v1/forecasts", {"command": ["true"], "options": [["tiem", "10"]]})
        assert answer.status == 422
        assert "time" in answer.json()["error"]["problems"][0]["text"]
        answer = await api.post("/v1/forecasts", {"command": ["true"], "options": [["deadline", "1970-01-01"]]})
        assert answer.status == 422
        assert "'1970-01-01' is over" in answer.json()["error"]["problems"][0]["text"]


async def test_after_the_looking_ahead_the_queue_is_left_alone(tmp_path: Path) -> None:
    """By then a pass may be going through it again."""
    kernel = RestKernel()

    async def likely_start(_part: Excerpt, now_s: float) -> LikelyStart | None:
        kernel.state.snapshot(now_s + 100.0)
        return None

    async with serving_api(tmp_path / "s", kernel, likely_start=likely_start) as api:
        answer = await api.post("/v1/forecasts", {"command": ["true"], "options": [["time", "10"]]})
        assert answer.json()["pools"], "it has been said what each pool would cost"
        assert kernel.state.queue.time_s == kernel.now_s + 100.0


async def test_of_a_job_that_waits_it_is_shown_when_it_is_likely_to_start_if_asked_for(tmp_path: Path) -> None:
    async def likely_start(part: Excerpt, now_s: float) -> LikelyStart | None:
        assert part.asked is not None
        return LikelyStart(now_s + 60.0, now_s + 600.0, 7)

    async with serving_api(tmp_path / "s", likely_start=likely_start) as api:
        running, waiting = await api.submit(), 2
        api.kernel.plan()
        assert await api.submit() == waiting
        for job_id, query, start_s in (
            (waiting, "?with=likely_start", api.kernel.now_s + 60.0),
            (waiting, "", None),
            (running, "?with=likely_start", None),
        ):
            rest_count = api.kernel.rest_count
            shown = (await api.get(f"/v1/jobs/{job_id}{query}")).json()
            assert (api.kernel.rest_count > rest_count) is (start_s is not None), "only who is told waits for the pass"
            assert (shown["likely_start"] or {"p50_time_s": None})["p50_time_s"] == start_s, (job_id, query)


async def foretell(job: Arrival) -> Foretold:
    assert (job.owner.user, job.spec.walltime_s) == ("ada", 600.0)
    return Foretold("test", Prediction(10.0, 20.0, 30.0), LearnedFrom(50, 7, 3))


async def test_a_prediction_says_how_long_and_when_and_submits_nothing(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s", foretell=foretell) as api:
        sequence = api.kernel.durable_sequence
        answer = await api.post("/v1/predictions", {"command": ["true"], "options": [["time", "10"]]})
        assert answer.status == 200
        found = answer.json()
        assert found["foretold"]["predictor"] == "test"
        assert found["foretold"]["run_time"]["p90_s"] == 30.0
        learned = found["foretold"]["learned_from"]
        assert (learned["job_count"], learned["of_user_count"], learned["of_name_count"]) == (50, 7, 3)
        assert found["start"]["nodes"] == ["n1"]
        assert api.kernel.durable_sequence == sequence


async def test_without_a_predictor_the_start_is_still_told(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        found = (await api.post("/v1/predictions", {"command": ["true"]})).json()
        assert found["foretold"] is None
        assert found["start"]["start_time_s"] is not None


async def test_an_unknown_job_has_no_explanation(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        assert (await api.get("/v1/jobs/99/explanation")).kind == "not_found"
