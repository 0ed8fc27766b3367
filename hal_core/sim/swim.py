"""SWIM's samples of Facebook's MapReduce clusters, with the paths that jobs read: tab separated, without run times.

Columns: name, submission in s, gap in s, bytes read, shuffled and written, input path. What is made of them:
- An input is cut into pieces of up to 64 GB. Each is read by a task of one processor, which is a job of the replay. A
  path is as large as the most that any job reads of it; who reads less reads its first pieces.
- A task takes a second, and one for every 100 MB that it reads and that is its share of the shuffle and the output.
- Three nodes have each piece from the beginning, drawn at random by its name, as a distributed file system does.
Chen, Ganapathi, Griffith and Katz, MASCOTS 2011.
"""

from __future__ import annotations

from typing import BinaryIO

import attrs

from hal_core.errors import Problem
from hal_core.sim.lines import numbered_lines
from hal_core.sim.trace import AMOUNT_MAX, Findings, Trace, TraceJob, width_of

PIECE_BYTES = 64_000_000_000
BYTES_PER_S = 100_000_000
REPLICA_COUNT = 3
COLUMN_COUNT = 7


def read_swim(stream: BinaryIO, processors: int | None = None) -> Trace:
    """Read a sample for a machine of so many processors (None: as wide as its widest job). Raises nothing."""
    findings = Findings()
    rows: list[tuple[str, float, int, int, str]] = []
    for number, line in numbered_lines(stream):
        try:
            if isinstance(line, Problem):
                findings.bad(line)
            elif line:
                rows.append(_row(line.decode("utf-8", "replace").split("\t")))
        except ValueError as error:
            findings.bad(Problem(f"line {number}", str(error)))
    bytes_of: dict[str, int] = {}
    for _, _, read_bytes, _, path in rows:
        bytes_of[path] = max(bytes_of.get(path, 0), read_bytes)
    sizes = {
        f"{path}#{piece}": min(PIECE_BYTES, size - piece * PIECE_BYTES)
        for path, size in bytes_of.items()
        for piece in range(_piece_count(size))
    }
    jobs: list[TraceJob] = []
    for row in rows:
        jobs += _tasks(row, sizes, len(jobs))
    width = processors or width_of(jobs, findings)
    findings.notes.append("the trace knows no run times: a second, and one for every 100 MB read, shuffled and written")
    trace = findings.trace(jobs, width, {}, None)
    return attrs.evolve(trace, sizes=sizes, replica_count=REPLICA_COUNT)


def _row(words: list[str]) -> tuple[str, float, int, int, str]:
    """(name, submission, bytes read, bytes shuffled and written, path). Raises ValueError if it makes no sense."""
    if len(words) < COLUMN_COUNT:
        raise ValueError(f"{len(words)} columns; samples with input paths have at least {COLUMN_COUNT}")
    submit_s, read_bytes, shuffled, written = (float(words[place]) for place in (1, 3, 4, 5))
    if min(submit_s, read_bytes, shuffled, written) < 0 or not submit_s + read_bytes + shuffled + written < AMOUNT_MAX:
        raise ValueError("a column is not a finite number from 0, or is too large to be one")
    return words[0], submit_s, int(read_bytes), int(shuffled + written), words[6]


def _piece_count(size: int) -> int:
    return max(1, -(-size // PIECE_BYTES))


def _tasks(row: tuple[str, float, int, int, str], sizes: dict[str, int], first: int) -> list[TraceJob]:
    name, submit_s, read_bytes, other_bytes, path = row
    count = _piece_count(read_bytes)
    tasks = []
    for piece in range(count):
        inputs = (f"{path}#{piece}",)
        run_s = 1.0 + (min(sizes[inputs[0]], read_bytes) + other_bytes / count) / BYTES_PER_S
        task = TraceJob(first + piece, submit_s, run_s, run_s, 1, "swim", label=f"{name}_{piece}", inputs=inputs)
        tasks.append(task)
    return tasks
