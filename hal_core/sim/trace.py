"""What a trace says of rigid jobs, as plain rows: the input of the quick replay (sim/replay.py).

Reads the Standard Workload Format, plain or gzipped, with the clean-up of the SC'15 study: processors as requested, or
as allocated where that is unknown; jobs without processors, run time or submit time are left out, as are those wider
than the machine; a run time beyond the limit is cut at the limit, where the job is killed; the status is not looked at.
Where a job states no limit, its run time is taken for it. Lines that make no sense are counted and named, and never end
the reading.
Feitelson et al., JPDC 74(10), 2014; Gaussier et al., SC'15.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, cast

import attrs

from hal_core.errors import Problem

COLUMN_COUNT = 18
GZIP_MAGIC = b"\x1f\x8b"
PROBLEMS_KEPT = 100


@attrs.define
class TraceJob:
    """One rigid job: when it came, how wide it is, how long it ran, how long it was allowed to."""

    number: int
    submit_s: float
    run_s: float
    limit_s: float
    processors: int
    user: str
    memory_bytes: int = 0
    """For each processor; 0 if not known."""

    def moved(self, submit_s: float) -> TraceJob:
        return attrs.evolve(self, submit_s=submit_s)


@attrs.frozen
class Trace:
    """What was read. `problems`: the first bad lines; `left_out`: how many jobs were not used, by why."""

    jobs: tuple[TraceJob, ...]
    """In the order of their submission, then of their lines."""
    header: dict[str, str]
    processors: int
    problems: tuple[Problem, ...]
    bad_count: int
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def skipped_count(self) -> int:
        return self.bad_count + sum(self.left_out.values())


def read_swf(stream: BinaryIO, processors: int | None = None) -> Trace:
    """Read a trace for a machine of so many processors (None: as its header says). Raises nothing for its content."""
    reader = _Reader()
    for number, line in _lines(stream):
        reader.read(number, line)
    return reader.trace(processors)


class _Reader:
    """Rows as they come; what depends on the whole trace is decided in the end."""

    def __init__(self) -> None:
        self._header: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._bad_count = 0
        self._left_out: Counter[str] = Counter()
        self._rows: list[tuple[float, ...]] = []

    def read(self, number: int, line: bytes | Problem) -> None:
        if isinstance(line, Problem):
            self._bad(line)
        elif line.startswith(b";"):
            name, colon, value = line[1:].decode("utf-8", "replace").partition(":")
            if colon:
                self._header.setdefault(name.strip(), value.strip())
        elif line:
            try:
                values = tuple(map(float, line.split()))
            except ValueError as error:
                self._bad(Problem(f"line {number}", str(error)))
                return
            if len(values) < COLUMN_COUNT:
                self._bad(Problem(f"line {number}", f"{len(values)} columns; the format has {COLUMN_COUNT}"))
            elif not math.isfinite(math.fsum(values)) or b"_" in line:
                self._bad(Problem(f"line {number}", "a column is not a finite number"))
            else:
                self._rows.append(values)

    def _bad(self, problem: Problem) -> None:
        self._bad_count += 1
        if len(self._problems) < PROBLEMS_KEPT:
            self._problems.append(problem)

    def trace(self, processors: int | None) -> Trace:
        notes: list[str] = []
        width = self._width(processors, notes)
        unlimited_count = sum(row[8] <= 0 < row[3] for row in self._rows)
        if unlimited_count:
            notes.append(f"{unlimited_count} jobs state no time limit: their run time is taken for it")
        jobs: list[TraceJob] = []
        for row in self._rows:
            run_s, limit_s = row[3], row[8] if row[8] > 0 else row[3]
            allocated, requested = int(row[4]), int(row[7])
            wanted = requested if requested > 0 else allocated
            reason = ""
            if wanted <= 0:
                reason = "no processors"
            elif max(allocated, requested) > width:
                reason = "wider than the machine"
            elif run_s <= 0:
                reason = "no run time"
            elif row[1] < 0:
                reason = "no submit time"
            if reason:
                self._left_out[reason] += 1
                continue
            user = f"user{int(row[11])}" if row[11] >= 0 else "unknown"
            job = TraceJob(int(row[0]), row[1], min(run_s, limit_s), limit_s, wanted, user)
            job.memory_bytes = int(max(0.0, row[9]) * 1024)
            jobs.append(job)
        jobs.sort(key=lambda job: job.submit_s)
        left_out = dict(sorted(self._left_out.items()))
        return Trace(tuple(jobs), self._header, width, tuple(self._problems), self._bad_count, left_out, tuple(notes))

    def _width(self, processors: int | None, notes: list[str]) -> int:
        if processors is not None:
            return processors
        for name in ("MaxProcs", "MaxNodes"):
            text = self._header.get(name, "").partition(" ")[0]
            if text.isascii() and text.isdecimal() and int(text) > 0:
                return int(text)
        widest = max((int(max(row[4], row[7])) for row in self._rows), default=1)
        notes.append(f"the header does not say how many processors there were; taken: {widest}, the widest job's")
        return max(widest, 1)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | Problem]]:
    """Numbered lines without blanks around them. A damaged gzip file ends where the damage is."""
    buffered = io.BufferedReader(cast("io.RawIOBase", stream))  # any binary stream will do; only `peek` is needed
    is_gzip = buffered.peek(2)[:2] == GZIP_MAGIC
    source = io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=buffered))) if is_gzip else buffered
    number = 0
    try:
        for number, raw in enumerate(source, 1):
            yield number, raw.strip()
    except (OSError, EOFError, zlib.error) as error:
        yield number + 1, Problem(f"line {number + 1}", f"the file is damaged from here on: {error}")
    finally:
        buffered.detach()  # the stream is the caller's to close
