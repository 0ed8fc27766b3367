"""`hal simulate` and `hal replay`: traces through the production engines, and what each policy would have done.

A composition root: it puts plugins, traces and the quick replay together. What a person or a program should see is
returned or given to `say`; files are written only where the arguments say so.
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Sequence
from random import Random
from typing import Protocol

import attrs

from hal_core.config.cloud_file import CloudFile
from hal_core.config.configuration import Configuration
from hal_core.errors import InvalidInput, Problem
from hal_core.kernel.collector import without_collector
from hal_core.models.job import JobId
from hal_core.models.plural import plural
from hal_core.models.prediction import Prediction
from hal_core.planes import Engine
from hal_core.plugins import Plugins
from hal_core.sim.data import Data, DataFigures, DataMode, data_figures
from hal_core.sim.expectations import CORRECTIONS, Expectations, Perfect, Predicted
from hal_core.sim.figures import Figures, figures_of
from hal_core.sim.machine import Machine
from hal_core.sim.memory import MemoryFigures, memory_figures
from hal_core.sim.reliability import Reliability, reliability_of
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.scores import Scores, scores_of
from hal_core.sim.start_watch import StartWatch
from hal_core.sim.trace import Trace, TraceJob
from hal_core.sim.tuned import Tuned
from hal_core.simulate.clouds import (
    CloudFigures,
    CloudPolicy,
    CloudRun,
    check_accounts,
    engine_name,
    on_premises,
    read_cloud_file,
)
from hal_core.simulate.files import csv_path, write_jobs
from hal_core.simulate.measuring import Cost, Measured
from hal_core.simulate.sources import Source, configuration_in
from hal_core.simulate.tuning import TUNED, TuningFigures, tuned_engine

MEMORY_IN = "SWF has it in field 7"
REQUEST_IN = "SWF has it in field 10"
TAKEN = "each is taken to ask for what the largest of its user's jobs used"
"""By sim/memory.py."""


class Say(Protocol):
    """How the command speaks to a person: notes stay, progress is replaced."""

    def note(self, text: str) -> None: ...

    def progress(self, text: str) -> None: ...


@attrs.frozen
class Run:
    """One policy over one replica of one trace. `start_s` in the order of `jobs`, NaN for those that never started."""

    trace: str
    policy: str
    estimates: str
    replica: int
    skipped: int
    figures: Figures
    jobs_per_s: float
    jobs: Sequence[TraceJob] = attrs.field(repr=False)
    start_s: Sequence[float] = attrs.field(repr=False)
    processors: int
    foretold: Sequence[Prediction] = attrs.field(default=(), repr=False)
    """What was said of each job when it came, in the order of `jobs`."""
    scores: Scores = attrs.field(factory=Scores)
    time_outs: Reliability | None = None
    """Of what was said of jobs that they would run into their limit; None: nothing was."""
    failures: Reliability | None = None
    start_p90_coverage: float | None = None
    """Of the later half of the jobs, those that had to wait: the share that started by their p90."""
    predict_us: float = 0.0
    """Processor time for each prediction and each learning step, in microseconds."""
    learn_us: float = 0.0
    data: DataFigures | None = None
    cloud: CloudFigures | None = None
    tuning: TuningFigures | None = None
    memory: MemoryFigures | None = None

    def as_dict(self) -> dict[str, str | int | float | None]:
        """As `--json` prints it."""
        return {
            "trace": self.trace,
            "policy": self.policy,
            "estimates": self.estimates,
            "replica": self.replica,
            "skipped": self.skipped,
            **attrs.asdict(self.figures),
            "jobs_per_s": self.jobs_per_s,
            **attrs.asdict(self.scores),
            **_ends("time_out", self.time_outs),
            **_ends("failure", self.failures),
            "start_p90_coverage": self.start_p90_coverage,
            "predict_us": self.predict_us,
            "learn_us": self.learn_us,
            **({} if self.data is None else attrs.asdict(self.data)),
            **({} if self.cloud is None else attrs.asdict(self.cloud)),
            **({} if self.tuning is None else {"tuning": attrs.asdict(self.tuning)}),
            **({} if self.memory is None else {"memory": attrs.asdict(self.memory)}),
        }


def _ends(name: str, found: Reliability | None) -> dict[str, float | None]:
    return {
        f"{name}_skill": None if found is None else found.skill,
        f"{name}_calibration_error": None if found is None else found.calibration_error,
    }


def _reliabilities(ran: Sequence[tuple[Prediction, TraceJob]]) -> dict[str, Reliability | None]:
    """Of what was said of how jobs end; who reaches the limit is killed there, whatever it would have ended with."""
    time_outs = ((said.time_out_probability, job.reaches_limit) for said, job in ran)
    failures = ((said.failure_probability, job.has_failed and not job.reaches_limit) for said, job in ran)
    found = (
        reliability_of((said, happened) for said, happened in each if said is not None)
        for each in (time_outs, failures)
    )
    return dict(zip(("time_outs", "failures"), found, strict=True))


@attrs.frozen
class Outcome:
    """All runs, in the order of traces, replicas, policies; and the traces with too many bad lines to be trusted."""

    runs: tuple[Run, ...]
    bad_traces: tuple[str, ...]


def simulate(arguments: Namespace, say: Say) -> Outcome:
    """Replay everything that is asked for. Raises errors.UserError and OSError."""
    logging.getLogger("hal").addHandler(logging.NullHandler())  # What plugins log is for a daemon's log.
    plugins = Plugins.load()
    configuration = None if arguments.cluster is None else configuration_in(arguments.cluster, plugins)
    for policy in arguments.policy:  # a wrong name is told before anything is read
        _engine(policy, arguments, plugins, configuration, ())
    _expectations(arguments.estimates, plugins)
    cloud = None if arguments.with_cloud is None else read_cloud_file(arguments.with_cloud)
    sources = [_source(name, arguments) for name in arguments.traces]
    runs: list[Run] = []
    bad: list[str] = []
    for source in sources:
        say.progress(f"{source.name}: reading")
        trace, machine = source.read(arguments.cluster, plugins)
        source.tell(trace, say.note)
        machine = machine if cloud is None else on_premises(cloud, machine)
        _check_data(arguments, trace)
        _check_memory(arguments, trace)
        _tell_memory(arguments, source.name, trace, say)
        if cloud is not None:
            check_accounts(cloud, trace, machine)
        if trace.is_bad:
            bad.append(source.name)
        for replica in range(arguments.replicas):
            jobs = _shaken(trace.jobs, arguments.shake, arguments.seed, replica)
            for policy in arguments.policy:
                engine = _engine(policy, arguments, plugins, configuration, jobs)
                task = _Task(arguments, plugins, source.name, replica, policy, cloud, engine)
                runs.append(task.run(trace, machine, jobs, say))
    if arguments.report:
        from hal_core.simulate.page import write_page

        say.progress(f"{arguments.report}: drawing")
        write_page(arguments, runs)
        say.progress("")
    return Outcome(tuple(runs), tuple(bad))


def _engine(
    policy: str,
    arguments: Namespace,
    plugins: Plugins,
    configuration: Configuration | None,
    jobs: Sequence[TraceJob],
) -> Engine:
    """That of the name, fresh. Raises errors.UserError if there is none."""
    if policy == TUNED:
        return tuned_engine(configuration, plugins, jobs)
    return plugins.engine(engine_name(policy) if arguments.with_cloud else policy)


def _source(name: str, arguments: Namespace) -> Source:
    source = Source.of(name, arguments.timezone, arguments.format)
    if arguments.request_in_bytes and not (arguments.auto_memory or arguments.cluster):
        text = "memory counts with --auto-memory, or on the nodes of --cluster FILE only; give one of them"
        raise InvalidInput([Problem("--request-in-bytes", text)])
    return attrs.evolve(source, is_request_in_bytes=arguments.request_in_bytes)


def _tell_memory(arguments: Namespace, name: str, trace: Trace, say: Say) -> None:
    silent_count = sum(not job.memory_bytes for job in trace.jobs) if arguments.auto_memory else 0
    if silent_count:
        say.note(f"{name}: {plural(silent_count, 'job')} without a memory request: {TAKEN}")


def _check_data(arguments: Namespace, trace: Trace) -> None:
    if arguments.data is not None and not trace.sizes:
        formats = "a trace of the formats uppmax or swim (--format)"
        raise InvalidInput([Problem("--data", f"the trace names no files that jobs read; give {formats}")])
    if arguments.data is not None and arguments.cluster is None:
        raise InvalidInput([Problem("--data", "which nodes are there? Give --cluster FILE")])


def _check_memory(arguments: Namespace, trace: Trace) -> None:
    if arguments.auto_memory and not any(job.peak_memory_bytes for job in trace.jobs):
        raise InvalidInput([Problem("--auto-memory", f"the trace says of no job how much memory it used; {MEMORY_IN}")])
    if arguments.request_in_bytes and not any(job.memory_bytes for job in trace.jobs):
        text = f"no job of the trace asks for memory; {REQUEST_IN}. Leave the option out"
        raise InvalidInput([Problem("--request-in-bytes", text)])


def _shaken(jobs: Sequence[TraceJob], shake_s: float, seed: int, replica: int) -> Sequence[TraceJob]:
    """Each submission moved by up to so many seconds either way; the first replica is not moved."""
    if not replica or not shake_s:
        return jobs
    random = Random(f"{seed}/{replica}")  # noqa: S311  repeatable, nothing secret
    moved = [job.moved(max(0.0, job.submit_s + round(random.uniform(-shake_s, shake_s)))) for job in jobs]
    return sorted(moved, key=lambda job: job.submit_s)


def _expectations(name: str, plugins: Plugins) -> tuple[Expectations, Measured | None]:
    """What is expected, and who was asked for it, if anybody."""
    if name == "requested":
        return Expectations(), None
    if name == "perfect":
        return Perfect(), None
    measured = Measured(plugins.predictor(name))
    return Predicted.by(name, measured), measured


@attrs.frozen
class _Task:
    """One run that is to be done."""

    arguments: Namespace
    plugins: Plugins
    name: str
    replica: int
    policy: str
    cloud: CloudFile | None
    engine: Engine

    def run(self, trace: Trace, machine: Machine, jobs: Sequence[TraceJob], say: Say) -> Run:
        arguments = self.arguments
        expectations, measured = _expectations(arguments.estimates, self.plugins)
        starts = StartWatch(len(jobs))
        foresight = Foresight(expectations, CORRECTIONS[arguments.correction], starts)
        data = None if arguments.data is None else Data.of(DataMode(arguments.data), machine.cluster, trace)
        cloud_run: CloudRun | None = None
        if self.cloud is None:
            replay = Replay(self.engine, machine, jobs, foresight, data)
        else:
            cloud_run = CloudRun(CloudPolicy(self.cloud, self.policy), self.engine, machine, jobs, foresight)
            replay = cloud_run.replay
        started_s = time.perf_counter()
        with without_collector():
            for done in replay.run(EventOrder(arguments.event_order)):
                share = done / len(jobs) if jobs else 1.0
                say.progress(f"{self.name}: {self.policy}: {done} of {plural(len(jobs), 'job')} ({share:.0%})")
        elapsed_s = time.perf_counter() - started_s
        say.progress("")
        figures = figures_of(jobs, replay.start_s, machine.processors)
        if figures.jobs < len(jobs):
            say.note(
                f"{self.name}: {self.policy}: {plural(len(jobs) - figures.jobs, 'job')} fit on no nodes of the cluster"
            )
        if measured is not None and measured.failure:
            text = "is asked no more and limits are planned with"
            say.note(f"{self.name}: the predictor {arguments.estimates} {text}: {measured.failure}")
        if arguments.jobs_csv:
            write_jobs(csv_path(arguments, self.name, self.policy, self.replica), jobs, replay.start_s)
        cost = Cost() if measured is None else measured.cost
        skipped = trace.skipped_count + len(jobs) - figures.jobs
        speed = len(jobs) / elapsed_s if elapsed_s else 0.0
        foretold = [expectations.foretold(JobId(at), job) for at, job in enumerate(jobs)]
        ran = [(said, job) for said, job, start in zip(foretold, jobs, replay.start_s, strict=True) if start == start]
        return Run(
            trace=self.name,
            policy=self.policy,
            estimates=arguments.estimates,
            replica=self.replica,
            skipped=skipped,
            figures=figures,
            jobs_per_s=speed,
            jobs=jobs,
            start_s=replay.start_s,
            processors=machine.processors,
            foretold=foretold,
            scores=scores_of((said, job.run_s) for said, job in ran),
            **_reliabilities(ran),
            start_p90_coverage=starts.p90_coverage,
            predict_us=cost.predict_us,
            learn_us=cost.learn_us,
            data=None if data is None else data_figures(jobs, replay.start_s, replay.stage_s, data),
            cloud=None if cloud_run is None else cloud_run.figures(),
            tuning=self._tuning(),
            memory=self._memory(jobs, replay.start_s),
        )

    def _tuning(self) -> TuningFigures | None:
        engine = self.engine
        return TuningFigures(engine.trial_count, len(engine.changes)) if isinstance(engine, Tuned) else None

    def _memory(self, jobs: Sequence[TraceJob], start_s: Sequence[float]) -> MemoryFigures | None:
        return memory_figures(jobs, start_s) if self.arguments.auto_memory else None
