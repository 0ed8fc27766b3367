"""`hal predict`: what is asked, and what a person reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hal_core.cli.explain import likely_text
from tests.support.cli import hal
from tests.support.scripted_server import Reply, ScriptedServer

START = {"start_time_s": None, "nodes": [], "why_not": "no set of the nodes has room", "warnings": [], "likely": None}
RUN_TIME = {"p10_s": 60.0, "p50_s": 300.0, "p90_s": 900.0, "planned_s": None, "mean_s": None}
LEARNED = {"job_count": 50, "of_user_count": 7, "of_name_count": 3}
LEARNED |= {"latest_count": 3, "failed_count": 1, "time_limit_count": 0}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(tmp_path / "hal.sock") as running:
        yield running


def predicted(server: ScriptedServer, foretold: dict[str, Any] | None) -> str:
    answer = {"foretold": foretold, "walltime_s": 3600.0, "start": START}
    server.answer("POST", "/v1/predictions", Reply(answer))
    result = hal(server.path, "predict", "--time=1:00:00", "--", "true")
    assert (result.code, result.err) == (0, "")
    assert server.requests[-1].body["options"] == [["time", "1:00:00"]]
    return str(result.out)


def test_it_says_how_long_by_what_and_when(server: ScriptedServer) -> None:
    said = predicted(server, {"predictor": "ml", "run_time": RUN_TIME, "learned_from": LEARNED, "why_not": ""})
    assert said == (
        "Time limit       01:00:00\n"
        "Expected to run  5:00 (8 of 10 times 1:00 to 15:00)\n"
        "Learned from     50 ended jobs, by predictor ml: 7 of them yours, 3 of these with this name\n"
        "Such jobs        1 of the latest 3 failed, 0 ran into the time limit\n"
        "Would start      cannot be said: no set of the nodes has room\n"
        "Likely           cannot be said\n"
    )


def test_what_is_unknown_is_said_to_be(server: ScriptedServer) -> None:
    silent = {"predictor": "ml", "run_time": None, "learned_from": None, "why_not": "it has seen too little"}
    assert "cannot be said by predictor ml: it has seen too little\n" in predicted(server, silent)
    assert "cannot be said: this cluster has no predictor, and plans with limits\n" in predicted(server, None)


def test_a_likely_start_says_what_it_rests_on() -> None:
    said = {"p50_time_s": 0.0, "p90_time_s": 3600.0, "checked_count": 0}
    assert likely_text(said).endswith("(by the plan alone, no start was seen yet)")
    assert likely_text(said | {"checked_count": 7}).endswith("(corrected by 7 starts seen here)")
