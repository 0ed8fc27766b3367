"""The Standard Workload Format of the Parallel Workloads Archive: 18 columns, plain or gzipped, `;` before comments.

What -1 (unknown) means here: requested processors: those allocated; requested time: no limit (the true run time is not
told to the engine); memory: no request; user, group: uid and gid 0 and the name `unknown`; status: completed.
Left out and counted: partial executions (status 2, 3, 4; the line with the total is used), jobs without run time
or without processors. Failed and cancelled jobs (status 0, 5) ran as long as it says and end with exit code 1.
Preceding job and think time are not used. Lines that cannot be read are counted and named, and never end the reading.

Feitelson et al., Experience with using the Parallel Workloads Archive, JPDC 74(10), 2014.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import attrs

from hal_core.errors import Problem
from hal_core.models.job import JobSpec, Owner
from hal_core.models.node import PartitionName
from hal_core.sim.workload import Workload, WorkloadJob

COLUMN_COUNT = 18
PROBLEMS_KEPT = 100
GZIP_MAGIC = b"\x1f\x8b"
PARTIAL_STATUSES = (2, 3, 4)
FAILED_STATUSES = (0, 5)
KIB = 1024


@attrs.frozen
class SwfTrace:
    """What was read. `problems`: the first bad lines; `bad_count`: all of them; `left_out_count`: lines left out."""

    workload: Workload
    header: dict[str, str]
    problems: tuple[Problem, ...]
    bad_count: int
    left_out_count: int


@attrs.frozen
class SwfMachine:
    """How processors become nodes: a job takes as many nodes of so many CPUs as it needs."""

    partition: PartitionName
    cpus_per_node: int


def read_swf(stream: BinaryIO, machine: SwfMachine) -> SwfTrace:
    """Read a trace. Raises nothing for its content: see `problems`."""
    header: dict[str, str] = {}
    problems: list[Problem] = []
    jobs: list[WorkloadJob] = []
    bad_count = left_out_count = 0
    for number, line in _lines(stream):
        if isinstance(line, Problem):
            bad_count += 1
            problems.append(line)
        elif line.startswith(";"):
            name, colon, value = line[1:].partition(":")
            if colon:
                header.setdefault(name.strip(), value.strip())
        elif line:
            try:
                job = _job(line.split(), machine)
            except (ValueError, OverflowError) as error:
                bad_count += 1
                if len(problems) < PROBLEMS_KEPT:
                    problems.append(Problem(f"line {number}", str(error)))
                continue
            if job is None:
                left_out_count += 1
            else:
                jobs.append(job)
    return SwfTrace(Workload.of(jobs), header, tuple(problems), bad_count, left_out_count)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, str | Problem]]:
    """Numbered lines without blanks around them. A damaged gzip file ends where the damage is."""
    buffered = io.BufferedReader(cast("io.RawIOBase", stream))  # any binary stream will do; only `peek` is needed
    is_gzip = buffered.peek(2)[:2] == GZIP_MAGIC
    source = io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=buffered))) if is_gzip else buffered
    number = 0
    try:
        for number, raw in enumerate(source, 1):
            yield number, raw.decode("utf-8", "replace").strip()
    except (OSError, EOFError, zlib.error) as error:
        yield number + 1, Problem(f"line {number + 1}", f"the file is damaged from here on: {error}")
    finally:
        buffered.detach()  # the stream is the caller's to close


def _job(fields: list[str], machine: SwfMachine) -> WorkloadJob | None:
    """The job of one line; None if it is left out. Raises ValueError if the line makes no sense."""
    if len(fields) != COLUMN_COUNT:
        raise ValueError(f"{len(fields)} columns; the format has {COLUMN_COUNT}")
    values = [float(field) for field in fields]
    if any(value != value or abs(value) == float("inf") for value in values):
        raise ValueError("a column is not a finite number")
    number, submit_time_s, runtime_s = int(values[0]), values[1], values[3]
    status, uid, gid = int(values[10]), int(values[11]), int(values[12])
    if submit_time_s < 0:
        raise ValueError(f"submit time {fields[1]}; it must be known")
    processors = int(values[7]) if values[7] > 0 else int(values[4])
    if status in PARTIAL_STATUSES or runtime_s < 0 or processors <= 0:
        return None
    node_count = -(-processors // machine.cpus_per_node)
    kib_per_processor = max(0.0, values[9])
    spec = JobSpec(
        name=f"swf{number}",
        partition=machine.partition,
        command=("true",),
        node_count=node_count,
        task_count=processors,
        memory_bytes_per_node=int(kib_per_processor * KIB) * -(-processors // node_count),
        walltime_s=values[8] if values[8] > 0 else None,
    )
    owner = Owner(f"user{uid}" if uid >= 0 else "unknown", max(uid, 0), max(gid, 0))
    return WorkloadJob(submit_time_s, spec, owner, runtime_s, 1 if status in FAILED_STATUSES else 0)
