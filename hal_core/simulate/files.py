"""Files that a simulation writes beside its figures, and the collector that it does without."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hal_core.sim.trace import TraceJob


def csv_path(arguments: Namespace, trace: str, policy: str, replica: int) -> Path:
    """The file as given for a single run; with several, each has its own beside it."""
    path = Path(arguments.jobs_csv)
    if len(arguments.traces) * len(arguments.policy) * arguments.replicas == 1:
        return path
    name = Path(trace).name.removesuffix(".gz").removesuffix(".swf").replace(":", "-")
    return path.with_name(f"{path.stem}-{name}-{policy}-{replica}{path.suffix}")


def write_jobs(path: Path, jobs: Sequence[TraceJob], start_s: Sequence[float]) -> None:
    """Each job's wait, of those that started."""
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("job_id", "submit_s", "wait_s", "run_s", "procs"))
        for job, start in zip(jobs, start_s, strict=True):
            if start == start:
                times = (_plain(job.submit_s), _plain(start - job.submit_s), _plain(job.run_s))
                writer.writerow((job.label or job.number, *times, job.processors))


def _plain(value: float) -> int | float:
    """Whole seconds as whole numbers."""
    return int(value) if value.is_integer() else value
