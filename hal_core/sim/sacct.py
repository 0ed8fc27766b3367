"""Exports of Slurm's accounting: `sacct -P` (or `-p`), columns by the names in the header, plain or gzipped.

Also read: other separators (comma with quotes, semicolon, tab), columns named in words (`submit_time`, `nodes_req`).
Processors are those that were allocated, for those nobody else could have; the limit and the run time as in SWF
(sim/swf.py). Steps are folded into their jobs. Jobs that never started or still run are left out and counted.
Local times that come twice in autumn are told apart by the elapsed time, and by the order of the job's own times.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import BinaryIO

from hal_core.errors import Problem
from hal_core.sim import slurm_texts
from hal_core.sim.lines import numbered_lines
from hal_core.sim.trace import AMOUNT_MAX, Findings, Trace, TraceJob, width_of

SEPARATORS = "|,;\t"
FREE_TEXT = ("jobname", "submitline", "workdir", "comment", "admincomment", "systemcomment", "constraints")
"""Columns in which users can write a separator."""
WORDS = {
    "job_id": "jobid",
    "wallclock_req": "limitseconds",
    "nodes_req": "reqnodes",
    "processors_req": "reqcpus",
    "gpus_req": "reqgpus",
    "submit_time": "submit",
    "start_time": "start",
    "end_time": "end",
    "run_time": "elapsedraw",
    "name": "jobname",
    "work_dir": "workdir",
    "submit_line": "submitline",
}
"""Names in words -> Slurm's own, in lower case."""
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "CONFIGURING", "REVOKED"})
RUNNING = frozenset({"RUNNING", "SUSPENDED", "COMPLETING", "RESIZING", "STOPPED", "SIGNALING", "STAGE_OUT"})
ENDED = frozenset({"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"})
FAILED = frozenset({"FAILED", "OUT_OF_MEMORY"})
ENDED |= {"BOOT_FAIL", "DEADLINE", "RESERVATION", "LAUNCH_FAILED", "RECONFIG_FAIL"}

Row = Mapping[str, str]


def read_sacct(stream: BinaryIO, processors: int | None = None, zone: tzinfo | None = None) -> Trace:
    """Read an export. `zone` is that of its local times (None: this machine's). Raises nothing for its content."""
    reader = _Reader(zone)
    for number, line in numbered_lines(stream):
        if isinstance(line, Problem):
            reader.findings.bad(line)
        elif line:
            reader.read(number, line.decode("utf-8", "replace"))
    return reader.trace(processors)


def is_header(line: str) -> bool:
    """Whether a line names the columns of such an export."""
    return _separator(line) is not None


def _separator(line: str) -> str | None:
    for separator in SEPARATORS:
        names = {_plain(name) for name in line.split(separator)}
        if "jobid" in names and len(names) > 1:
            return separator
    return None


def _plain(name: str) -> str:
    plain = name.strip().strip('"').lower()
    return WORDS.get(plain, plain.removesuffix("%").partition("%")[0])


