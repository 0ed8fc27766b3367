"""The Standard Workload Format: what its columns become, what -1 means, and files that are damaged in every way."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given, strategies as st

from hal_core.models.job import Owner
from hal_core.models.node import PartitionName
from hal_core.sim.swf import SwfMachine, read_swf

MACHINE = SwfMachine(PartitionName("all"), cpus_per_node=4)
LINE = "1 0 5 100 6 -1 -1 6 200 1024 1 3 2 -1 1 -1 -1 -1"
HEADER = "; Computer: Test\n;  MaxNodes: 12\n; a remark\n"


def read(text, machine=MACHINE):
    return read_swf(io.BytesIO(text if isinstance(text, bytes) else text.encode()), machine)


def job_of(**columns):
    """The job of the line above with some columns (counted from 1) changed."""
    fields = LINE.split()
    for name, value in columns.items():
        fields[int(name[1:]) - 1] = str(value)
    trace = read(" ".join(fields))
    assert trace.bad_count == 0, trace.problems
    return trace.workload.jobs[0] if trace.workload.jobs else None


def test_a_line_becomes_a_job():
    (job,) = read(LINE).workload.jobs
    spec = job.spec
    assert (job.submit_time_s, job.runtime_s, job.exit_code, job.owner) == (0.0, 100.0, 0, Owner("user3", 3, 2))
    assert (spec.node_count, spec.task_count, spec.walltime_s) == (2, 6, 200.0)
    assert spec.memory_bytes_per_node == 3 * 1024 * 1024
    assert spec.shape().cpus == 3


@pytest.mark.parametrize(
    ("columns", "field", "value"),
    [
        ({"c8": -1}, "task_count", 6),
        ({"c8": -1, "c5": 3}, "task_count", 3),
        ({"c8": 4}, "node_count", 1),
        ({"c8": 5}, "node_count", 2),
        ({"c9": -1}, "walltime_s", None),
        ({"c9": 0}, "walltime_s", None),
        ({"c10": -1}, "memory_bytes_per_node", 0),
    ],
)
def test_what_is_unknown(columns, field, value):
    assert getattr(job_of(**columns).spec, field) == value


@pytest.mark.parametrize(("status", "exit_code"), [(1, 0), (-1, 0), (0, 1), (5, 1)])
def test_status(status, exit_code):
    assert job_of(c11=status).exit_code == exit_code


def test_an_unknown_user():
    assert job_of(c12=-1, c13=-1).owner == Owner("unknown", 0, 0)


@pytest.mark.parametrize("columns", [{"c4": -1}, {"c8": -1, "c5": -1}, {"c8": 0, "c5": 0}, {"c11": 2}, {"c11": 4}])
def test_what_is_left_out_is_counted(columns):
    fields = LINE.split()
    for name, value in columns.items():
        fields[int(name[1:]) - 1] = str(value)
    trace = read(f"{' '.join(fields)}\n{LINE}")
    assert (len(trace.workload.jobs), trace.left_out_count, trace.bad_count) == (1, 1, 0)


@pytest.mark.parametrize("compress", [False, True])
def test_headers_comments_and_empty_lines(compress):
    content = f"{HEADER}\n{LINE}\n\n  ; late: remark\r\n{LINE}\r\n".encode()
    trace = read(gzip.compress(content) if compress else content)
    assert trace.header == {"Computer": "Test", "MaxNodes": "12", "late": "remark"}
    assert len(trace.workload.jobs) == 2


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("1 2 3", "3 columns; the format has 18"),
        (LINE + " 7", "19 columns"),
        (LINE.replace("100", "x"), "could not convert"),
        (LINE.replace("100", "nan"), "not a finite number"),
        (LINE.replace("100", "inf"), "not a finite number"),
        (LINE.replace("1 0 5", "1 -1 5"), "submit time -1"),
        ("\x00\xff", "1 columns"),
    ],
)
def test_bad_lines_are_named_and_counted(line, text):
    trace = read(f"{HEADER}{LINE}\n{line}\n{LINE}\n")
    assert trace.bad_count == 1
    assert len(trace.workload.jobs) == 2
    assert trace.problems[0].place == "line 5"
    assert text in trace.problems[0].text


def test_only_the_first_bad_lines_are_kept():
    trace = read("x\n" * 1000)
    assert (trace.bad_count, len(trace.problems)) == (1000, 100)


def test_jobs_are_sorted_by_time():
    trace = read("\n".join(LINE.replace("1 0 5", f"1 {time_s} 5") for time_s in (30, 10, 20)))
    assert [job.submit_time_s for job in trace.workload.jobs] == [10.0, 20.0, 30.0]


def test_a_damaged_gzip_file_is_read_up_to_the_damage():
    content = gzip.compress("\n".join([LINE] * 5000).encode() + bytes(range(256)) * 50)
    trace = read(content[:-20])
    assert trace.bad_count >= 1
    assert "damaged from here on" in trace.problems[-1].text


def test_the_callers_stream_stays_open():
    stream = io.BytesIO(LINE.encode())
    read_swf(stream, MACHINE)
    assert not stream.closed


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_exception(content):
    read(content)
    read(b"\x1f\x8b" + content)


@given(
    st.lists(st.sampled_from(["1e400", "-1", "0", "1e18", "7", "x", "1_0", "nan", "-1e9"]), min_size=18, max_size=18)
)
def test_any_columns_are_read_without_an_exception(fields):
    trace = read(" ".join(fields))
    assert len(trace.workload.jobs) + trace.bad_count + trace.left_out_count == 1
