"""Slurm's exports: columns by name, every way of writing times, ids and states, and lines that make no sense."""

from __future__ import annotations

import gzip
import io
from datetime import datetime
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core.sim import slurm_texts
from hal_core.sim.sacct import is_header, read_sacct
from hal_core.sim.trace import Trace

BERLIN = ZoneInfo("Europe/Berlin")
NAMES = "JobID|JobName|User|Partition|State|Submit|Start|End|Elapsed|Timelimit|AllocCPUS|NNodes|ReqMem|AllocTRES"
ROW = {
    "JobID": "17",
    "JobName": "sim",
    "User": "ada",
    "Partition": "batch",
    "State": "COMPLETED",
    "Submit": "2024-05-01T10:00:00",
    "Start": "2024-05-01T10:01:00",
    "End": "2024-05-01T11:01:00",
    "Elapsed": "01:00:00",
    "Timelimit": "02:00:00",
    "AllocCPUS": "8",
    "NNodes": "2",
    "ReqMem": "4Gn",
    "AllocTRES": "cpu=8,mem=8G,node=2,billing=8,gres/gpu=4,gres/gpu:a100=4",
}


def line(**changed: str) -> str:
    return "|".join((ROW | changed)[name] for name in NAMES.split("|")) + "\n"


def read(*lines: str, header: str = NAMES, processors: int | None = 64) -> Trace:
    return read_sacct(io.BytesIO((header + "\n" + "".join(lines)).encode()), processors, BERLIN)


def test_a_line_becomes_a_job() -> None:
    (job,) = read(line()).jobs
    assert (job.number, job.user, job.partition) == (17, "ada", "batch")
    assert (job.run_s, job.limit_s, job.recorded_wait_s) == (3600, 7200, 60)
    assert (job.processors, job.node_count, job.gpus) == (8, 2, 4)
    assert job.memory_bytes == 2 * 4 * 2**30 // 8
    assert job.submit_s == datetime(2024, 5, 1, 10, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"State": "PENDING", "Start": "Unknown", "End": "Unknown", "Elapsed": "00:00:00"}, "never started"),
        ({"State": "CANCELLED by 1000", "Start": "None", "End": "None", "Elapsed": "00:00:00"}, "never started"),
        ({"State": "RUNNING", "End": "Unknown"}, "still running"),
        ({"Elapsed": "00:00:00", "End": ROW["Start"]}, "no run time"),
        ({"AllocCPUS": "0", "AllocTRES": ""}, "no processors"),
        ({"AllocCPUS": "65"}, "wider than the machine"),
        ({"JobID": "18_[5-9%2]", "State": "PENDING", "Start": "Unknown", "End": "Unknown"}, "never started"),
    ],
)
def test_jobs_that_cannot_be_replayed_are_left_out_and_counted(changed: dict[str, str], reason: str) -> None:
    trace = read(line(**changed), line(JobID="99"))
    assert [job.number for job in trace.jobs] == [99]
    assert (trace.left_out, trace.bad_count) == ({reason: 1}, 0)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"Elapsed": "INVALID"}, "'INVALID' is not a duration"),
        ({"Start": "yesterday"}, "'yesterday' is not a time"),
        ({"Submit": "Unknown"}, "the time of submission is not known"),
        ({"End": "2024-05-01T09:00:00"}, "it ends before it starts"),
        ({"Submit": "2024-05-01T10:02:00"}, "it was submitted after it started"),
        ({"State": "EXPLODED"}, "'EXPLODED' is not a state of a job"),
        ({"JobID": "seventeen"}, "'seventeen' is not a job id"),
        ({"AllocCPUS": "0x10"}, "'0x10' is not a count"),
        ({"AllocCPUS": "-1"}, "'-1' is not a count"),
        ({"ReqMem": "lots"}, "'lots' is not an amount of memory"),
        ({"Timelimit": "1e400"}, "'1e400' is not a duration"),
    ],
)
def test_bad_lines_are_named_and_skipped(changed: dict[str, str], text: str) -> None:
    trace = read(line(), line(**{"JobID": "18"} | changed), line(JobID="19"))
    assert [job.number for job in trace.jobs] == [17, 19]
    assert str(trace.problems[0]) == f"line 3: {text}"
    assert trace.is_bad


@pytest.mark.parametrize(
    "changed",
    [
        {"State": "CANCELLED by 1000"},
        {"State": "CANCELLED+"},
        {"State": "PREEMPTED"},
        {"JobName": "a|b"},
        {"JobName": "|||"},
        {"Elapsed": "3600"},
        {"Submit": "2024-05-01T08:00:00Z"},
        {"Submit": "2024-05-01 10:00:00"},
        {"ReqMem": "8G"},
        {"ReqMem": "1Gc"},
        {"AllocCPUS": "", "NNodes": ""},
    ],
)
def test_other_ways_to_write_the_same(changed: dict[str, str]) -> None:
    trace = read(line(**changed))
    assert trace.problems == ()
    assert trace.jobs == read(line()).jobs


@pytest.mark.parametrize(
    ("state", "has_failed"), [("FAILED", True), ("OUT_OF_MEMORY", True), ("TIMEOUT", False), ("NODE_FAIL", False)]
)
def test_what_failed_by_itself_is_told_apart_and_replayed_the_same(state: str, has_failed: bool) -> None:
    (job,), (plain,) = read(line(State=state)).jobs, read(line()).jobs
    assert job == attrs.evolve(plain, has_failed=has_failed)


def test_a_name_of_another_job_does_not_shift_the_columns() -> None:
    (job,) = read(line(JobName="x|ada|batch|FAILED")).jobs
    assert (job.user, job.processors) == ("ada", 8)


