"""What events say to people: every kind has words, and the words name what matters."""

from __future__ import annotations

import pytest
from hypothesis import given

from hal_core.models.event import (
    Event,
    JobCancelRequested,
    JobEnded,
    JobPlaced,
    JobRequeued,
    PartStarted,
)
from hal_core.models.event_values import event_view
from hal_core.models.event_words import event_text
from hal_core.models.job import End, EndKind, JobId
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey, Share
from tests.support.journal_events import any_event

JOB = JobId(17)
SHARES = tuple(Share(NodeName(f"n{number}"), 1, "0") for number in range(6))


@given(any_event())
def test_any_event_is_told_in_one_line(event: Event):
    kind = type(event).__name__
    text = event_text(kind, event_view(event), {JOB})
    assert text
    assert text != kind


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (JobPlaced(0.0, JOB, 1, ((0, 1),), SHARES[:2]), "job 17 gets n0, n1"),
        (JobPlaced(0.0, JOB, 2, ((3, 5),), SHARES), "job 17_[3-4] gets n0, n1, n2, n3 and 2 more for attempt 2"),
        (PartStarted(0.0, AttemptKey(JOB, 3, 1), NodeName("n1"), 0.0), "job 17_3 runs on n1"),
        (JobEnded(0.0, JOB, ((0, 1),), 1, End(EndKind.EXITED, 0), 0.0, 1.0), "job 17 completed"),
        (JobEnded(0.0, JOB, ((0, 1),), 1, End(EndKind.EXITED, 3), 0.0, 1.0), "job 17 ended: exit code 3"),
        (
            JobEnded(0.0, JOB, ((0, 9),), 0, End(EndKind.CANCELLED, by="ada"), None, 1.0),
            "job 17_[0-8] ended: cancelled by ada",
        ),
        (
            JobRequeued(0.0, AttemptKey(JOB, 0, 1), "", End(EndKind.NODE_LOST, detail="n1 is down")),
            "job 17 waits again (node lost: n1 is down)",
        ),
        (JobCancelRequested(0.0, JOB, ((0, 1),), "", preempted_for=JobId(20)), "job 17 makes room for job 20"),
    ],
)
def test_words(event: Event, text: str):
    assert event_text(type(event).__name__, event_view(event)) == text


def test_the_first_element_of_an_array_is_not_the_job():
    view = event_view(PartStarted(0.0, AttemptKey(JOB, 0, 1), NodeName("n1"), 0.0))
    assert event_text("PartStarted", view) == "job 17 runs on n1"
    assert event_text("PartStarted", view, {JOB}) == "job 17_0 runs on n1"


def test_a_kind_of_a_newer_hal_is_named():
    assert event_text("JobPromoted", {"time_s": 1.0, "job_id": 17}) == "JobPromoted"
