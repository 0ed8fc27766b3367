"""Reports of an agent: at once while there are few, and never more than so many in a steady stream."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hal_core.agent.report_pace import BURST_COUNT, MANY, PERIOD_S, ReportPace


def test_who_reports_now_and_then_never_waits():
    pace = ReportPace()
    assert [pace.wait_s(1000.0 + second, MANY) for second in range(50)] == [0.0] * 50
    assert [pace.wait_s(2000.0, MANY) for _ in range(int(BURST_COUNT))] == [0.0] * int(BURST_COUNT)


def test_who_has_few_jobs_never_waits():
    pace = ReportPace()
    assert [pace.wait_s(1000.0 + number / 1000, MANY - 1) for number in range(1000)] == [0.0] * 1000


@given(st.lists(st.floats(0.0, 0.1), min_size=1, max_size=200))
def test_no_more_are_sent_than_a_burst_and_one_in_each_period(gaps_s):
    pace, now_s, first_s = ReportPace(), 1000.0, 1000.0
    for count, gap_s in enumerate(gaps_s, start=1):
        wait_s = pace.wait_s(now_s, MANY)
        assert 0.0 <= wait_s <= PERIOD_S * 1.001, "one who waited each time owes no more than one period"
        now_s += wait_s
        assert count <= BURST_COUNT + (now_s - first_s) / PERIOD_S + 1e-6
        now_s += gap_s
