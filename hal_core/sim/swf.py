"""The Standard Workload Format of the Parallel Workloads Archive: 18 columns, `;` before comments, plain or gzipped.

Read with the clean-up of the SC'15 study: processors as requested, or as allocated where that is unknown; jobs without
processors, run time or submit time are left out, as are those wider than the machine; a run time beyond the limit is
cut at the limit, where the job is killed; the status only says what failed. Where a job states no limit, its run time
is taken for it. A job number that was there before is left out: the first line stands for the whole job.
Feitelson et al., JPDC 74(10), 2014; Gaussier et al., SC'15.
"""

from __future__ import annotations

from typing import BinaryIO

from hal_core.errors import Problem
from hal_core.models.plural import plural
from hal_core.sim.lines import numbered_lines
from hal_core.sim.trace import AMOUNT_MAX, Findings, Trace, TraceJob, width_of

COLUMN_COUNT = 18
KIB = 1024
FAILED = 0
"""The status of a job that failed."""

Row = tuple[float, ...]


def read_swf(stream: BinaryIO, processors: int | None = None, is_request_in_bytes: bool = False) -> Trace:
    """Read a trace for a machine of so many processors (None: as its header says). Raises nothing for its content.

    `is_request_in_bytes`: the requested memory is bytes of the whole job, which some sites wrote there.
    """
    findings = Findings()
    header: dict[str, str] = {}
    rows: list[Row] = []
    has_more = 0
    for number, line in numbered_lines(stream):
        if isinstance(line, Problem):
            findings.bad(line)
        elif line.startswith(b";"):
            name, colon, value = line[1:].decode("utf-8", "replace").partition(":")
            if colon:
                header.setdefault(name.strip(), value.strip())
        elif line:
            try:
                row = _row(line)
            except ValueError as error:
                findings.bad(Problem(f"line {number}", str(error)))
                continue
            has_more += len(row) > COLUMN_COUNT
            rows.append(row)
    if has_more:
        findings.notes.append(f"{has_more} lines have more than {COLUMN_COUNT} columns; the others are not read")
    trace = _trace(rows, header, processors, findings)
    for job in trace.jobs if is_request_in_bytes else ():
        job.memory_bytes = -(-(job.memory_bytes // KIB) // job.processors)
    return trace


def _row(line: bytes) -> Row:
    """The columns of one line. Raises ValueError if it makes no sense."""
    words = line.split()
    try:
        values = tuple(map(float, words))
    except ValueError:
        raise ValueError(f"column {_first_odd(words)} is not a number") from None
    if len(values) < COLUMN_COUNT:
        raise ValueError(f"{len(values)} columns; the format has {COLUMN_COUNT}")
    if not sum(map(abs, values)) < AMOUNT_MAX or b"_" in line:
        raise ValueError("a column is not a finite number, or is too large to be one")
    return values


def _first_odd(words: list[bytes]) -> str:
    """Which column is no number, and what it says."""
    for number, word in enumerate(words, 1):
        try:
            float(word)
        except ValueError:
            return f"{number}, {word.decode('utf-8', 'replace')[:40]!r},"
    return ""


def _trace(rows: list[Row], header: dict[str, str], processors: int | None, findings: Findings) -> Trace:
    unlimited_count = sum(row[8] <= 0 < row[3] for row in rows)
    if unlimited_count:
        findings.notes.append(f"{plural(unlimited_count, 'job')} without a time limit: the run time is taken for it")
    jobs: list[TraceJob] = []
    width = processors or _header_width(header)
    for row in rows:
        reason = _reason(row, width)
        if not reason and row[0] > 0 and findings.is_repeated(int(row[0])):
            reason = "a job number that was there before"
        if reason:
            findings.leave_out(reason)
        else:
            jobs.append(_job(row))
    return findings.trace(jobs, width or width_of(jobs, findings), header, None)


def _reason(row: Row, width: int | None) -> str:
    """Why the job cannot be replayed; the empty string if it can."""
    if row[4] < 1 and row[7] < 1:
        return "no processors"
    if width is not None and max(row[4], row[7]) > width:
        return "wider than the machine"
    if row[3] <= 0:
        return "no run time"
    return "no submit time" if row[1] < 0 else ""


def _job(row: Row) -> TraceJob:
    run_s, limit_s = row[3], row[8] if row[8] > 0 else row[3]
    processors = int(row[7]) if row[7] >= 1 else int(row[4])
    user = f"user{int(row[11])}" if row[11] >= 0 else "unknown"
    job = TraceJob(int(row[0]), row[1], min(run_s, limit_s), limit_s, processors, user)
    job.memory_bytes = int(max(0.0, row[9]) * KIB)
    job.peak_memory_bytes = int(max(0.0, row[6]) * KIB)
    job.recorded_wait_s = row[2]
    job.has_failed = row[10] == FAILED
    job.account = f"group{int(row[12])}" if row[12] >= 0 else ""
    return job


def _header_width(header: dict[str, str]) -> int | None:
    for name in ("MaxProcs", "MaxNodes"):
        text = header.get(name, "").partition(" ")[0]
        if text.isascii() and text.isdecimal() and len(text) < 19 and int(text) > 0:
            return int(text)
    return None
