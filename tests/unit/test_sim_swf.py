"""Reading traces: what is used, what is left out and why, and what is said of lines that make no sense."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given, strategies as st

from hal_core.sim.swf import read_swf
from hal_core.sim.trace import PROBLEMS_KEPT, Trace, TraceJob

HEADER = "; Computer: test\n; MaxProcs: 64\n"


def line(number: int = 1, **fields: float | str) -> str:
    """One job of the format, with these columns changed."""
    row: dict[str, float | str] = {
        "number": number,
        "submit": 10 * number,
        "wait": 5,
        "run": 100,
        "allocated": 4,
        "cpu": -1,
        "memory": -1,
        "requested": 4,
        "limit": 200,
        "requested_memory": -1,
        "status": 1,
        "user": 7,
        **dict.fromkeys(("group", "program", "queue", "partition", "preceding", "think"), -1),
    }
    return " ".join(str(value) for value in (row | fields).values()) + "\n"


def read(text: str, processors: int | None = None) -> Trace:
    return read_swf(io.BytesIO(text.encode()), processors)


def row(job: TraceJob) -> tuple[int, float, float, float, int, str]:
    return job.number, job.submit_s, job.run_s, job.limit_s, job.processors, job.user


def test_jobs_come_in_the_order_of_their_submission() -> None:
    trace = read(HEADER + line(1, submit=30) + line(2, submit=20) + line(3, submit=20))
    assert [job.number for job in trace.jobs] == [2, 3, 1]
    assert row(trace.jobs[0]) == (2, 20, 100, 200, 4, "user7")
    assert trace.processors == 64
    assert trace.header["Computer"] == "test"
    assert trace.skipped_count == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"allocated": -1, "requested": 0}, "no processors"),
        ({"allocated": 65}, "wider than the machine"),
        ({"requested": 65}, "wider than the machine"),
        ({"run": 0}, "no run time"),
        ({"run": -1}, "no run time"),
        ({"submit": -1}, "no submit time"),
    ],
)
def test_jobs_that_cannot_be_replayed_are_left_out_and_counted(fields: dict[str, float], reason: str) -> None:
    trace = read(HEADER + line(1, **fields) + line(2))
    assert [job.number for job in trace.jobs] == [2]
    assert trace.left_out == {reason: 1}
    assert trace.skipped_count == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"requested": -1, "allocated": 3}, (1, 10, 100, 200, 3, "user7")),
        ({"requested": 5, "allocated": -1}, (1, 10, 100, 200, 5, "user7")),
        ({"run": 300}, (1, 10, 200, 200, 4, "user7")),
        ({"limit": -1}, (1, 10, 100, 100, 4, "user7")),
        ({"user": -1}, (1, 10, 100, 200, 4, "unknown")),
        ({"status": 5}, (1, 10, 100, 200, 4, "user7")),
    ],
)
def test_what_is_unknown_is_taken_from_what_is_known(fields: dict[str, float], expected: tuple[object, ...]) -> None:
    assert row(read(HEADER + line(1, **fields)).jobs[0]) == expected


@pytest.mark.parametrize(("status", "has_failed"), [(0, True), (1, False), (5, False), (-1, False)])
def test_the_status_says_what_failed(status: int, has_failed: bool) -> None:
    (job,) = read(line(status=status)).jobs
    assert job.has_failed is has_failed


def test_jobs_without_a_limit_are_told() -> None:
    assert read(HEADER + line(1, limit=-1) + line(2)).notes == (
        "1 job without a time limit: the run time is taken for it",
    )


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("1 2 3\n", "3 columns; the format has 18"),
        (line(1, run="nan"), "a column is not a finite number"),
        (line(1, run="inf"), "a column is not a finite number"),
        (line(1, run="1_0"), "a column is not a finite number"),
        (line(1, run="12:00"), "column 4, '12:00', is not a number"),
        ("\x00\xff\n", "column 1, "),
    ],
)
def test_bad_lines_are_named_and_skipped(bad: str, text: str) -> None:
    trace = read(HEADER + bad + line(2))
    assert [job.number for job in trace.jobs] == [2]
    assert trace.bad_count == trace.skipped_count == 1
    assert str(trace.problems[0]).startswith("line 3")
    assert text in str(trace.problems[0])


def test_of_many_bad_lines_the_first_are_kept_and_all_are_counted() -> None:
    trace = read("x\n" * (PROBLEMS_KEPT + 5))
    assert (len(trace.problems), trace.bad_count, trace.jobs) == (PROBLEMS_KEPT, PROBLEMS_KEPT + 5, ())


def test_more_columns_than_the_format_has_do_no_harm() -> None:
    assert len(read(HEADER + line(1).strip() + " 5\n").jobs) == 1


@pytest.mark.parametrize(
    ("header", "processors"),
    [
        ("; MaxProcs: 64 (of 70)\n", 64),
        ("; MaxNodes: 32\n", 32),
        ("; MaxProcs: many\n; MaxNodes: 8\n", 8),
        ("", 6),
        (f"; MaxProcs: {'9' * 5000}\n; MaxNodes: 8\n", 8),
    ],
)
def test_the_width_of_the_machine(header: str, processors: int) -> None:
    trace = read(header + line(1, allocated=6, requested=6))
    assert trace.processors == processors
    assert bool(trace.notes) == (header == "")


def test_a_width_that_is_given_counts_more_than_the_header() -> None:
    assert read(HEADER + line(1), 3).left_out == {"wider than the machine": 1}


def test_a_damaged_gzip_file_is_read_up_to_the_damage() -> None:
    whole = gzip.compress((HEADER + "".join(line(number) for number in range(1, 2000))).encode())
    assert len(read_swf(io.BytesIO(whole)).jobs) == 1999
    trace = read_swf(io.BytesIO(whole[: len(whole) // 2]))
    assert 0 < len(trace.jobs) < 1999
    assert "the file is damaged from here on" in str(trace.problems[-1])


@given(st.binary(max_size=300))
def test_nothing_whatever_breaks_the_reading(content: bytes) -> None:
    for text in (content, gzip.compress(content), b"\x1f\x8b" + content):
        trace = read_swf(io.BytesIO(text))
        assert trace.processors >= 1