class _Reader:
    """Rows as they come. The first line must be the header."""

    def __init__(self, zone: tzinfo | None) -> None:
        self.findings = Findings()
        self._zone = zone
        self._separator = ""
        self._names: list[str] = []
        self._jobs: list[TraceJob] = []
        self._step_count = 0
        self._has_header = True

    def read(self, number: int, line: str) -> None:
        if not self._names:
            self._read_header(number, line)
            return
        if not self._has_header:
            self.findings.bad(Problem(f"line {number}", "there is no header that names its columns"))
            return
        if _separator(line) is not None:
            return  # exports put together have a header each
        try:
            job = self._job(self._row(line))
        except (ValueError, OverflowError) as error:
            self.findings.bad(Problem(f"line {number}", str(error)))
            return
        if job is not None:
            self._jobs.append(job)

    def _read_header(self, number: int, line: str) -> None:
        self._separator = _separator(line) or "|"
        self._names = [_plain(name) for name in line.split(self._separator)]
        if _separator(line) is None:
            self._has_header = False
            text = "the first line names no column JobID; export with `sacct -P`, without `--noheader`"
            self.findings.bad(Problem(f"line {number}", text))

    def _row(self, line: str) -> Row:
        fields = next(csv.reader([line])) if self._separator == "," else line.split(self._separator)
        names = self._names
        if len(fields) == len(names) + 1 and not fields[-1]:
            fields.pop()  # -p ends each line with a separator
        surplus = len(fields) - len(names)
        if surplus > 0:
            fields = self._joined(fields, surplus)
        if len(fields) != len(names):
            raise ValueError(f"{len(fields)} columns; the header names {len(names)}")
        return {name: field.strip() for name, field in zip(names, fields, strict=True)}

    def _joined(self, fields: list[str], surplus: int) -> list[str]:
        """Some text holds separators: join it again, in the first column of free text that leaves a line with sense."""
        for name in FREE_TEXT:
            if name in self._names:
                at = self._names.index(name)
                joined = self._separator.join(fields[at : at + surplus + 1])
                tried = [*fields[:at], joined, *fields[at + surplus + 1 :]]
                row = dict(zip(self._names, tried, strict=True))
                try:
                    self._times(row)
                    _state(row)
                except ValueError:
                    continue
                return tried
        return fields

    def _job(self, row: Row) -> TraceJob | None:
        """The job of a line; None for a step, or for one that is left out. Raises ValueError."""
        name, is_step = slurm_texts.job_name(row["jobid"])
        if is_step:
            self._step_count += 1
            return None
        state = _state(row)
        submit_s, start_s, run_s = self._times(row)
        reason = _reason(state, start_s, run_s)
        processors = _first_count(row, ("alloccpus", "ncpus", "reqcpus"), "cpu")
        if not reason and processors < 1:
            reason = "no processors"
        if not reason and self.findings.is_repeated(f"{name} {submit_s} {start_s} {run_s}"):
            reason = "a line that was there before"
        if reason:
            self.findings.leave_out(reason)
            return None
        assert start_s is not None
        assert run_s is not None
        limit_s = _limit_s(row)
        if limit_s is None:
            limit_s = run_s
        raw = row.get("jobidraw", "")
        number = int(raw) if raw.isascii() and raw.isdecimal() else int(name.partition("_")[0].partition("+")[0])
        job = TraceJob(number, submit_s, min(run_s, limit_s), limit_s, processors, row.get("user") or "unknown")
        job.label = "" if name == str(number) else name
        job.node_count = _first_count(row, ("allocnodes", "nnodes", "reqnodes"), "node")
        job.gpus = _first_count(row, ("reqgpus",), "gres/gpu")
        job.memory_bytes = _memory_bytes(row, processors, max(job.node_count, 1))
        job.partition = row.get("partition", "").partition(",")[0]
        job.recorded_wait_s = start_s - submit_s
        job.has_failed = state in FAILED
        job.account = row.get("account", "")
        return job

    def _times(self, row: Row) -> tuple[float, float | None, float | None]:
        """Submission, start, run time. Raises ValueError if they cannot all be true."""
        submits = slurm_texts.instants(row.get("submit", ""), self._zone)
        starts = slurm_texts.instants(row.get("start", ""), self._zone)
        ends = slurm_texts.instants(row.get("end", ""), self._zone)
        elapsed_s = slurm_texts.duration_s(row.get("elapsedraw", "") or row.get("elapsed", ""))
        start_s = _agreeing(starts, ends, elapsed_s)
        end_s = None
        if start_s is not None and ends:
            later = [end_s for end_s in ends if end_s >= start_s]
            if not later:
                raise ValueError("it ends before it starts")
            wanted_s = start_s + (elapsed_s or 0.0)
            end_s = min(later, key=lambda end_s: abs(end_s - wanted_s))
        if not submits:
            raise ValueError("the time of submission is not known")
        earlier = [submit_s for submit_s in submits if start_s is None or submit_s <= start_s]
        if not earlier:
            raise ValueError("it was submitted after it started")
        run_s = elapsed_s
        if run_s is None and start_s is not None and end_s is not None:
            run_s = end_s - start_s
        return earlier[0], start_s, run_s

    def trace(self, processors: int | None) -> Trace:
        findings, jobs = self.findings, self._jobs
        if self._step_count:
            findings.notes.append(f"{self._step_count} steps are folded into their jobs")
        without = sum(job.limit_s == job.run_s for job in jobs)
        if jobs and without == len(jobs):
            findings.notes.append("no job states a time limit that it did not reach: run times are taken for limits")
        partitions = sorted({job.partition for job in jobs if job.partition})
        return findings.trace(jobs, processors or width_of(jobs, findings), {"Partitions": ",".join(partitions)}, None)


def _agreeing(starts: Sequence[float], ends: Sequence[float], elapsed_s: float | None) -> float | None:
    """The start that, of all that it can be, fits the end and the elapsed time best."""
    if not starts:
        return None
    if len(starts) == 1 or elapsed_s is None or not ends:
        return starts[0]
    return min(starts, key=lambda start_s: min(abs(end_s - start_s - elapsed_s) for end_s in ends))


def _state(row: Row) -> str:
    """`CANCELLED by 1000` is CANCELLED. Raises ValueError for a word that is no state."""
    text = row.get("state", "COMPLETED")
    state = text.partition(" ")[0].rstrip("+").upper()
    if state not in ENDED and state not in RUNNING and state not in WAITING:
        raise ValueError(f"{text!r} is not a state of a job")
    return state


def _reason(state: str, start_s: float | None, run_s: float | None) -> str:
    if state in WAITING or start_s is None:
        return "never started"
    if state in RUNNING:
        return "still running"
    return "no run time" if run_s is None or run_s <= 0 else ""


def _limit_s(row: Row) -> float | None:
    if seconds := row.get("limitseconds"):
        return slurm_texts.duration_s(seconds)
    raw = row.get("timelimitraw", "")
    if raw.isascii() and raw.isdecimal():
        return int(raw) * 60.0
    return slurm_texts.limit_s(row.get("timelimit", ""))


def _first_count(row: Row, names: Sequence[str], tres: str) -> int:
    """The first positive count under these names, or among the allocated or requested resources; 0 if there is none."""
    for name in names:
        text = row.get(name, "")
        if text:
            value = _count(text)
            if value > 0:
                return value
    return slurm_texts.resource(row.get("alloctres", ""), tres) or slurm_texts.resource(row.get("reqtres", ""), tres)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and float(text) < AMOUNT_MAX):
        raise ValueError(f"{text!r} is not a count")
    return int(text)


def _memory_bytes(row: Row, processors: int, node_count: int) -> int:
    """For each processor, as requested."""
    found = slurm_texts.amount(row.get("reqmem", ""))
    if found is None:
        return 0
    size, each = found
    total = size * (processors if each == "c" else node_count if each == "n" else 1)
    return int(total / processors)
