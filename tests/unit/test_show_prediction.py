"""`hal show` of a job that ended: how far off its prediction was."""

from __future__ import annotations

from typing import Any

import pytest

from hal_core.cli.show import ends_text, ran_text


def job(run_s: float | None, prediction: dict[str, Any] | None) -> dict[str, Any]:
    return {"prediction": prediction, "start_time_s": 100.0, "end_time_s": None if run_s is None else 100.0 + run_s}


SAID = {"p10_s": 60.0, "p50_s": 300.0, "p90_s": 900.0}


@pytest.mark.parametrize(
    ("run_s", "text"),
    [
        (300.4, "5:00 (as expected)"),
        (420.0, "7:00 (2:00 longer)"),
        (120.0, "2:00 (3:00 less)"),
        (3900.0, "01:05:00 (01:00:00 longer, outside of what was expected)"),
        (None, ""),
    ],
)
def test_it_says_how_far_off_it_was(run_s: float | None, text: str) -> None:
    assert ran_text(job(run_s, SAID)) == text


def test_without_a_prediction_there_is_nothing_to_say() -> None:
    assert ran_text(job(60.0, None)) == ""


@pytest.mark.parametrize(
    ("time_out", "failure", "text"),
    [
        (0.6, 0.25, "run into the time limit (60%), fail (25%)"),
        (0.02, 0.25, "fail (25%)"),
        (0.02, None, ""),
        (None, None, ""),
    ],
)
def test_it_says_how_likely_a_bad_end_is_where_that_is_worth_a_line(
    time_out: float | None, failure: float | None, text: str
) -> None:
    assert ends_text({**SAID, "time_out_probability": time_out, "failure_probability": failure}) == text


def test_a_prediction_of_an_older_daemon_says_nothing_of_ends() -> None:
    assert ends_text(SAID) == ends_text(None) == ""
