"""The outside checker itself: what it must accept, and what it must not."""

from __future__ import annotations

from collections import Counter

import pytest

from hal_core.models.event import JobEnded
from hal_core.models.job import End, EndKind, JobId
from tests.campaigns.crash_check import Story, check_job

JOB = JobId(102)


def ended(attempt: int) -> tuple[int, JobEnded]:
    return attempt, JobEnded(1.0, JOB, ((0, 1),), attempt, End(EndKind.CANCELLED), None, 1.0)


@pytest.mark.parametrize(
    ("ends", "requeue_count", "problem_count"),
    [
        pytest.param([ended(1)], 0, 0, id="once"),
        pytest.param([ended(1), ended(2)], 1, 0, id="queued again by a client that was late, and ended again"),
        pytest.param([ended(1), ended(2)], 0, 1, id="twice, and nobody queued it again"),
        pytest.param([ended(1), ended(1)], 0, 2, id="the same attempt twice"),
        pytest.param([ended(1), ended(1)], 1, 1, id="the same attempt twice, although it was queued again"),
    ],
)
def test_an_element_ends_once_and_once_more_for_each_requeue(
    ends: list[tuple[int, JobEnded]], requeue_count: int, problem_count: int
) -> None:
    story = Story("client", ends=ends, requeues=Counter({0: requeue_count}))
    problems = list(check_job(JOB, story, Counter(), Counter()))
    assert len(problems) == problem_count, problems
