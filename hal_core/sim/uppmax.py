"""The locality workload of a week at UPPMAX: jobs with the file that each reads, as comma separated values.

Columns `job,submit_s,run_s,cores,user,input_file`, in any order among others. The run time is computing alone. As its
authors have it, a file is as large as the share of a node's memory that its job has: 6.4 GB for each core. Limits are
not known: the run time stands for them. Jobs without a run time were cut while they transferred, and are left out.
Gonthier, Larsson, Marchal, Nettelblad and Thibault: locality-aware scheduling of data-intensive jobs, 2022 to 2024.
"""

from __future__ import annotations

from typing import BinaryIO

import attrs

from hal_core.errors import Problem
from hal_core.sim.lines import numbered_lines
from hal_core.sim.trace import AMOUNT_MAX, Findings, Trace, TraceJob, width_of

COLUMNS = ("job", "submit_s", "run_s", "cores", "user", "input_file")
BYTES_PER_CORE = 6_400_000_000


def read_uppmax(stream: BinaryIO, processors: int | None = None) -> Trace:
    """Read a week for a machine of so many processors (None: as wide as its widest job). Raises nothing."""
    findings = Findings()
    places: list[int] = []
    jobs: list[TraceJob] = []
    for number, line in numbered_lines(stream):
        if isinstance(line, Problem):
            findings.bad(line)
            continue
        words = line.decode("utf-8", "replace").split(",")
        try:
            if not places:
                places = _places(words)
            elif line:
                _add(jobs, [words[place] for place in places], findings)
        except (ValueError, IndexError) as error:
            findings.bad(Problem(f"line {number}", str(error) if places else f"no columns {', '.join(COLUMNS)}"))
            if not places:
                break
    width = processors or width_of(jobs, findings)
    sizes: dict[str, int] = {}
    for job in jobs:
        sizes[job.inputs[0]] = max(sizes.get(job.inputs[0], 0), BYTES_PER_CORE * job.processors)
    findings.notes.append("the trace knows no time limits: run times are taken for them")
    return attrs.evolve(findings.trace(jobs, width, {}, None), sizes=sizes)


def _places(words: list[str]) -> list[int]:
    """Where the columns are. Raises ValueError if one is missing."""
    return [words.index(name) for name in COLUMNS]


def _add(jobs: list[TraceJob], words: list[str], findings: Findings) -> None:
    job, submit_s, run_s, cores = (float(word) for word in words[:4])
    if not abs(job) + abs(submit_s) + abs(run_s) + abs(cores) < AMOUNT_MAX:
        raise ValueError("a column is not a finite number, or is too large to be one")
    if cores < 1 or run_s <= 0 or submit_s < 0:
        findings.leave_out("no cores" if cores < 1 else "no run time" if run_s <= 0 else "no submit time")
        return
    jobs.append(TraceJob(int(job), submit_s, run_s, run_s, int(cores), f"user{words[4]}", inputs=(words[5],)))
