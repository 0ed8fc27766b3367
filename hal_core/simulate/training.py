"""`hal train`: a predictor lives through a history in the order in which it happened, and what it learned is stored.

It is asked about each job when it came and shown each when it ended, as in the daemon, so the scores printed at the end
are those of somebody who did not know the future.
"""

from __future__ import annotations

import os
from argparse import Namespace
from heapq import heappop, heappush
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs

from hal_core.errors import InvalidInput, Problem
from hal_core.kernel.collector import without_collector
from hal_core.models.job import JobId
from hal_core.plugins import Plugins
from hal_core.sim.expectations import Expectations, Predicted
from hal_core.sim.scores import Scores, scores_of
from hal_core.sim.trace import TraceJob
from hal_core.simulate.sources import Source


@runtime_checkable
class Storable(Protocol):
    """A predictor (planes.Predictor) that can also be stored."""

    def dump(self) -> bytes: ...


@attrs.frozen
class Training:
    """How many jobs were learned from; how good it was on the way, and how good the limits were."""

    job_count: int
    scores: Scores
    limit_scores: Scores
    byte_count: int


def train(arguments: Namespace) -> Training:
    """Raises errors.UserError and OSError."""
    plugins = Plugins.load()
    predictor = plugins.predictor(arguments.predictor)
    if not isinstance(predictor, Storable):
        text = f"{arguments.predictor!r} has nothing to store; of the installed ones, ml has"
        raise InvalidInput([Problem("--predictor", text)])
    trace, _ = Source.of(arguments.history, arguments.timezone).read(None, plugins)
    if not trace.jobs or trace.is_bad:
        text = "no job could be read from it" if not trace.jobs else "more than 1 % of its lines are bad"
        raise InvalidInput([Problem(arguments.history, f"{text}; `hal simulate` names the lines")])
    expectations = Predicted(predictor)
    with without_collector():
        _live(expectations, trace.jobs)
    numbered = [(JobId(at), job) for at, job in enumerate(trace.jobs)]
    own = scores_of((expectations.foretold(job_id, job), job.run_s) for job_id, job in numbered)
    limits = scores_of((Expectations().foretold(job_id, job), job.run_s) for job_id, job in numbered)
    content = predictor.dump()
    _write(Path(arguments.to), content)
    return Training(len(trace.jobs), own, limits, len(content))


def _live(expectations: Expectations, jobs: tuple[TraceJob, ...]) -> None:
    running: list[tuple[float, int]] = []
    for at, job in enumerate(jobs):
        _end(expectations, jobs, running, job.submit_s)
        expectations.expect(JobId(at), job)
        heappush(running, (job.submit_s + max(job.recorded_wait_s, 0.0) + job.run_s, at))
    _end(expectations, jobs, running, float("inf"))


def _end(
    expectations: Expectations, jobs: tuple[TraceJob, ...], running: list[tuple[float, int]], now_s: float
) -> None:
    while running and running[0][0] <= now_s:
        end_s, at = heappop(running)
        expectations.learn(JobId(at), jobs[at], end_s)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