@pytest.mark.parametrize(
    ("text", "limit"), [("1-00:00:00", 86_400), ("30:00", 1800), ("UNLIMITED", 3600), ("Partition_Limit", 3600)]
)
def test_time_limits(text: str, limit: float) -> None:
    assert read(line(Timelimit=text)).jobs[0].limit_s == limit


def test_steps_are_folded_and_elements_are_jobs() -> None:
    elements = [line(JobID=f"17_{index}") for index in (1, 2)]
    steps = [line(JobID=name) for name in ("17_1.batch", "17_1.extern", "17_2.0", "18.interactive")]
    trace = read(*elements, *steps, line(JobID="30+0"), line(JobID="30+1"))
    assert [job.label for job in trace.jobs] == ["17_1", "17_2", "30+0", "30+1"]
    assert "4 steps are folded into their jobs" in trace.notes
    assert trace.skipped_count == 0


def test_a_job_that_was_queued_again_is_two_runs_but_a_repeated_line_is_one() -> None:
    again = line(Submit="2024-05-01T11:05:00", Start="2024-05-01T11:06:00", End="2024-05-01T12:06:00")
    trace = read(line(), again, line())
    assert len(trace.jobs) == 2
    assert trace.left_out == {"a line that was there before": 1}


@pytest.mark.parametrize("separator", ["|", ";", "\t"])
@pytest.mark.parametrize("has_trailing", [False, True])
def test_separators(separator: str, has_trailing: bool) -> None:
    end = separator if has_trailing else ""
    text = "".join(row.strip().replace("|", separator) + end + "\r\n" for row in (NAMES, line()))
    assert read_sacct(io.BytesIO(gzip.compress(text.encode())), 64, BERLIN).jobs == read(line()).jobs


def test_an_export_with_columns_named_in_words() -> None:
    header = "job_id,user,partition,wallclock_req,nodes_req,processors_req,gpus_req,mem_req,submit_time,start_time"
    header += ",end_time,run_time,state,name"
    times = "2019-01-01 08:55:55,2019-01-01 08:55:56,2019-01-02 12:39:41,99825.0"
    row = f'5,u1,p1,172800.0,10,360,4,0.0,{times},COMPLETED,"a,b"\n'
    trace = read(row, header=header, processors=1000)
    (job,) = trace.jobs
    assert (job.run_s, job.limit_s, job.processors, job.node_count, job.gpus) == (99825, 172800, 360, 10, 4)


def test_without_a_header_nothing_can_be_read_and_that_is_said() -> None:
    trace = read_sacct(io.BytesIO((line() + line()).encode()))
    assert trace.bad_count == 2
    assert "names no column JobID" in str(trace.problems[0])


def test_the_machine_is_guessed_from_what_ran_together() -> None:
    trace = read(
        line(),
        line(JobID="18"),
        line(JobID="19", Start="2024-05-01T11:01:00", End="2024-05-01T12:01:00"),
        processors=None,
    )
    assert trace.processors == 16


# -- time --------------------------------------------------------------------------------------------------------------


def test_an_hour_that_comes_twice_is_told_apart_by_the_elapsed_time() -> None:
    """On 2024-10-27 at 03:00 the clocks of Berlin went back to 02:00."""
    times = {"Submit": "2024-10-27T01:55:00", "Start": "2024-10-27T02:30:00", "End": "2024-10-27T02:40:00"}
    (short,) = read(line(**times, Elapsed="00:10:00")).jobs
    (long,) = read(line(**times, Elapsed="01:10:00")).jobs
    assert (short.run_s, long.run_s) == (600, 4200)
    assert short.recorded_wait_s == long.recorded_wait_s == 2100
    late = {"Submit": "2024-10-27T02:50:00", "Start": "2024-10-27T02:10:00", "End": "2024-10-27T03:10:00"}
    (job,) = read(line(**late, Elapsed="01:00:00")).jobs
    assert job.recorded_wait_s == 20 * 60


@given(st.integers(1_700_000_000, 1_800_000_000))
def test_every_moment_is_among_those_that_its_local_time_can_mean(moment: int) -> None:
    text = datetime.fromtimestamp(moment, BERLIN).strftime("%Y-%m-%dT%H:%M:%S")
    assert moment in slurm_texts.instants(text, BERLIN)


@given(st.integers(0, 10**7))
def test_durations_as_slurm_writes_them(seconds: int) -> None:
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    text = f"{days}-{hour:02}:{minute:02}:{second:02}" if days else f"{hour:02}:{minute:02}:{second:02}"
    assert slurm_texts.duration_s(text) == seconds


# -- anything ----------------------------------------------------------------------------------------------------------


def test_what_is_a_header() -> None:
    assert is_header(NAMES)
    assert is_header("JobIDRaw|JobID")
    assert not is_header("; MaxProcs: 4")
    assert not is_header("JobID")


@given(st.lists(st.text(alphabet='0123456789-:|_[]%+.TZ,"abc \t', max_size=60), max_size=8))
def test_nothing_whatever_breaks_the_reading(rows: list[str]) -> None:
    trace = read(*(row + "\n" for row in rows))
    count = sum(bool(row.strip()) for row in rows)
    assert len(trace.jobs) + trace.skipped_count <= count


@given(st.dictionaries(st.sampled_from(sorted(ROW)), st.text(alphabet="0123456789-:|Unknowe.=G ", max_size=12)))
def test_no_column_whatever_breaks_the_reading(changed: dict[str, str]) -> None:
    trace = read(line(**changed), processors=None)
    assert trace.processors >= 1
