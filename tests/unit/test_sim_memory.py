"""`hal simulate --auto-memory`: what sizes would have saved, by the rule that the daemon has too."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path

import pytest

from hal_core.rules.memory_sizes import KIND_MIN
from hal_core.sim.memory import memory_figures
from hal_core.sim.swf import read_swf
from hal_core.sim.trace import TraceJob
from tests.support.cli import hal

GIB = 1 << 30
HOUR_S = 3600.0


def job(number: int, used_gib: float = 1.0, asked_gib: float = 8.0, **fields: object) -> TraceJob:
    """Two processors for an hour; each comes when the one before it has ended."""
    made = TraceJob(number, number * HOUR_S, HOUR_S, HOUR_S, 2, "ada", **fields)  # type: ignore[arg-type]
    made.memory_bytes, made.peak_memory_bytes = int(asked_gib * GIB), int(used_gib * GIB)
    return made


def starts(jobs: list[TraceJob]) -> list[float]:
    return [each.submit_s for each in jobs]


def test_jobs_begin_with_less_once_some_alike_have_ended() -> None:
    jobs = [job(number) for number in range(20)]
    found = memory_figures(jobs, starts(jobs))
    assert (found.job_count, found.peak_count) == (20, 1)
    assert found.sized_share == (20 - KIND_MIN) / 20
    assert found.saved_share == pytest.approx(found.sized_share * (8.0 - 1.25) / 7.0, rel=0.02)
    assert found.out_of_memory_share == 0.0


def test_who_needs_more_than_was_given_pays_for_both_attempts() -> None:
    usual = [job(number) for number in range(19)]
    more = [*usual, job(19, used_gib=4.0)]
    before, found = memory_figures(usual, starts(usual)), memory_figures(more, starts(more))
    assert found.out_of_memory_share == 1 / 20
    assert found.saved_share < before.saved_share


def test_who_waits_for_a_node_teaches_nothing_until_it_has_ended() -> None:
    jobs = [job(number) for number in range(20)]
    assert memory_figures(jobs, [at_s + 100 * HOUR_S for at_s in starts(jobs)]).sized_share == 0.0


def test_jobs_that_never_started_or_of_which_nothing_is_known_are_left_out() -> None:
    jobs = [job(0), job(1), job(2, used_gib=0.0)]
    assert memory_figures(jobs, [0.0, math.nan, 0.0]).job_count == 1


def test_without_requests_a_user_is_taken_to_ask_for_what_his_largest_job_needed() -> None:
    jobs = [job(number, 1.0, asked_gib=0.0) for number in range(19)] + [job(19, 8.0, asked_gib=0.0)]
    asked = [job(number, 1.0, asked_gib=8.0) for number in range(19)] + [job(19, 8.0, asked_gib=8.0)]
    assert memory_figures(jobs, starts(jobs)) == memory_figures(asked, starts(asked))


def test_a_request_may_be_bytes_of_the_whole_job() -> None:
    """On all that the trace is read for: the jobs' shapes on nodes, too."""
    line = b"1 0 -1 60 2 -1 1048576 2 60 3221225473 1 7 1 1 1 1 -1 -1\n"
    (as_kib,), (as_bytes,) = (read_swf(BytesIO(line), 4, in_bytes).jobs for in_bytes in (False, True))
    assert (as_kib.memory_bytes, as_bytes.memory_bytes) == (3221225473 * 1024, 1610612737)


def test_bytes_of_requests_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    swf, sacct = tmp_path / "a.swf", tmp_path / "a.txt"
    swf.write_text("; MaxProcs: 4\n1 0 -1 60 2 -1 1024 2 60 -1 1 7 1 1 1 1 -1 -1\n")
    sacct.write_text("JobID|Submit|Start|Elapsed|AllocCPUS|ReqMem\n")

    def told(path: Path, *words: str) -> str:
        done = hal("/nowhere", "simulate", str(path), "--request-in-bytes", *words)
        assert done.code == 1, done
        return done.err

    assert "memory counts with --auto-memory, or on the nodes of --cluster FILE only" in told(swf)
    assert "no job of the trace asks for memory; SWF has it in field 10" in told(swf, "--auto-memory")
    assert f"is for SWF, whose memory has no unit; {sacct} says" in told(sacct, "--auto-memory")
    guessed = hal("/nowhere", "simulate", str(swf), "--auto-memory", "--policy", "easy")
    assert (guessed.code, "1 job without a memory request: each is taken to ask" in guessed.err) == (0, True), guessed


def test_the_command_tells_it_and_refuses_a_trace_that_does_not_know(tmp_path: Path) -> None:
    def trace(used_kib: int) -> str:
        lines = [
            f"{number} {number * 100} -1 60 2 -1 {used_kib} 2 60 {1 << 23} 1 7 1 1 1 1 -1 -1" for number in range(20)
        ]
        path = tmp_path / f"{used_kib}.swf"
        path.write_text("\n".join(["; MaxProcs: 4", *lines]) + "\n")
        return str(path)

    told = hal("/nowhere", "simulate", trace(1 << 20), "--policy", "easy", "--auto-memory")
    expected = "1048576.swf: easy: of 20 jobs 85.0% would have begun with less memory: over-asking 8"
    assert told.out.splitlines()[-1].startswith(expected), told.out
    refused = hal("/nowhere", "simulate", trace(-1), "--policy", "easy", "--auto-memory")
    assert (refused.code, "field 7" in refused.err) == (1, True), refused.err
