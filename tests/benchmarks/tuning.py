"""What self-tuning saves and what it costs, month by month, against fixed EASY; and how soon a bad policy is gone.

Traces are replayed with EASY and the users' limits, and with the policies of `--policy tuned` and the predictor that is
named. A month is 30 days of submissions; months with fewer than a hundred jobs are left out. The bad policy runs a job
at a time; it is in force when the replay begins.

python -m tests.benchmarks.tuning TRACE.swf... [--estimates ml] [--jobs N] [--json]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from hal_core.config.tuning import EVERY_S
from hal_core.models.plan import Plan, Snapshot
from hal_core.models.tuning import Bounds
from hal_core.planes import Engine
from hal_core.plugins import Plugins
from hal_core.sim.expectations import CORRECTIONS, Expectations, Predicted
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.swf import read_swf
from hal_core.sim.trace import Trace, TraceJob
from hal_core.sim.tuned import Policies, Tuned
from hal_core.simulate.tuning import tuned_engine
from tests.benchmarks.common import Figures, parser_of, progress, run

MONTH_S = 30 * 86_400.0
MONTH_JOBS_MIN = 100
BAD_JOBS = 2000


class OneAtATime:
    """Starts a job only on an idle machine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan() if any(True for _ in snapshot.running()) else Plan(self._engine.plan(snapshot).starts[:1])


def measure(given: argparse.Namespace) -> Figures:
    plugins = Plugins.load()
    figures: Figures = {}
    for path in given.traces:
        name = Path(path).name.partition(".")[0]
        with open(path, "rb") as stream:
            trace = read_swf(stream)
        jobs = trace.jobs[: given.jobs] if given.jobs else trace.jobs
        progress(f"{name}: easy")
        usual = monthly(jobs, waits(plugins.engine("easy"), trace, jobs, Expectations()))
        progress(f"{name}: tuned")
        tuned = tuned_engine(None, plugins, jobs)
        learned = Predicted.by(given.estimates, plugins.predictor(given.estimates))
        found = monthly(jobs, waits(tuned, trace, jobs, learned))
        progress(f"{name}: a bad policy")
        figures |= {
            f"{name} mean wait, tuned of easy": round(total(found) / total(usual), 3),
            f"{name} worst month, tuned of easy": round(worst_month(usual, found), 3),
            f"{name} trials": tuned.trial_count,
            f"{name} changes": len(tuned.changes),
            f"{name} bad policy left in force by trials with a queue": bad_trials(plugins, trace),
        }
    return figures


def waits(engine: Engine, trace: Trace, jobs: Sequence[TraceJob], expectations: Expectations) -> list[float]:
    """Of each job; NaN of those that never started."""
    replay = Replay(engine, Machine.pool(trace.processors), jobs, Foresight(expectations, CORRECTIONS["request"]))
    for _ in replay.run(EventOrder.TOGETHER):
        pass
    return [start_s - job.submit_s for start_s, job in zip(replay.start_s, jobs, strict=True)]


def monthly(jobs: Sequence[TraceJob], waits_s: Sequence[float]) -> dict[int, list[float]]:
    months: dict[int, list[float]] = defaultdict(list)
    for job, wait_s in zip(jobs, waits_s, strict=True):
        if wait_s == wait_s:
            months[int(job.submit_s // MONTH_S)].append(wait_s)
    return months


def total(months: dict[int, list[float]]) -> float:
    """The mean wait of all jobs in seconds."""
    return sum(sum(its) for its in months.values()) / sum(len(its) for its in months.values())


def worst_month(usual: dict[int, list[float]], found: dict[int, list[float]]) -> float:
    """The largest ratio of mean waits, of months in which anybody waited."""
    counted = [month for month, its in usual.items() if len(its) >= MONTH_JOBS_MIN and sum(its) > 0.0]
    return max((sum(found[month]) / sum(usual[month]) for month in counted), default=0.0)


def bad_trials(plugins: Plugins, trace: Trace) -> int:
    """How many trials with a queue that is long enough found the bad policy in force and left it there."""
    jobs = trace.jobs[:BAD_JOBS]
    easy = plugins.engine("easy")
    tuned = Tuned(
        Policies({"easy": easy, "bad": OneAtATime(easy)}, "easy", "bad"),
        lambda job_id: jobs[int(job_id)].user,
        EVERY_S,
        Bounds(),
    )
    watched = _Counting(tuned)
    waits(watched, trace, jobs, Expectations())
    return watched.count


class _Counting:
    """Plans with a tuned engine, and counts plans with a long queue after which the bad policy was still in force,
    each window once."""

    def __init__(self, tuned: Tuned) -> None:
        self._tuned = tuned
        self._trials = 0
        self.count = 0

    def plan(self, snapshot: Snapshot) -> Plan:
        is_long = sum(1 for _ in snapshot.pending()) >= Bounds().queue_min
        plan = self._tuned.plan(snapshot)
        if self._tuned.trial_count > self._trials:
            self._trials = self._tuned.trial_count
            self.count += is_long and self._tuned.policies.current == "bad"
        return plan


def parser() -> argparse.ArgumentParser:
    made = parser_of("tuning")
    made.add_argument("traces", nargs="+", metavar="TRACE", help="SWF files, plain or gzipped")
    made.add_argument("--estimates", default="ml", help="the predictor beside `tuned` (default: ml)")
    made.add_argument("--jobs", type=int, default=0, help="only so many of each trace (default: all)")
    return made


if __name__ == "__main__":
    run(__doc__, measure, parser())
