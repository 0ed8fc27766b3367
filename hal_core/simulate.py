"""`hal simulate`: replays traces with the production engines, and says what each policy would have done.

Puts plugins, traces and the quick replay together. What a person or a program should see is returned or given to
`say`; files are written only where the arguments say so.
"""

from __future__ import annotations

import csv
import gc
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Protocol

import attrs

from hal_core.config.reading import read_configuration
from hal_core.plugins import Plugins
from hal_core.sim.expectations import CORRECTIONS, Expectations, Perfect, Predicted
from hal_core.sim.figures import Figures, figures_of
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.trace import Trace, TraceJob, read_swf

PROBLEMS_SHOWN = 10


class Say(Protocol):
    """How the command speaks to a person: notes stay, progress is replaced."""

    def note(self, text: str) -> None: ...

    def progress(self, text: str) -> None: ...


@attrs.frozen
class Run:
    """One policy over one replica of one trace."""

    trace: str
    policy: str
    estimates: str
    replica: int
    skipped: int
    figures: Figures
    jobs_per_s: float

    def as_dict(self) -> dict[str, str | int | float]:
        """As `--json` prints it."""
        return {
            "trace": self.trace,
            "policy": self.policy,
            "estimates": self.estimates,
            "replica": self.replica,
            "skipped": self.skipped,
            **attrs.asdict(self.figures),
            "jobs_per_s": self.jobs_per_s,
        }


def simulate(arguments: Namespace, say: Say) -> list[Run]:
    """All runs, in the order of traces, replicas, policies. Raises errors.UserError and OSError."""
    plugins = Plugins.load()
    for policy in arguments.policy:
        plugins.engine(policy)  # a wrong name is told before anything is read
    _expectations(arguments.estimates, plugins)
    runs = []
    for path in arguments.traces:
        trace, machine = _read(path, arguments.cluster, plugins, say)
        for replica in range(arguments.replicas):
            jobs = _shaken(trace.jobs, arguments.shake, arguments.seed, replica)
            for policy in arguments.policy:
                job = _Task(arguments, plugins, path, replica, policy)
                runs.append(job.run(trace, machine, jobs, say))
    return runs


def _read(path: str, cluster: str | None, plugins: Plugins, say: Say) -> tuple[Trace, Machine]:
    say.progress(f"{path}: reading")
    machine = None
    if cluster is not None:
        machine = Machine(read_configuration(cluster, plugins.installed()).cluster)
    with open(path, "rb") as stream, _without_collector():
        trace = read_swf(stream, machine.processors if machine else None)
    for problem in trace.problems[:PROBLEMS_SHOWN]:
        say.note(f"{path}: {problem}")
    if trace.bad_count > PROBLEMS_SHOWN:
        say.note(f"{path}: {trace.bad_count} bad lines; the first {PROBLEMS_SHOWN} are named")
    for text in trace.notes:
        say.note(f"{path}: {text}")
    for reason, count in trace.left_out.items():
        say.note(f"{path}: left out {count} jobs: {reason}")
    return trace, machine or Machine.pool(trace.processors)


def _shaken(jobs: Sequence[TraceJob], shake_s: float, seed: int, replica: int) -> Sequence[TraceJob]:
    """Each submission moved by up to so many seconds either way; the first replica is not moved."""
    if not replica or not shake_s:
        return jobs
    random = Random(f"{seed}/{replica}")  # noqa: S311  repeatable, nothing secret
    moved = [job.moved(max(0.0, job.submit_s + round(random.uniform(-shake_s, shake_s)))) for job in jobs]
    return sorted(moved, key=lambda job: job.submit_s)


def _expectations(name: str, plugins: Plugins) -> Expectations:
    if name == "requested":
        return Expectations()
    if name == "perfect":
        return Perfect()
    return Predicted(plugins.predictor(name))


@attrs.frozen
class _Task:
    """One run that is to be done."""

    arguments: Namespace
    plugins: Plugins
    path: str
    replica: int
    policy: str

    def run(self, trace: Trace, machine: Machine, jobs: Sequence[TraceJob], say: Say) -> Run:
        arguments = self.arguments
        foresight = Foresight(_expectations(arguments.estimates, self.plugins), CORRECTIONS[arguments.correction])
        replay = Replay(self.plugins.engine(self.policy), machine, jobs, foresight)
        started_s = time.perf_counter()
        with _without_collector():
            for done in replay.run(EventOrder(arguments.event_order)):
                say.progress(f"{self.path}: {self.policy}: {done} of {len(jobs)} jobs")
        elapsed_s = time.perf_counter() - started_s
        say.progress("")
        figures = figures_of(jobs, replay.start_s, machine.processors)
        if figures.jobs < len(jobs):
            say.note(f"{self.path}: {self.policy}: {len(jobs) - figures.jobs} jobs fit on no nodes of the cluster")
        if arguments.jobs_csv:
            _write_jobs(self._csv_path(), jobs, replay.start_s)
        skipped = trace.skipped_count + len(jobs) - figures.jobs
        speed = len(jobs) / elapsed_s if elapsed_s else 0.0
        return Run(self.path, self.policy, arguments.estimates, self.replica, skipped, figures, speed)

    def _csv_path(self) -> Path:
        """The file as given for a single run; with several, each has its own beside it."""
        arguments, path = self.arguments, Path(self.arguments.jobs_csv)
        if len(arguments.traces) * len(arguments.policy) * arguments.replicas == 1:
            return path
        trace = Path(self.path).name.removesuffix(".gz").removesuffix(".swf")
        return path.with_name(f"{path.stem}-{trace}-{self.policy}-{self.replica}{path.suffix}")


def _write_jobs(path: Path, jobs: Sequence[TraceJob], start_s: Sequence[float]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("job_id", "submit_s", "wait_s", "run_s", "procs"))
        for job, start in zip(jobs, start_s, strict=True):
            if start == start:
                times = (_plain(job.submit_s), _plain(start - job.submit_s), _plain(job.run_s))
                writer.writerow((job.number, *times, job.processors))


def _plain(value: float) -> int | float:
    """Whole seconds as whole numbers."""
    return int(value) if value.is_integer() else value


@contextmanager
def _without_collector() -> Iterator[None]:
    """Rows make no cycles, and looking for them would take half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
