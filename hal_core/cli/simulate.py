"""`hal simulate` and `hal replay`: what another policy would have done with a trace. Needs no daemon."""

from __future__ import annotations

import importlib
import json
import math
import os
from argparse import Namespace
from collections.abc import Sequence

from hal_core.cli.arguments import Parser, checked, count, whole_number
from hal_core.cli.console import Console
from hal_core.cli.formats import escaped, money
from hal_core.cli.usage import UsageError
from hal_core.models.plural import plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REPLICAS_MAX = 1000
TRACE_HELP = (
    "a workload: Standard Workload Format or `sacct -P` export (may be gzipped), the directory of HAL's journal, or a "
    "model such as lublin:jobs=10000,procs=256,seed=1"
)

POLICY_HELP = "an engine, or tuned: HAL chooses among engines; may be repeated (default: hal; see hal plugins)"


def configure(parser: Parser) -> None:
    parser.add_argument("traces", nargs="+", metavar="TRACE", help=TRACE_HELP)
    parser.add_argument(
        "--format",
        choices=("auto", "uppmax", "swim"),
        default="auto",
        help="of the traces: uppmax and swim name the files that jobs read; all others are told by their first bytes",
    )
    parser.add_argument(
        "--cluster", metavar="FILE", help="a configuration (default: one pool of as many processors as the trace says)"
    )
    parser.add_argument(
        "--data",
        choices=("blind", "authors", "cache"),
        help="simulate the files too: not told to the engine, in the nodes' memory, or in HAL's cache (docs: data)",
    )
    parser.add_argument("--with-cloud", metavar="FILE", help="prices and a pool: what would renting nodes have cost?")
    parser.add_argument(
        "--auto-memory", action="store_true", help="tell what it would have saved, had every job asked for it"
    )
    parser.add_argument(
        "--request-in-bytes",
        action="store_true",
        help="the requested memory of the trace is bytes of the whole job, not KiB of each processor as SWF says",
    )
    parser.add_argument("--policy", metavar="NAME", action="append", help=POLICY_HELP)
    parser.add_argument(
        "--estimates",
        metavar="NAME",
        default="requested",
        help="what run times are planned with: requested (the limit, default), perfect, last-two or another predictor",
    )
    parser.add_argument(
        "--correction",
        choices=("request", "incremental"),
        default="request",
        help="what is expected of a job that outlives its estimate: its limit (default), or more and more",
    )
    parser.add_argument(
        "--event-order",
        choices=("together", "one-by-one"),
        default="together",
        help="one pass for all that happens at one instant (default), or one after each event",
    )
    parser.add_argument(
        "--shake",
        metavar="SECONDS",
        type=checked(seconds),
        default=0.0,
        help="move submissions by up to so much at random, in all replicas but the first",
    )
    parser.add_argument("--replicas", metavar="N", type=checked(replicas), default=1, help="so many (default: 1)")
    parser.add_argument("--seed", metavar="N", type=checked(whole_number), default=0, help="of --shake (default: 0)")
    _configure_output(parser)


def _configure_output(parser: Parser) -> None:
    parser.add_argument("--jobs-csv", metavar="FILE", help="write each job's wait there (several runs: several files)")
    parser.add_argument("--report", metavar="FILE.html", help="draw everything on one page that needs nothing else")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON (docs: how-to/replay)")
    parser.add_argument(
        "--timezone",
        metavar="NAME",
        help="of local times in Slurm's exports, such as UTC (default: this machine's)",
    )
    parser.add_argument("--lenient", action="store_true", help="exit with 0 even if over 1 %% of the lines are bad")
    parser.add_argument(
        "--verify", action="store_true", help="for HAL's journal: does the engine decide again what it decided then?"
    )


def run(console: Console, arguments: Namespace) -> int:
    if arguments.verify:
        return _verify(console, arguments)
    for option, path in (("--report", arguments.report), ("--jobs-csv", arguments.jobs_csv)):
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise UsageError(f"{option}: there is no directory {os.path.dirname(path)}; make it first")
    if (arguments.replicas > 1) != (arguments.shake > 0):
        missing = "--shake SECONDS" if arguments.replicas > 1 else "--replicas N"
        console.note(f"without {missing} every run is that of the trace as it is")
    if arguments.with_cloud and (arguments.data or arguments.event_order != "together"):
        other = "--data" if arguments.data else "--event-order one-by-one"
        raise UsageError(f"--with-cloud and {other} cannot be simulated together; leave one of them out")
    arguments.policy = list(dict.fromkeys(arguments.policy or ["hal"]))
    outcome = importlib.import_module("hal_core.simulate").simulate(arguments, console)
    if arguments.json:
        console.write(json.dumps({"runs": [run.as_dict() for run in outcome.runs]}, indent=2))
    else:
        _print_runs(console, outcome.runs)
        for each in outcome.runs if arguments.auto_memory else ():
            console.line(escaped(memory_text(each)))
        for each in outcome.runs if arguments.with_cloud else ():
            console.line(escaped(cloud_text(each)))
    if arguments.report:
        console.note(f"the report is in {arguments.report}")
    if outcome.bad_traces and not arguments.lenient:
        console.note(f"more than 1 % of the lines are bad in {', '.join(outcome.bad_traces)} (--lenient: go on)")
        return 1
    return 0


def _print_runs(console: Console, runs: Sequence[Any]) -> None:
    heads = ("TRACE", "POLICY", "REPLICA", "JOBS", "SKIPPED", "SLOWDOWN", "MEAN WAIT", "P95 WAIT", "MAX WAIT", "USED")
    rows = []
    for each in runs:
        figures = each.figures
        waits = (f"{value:.0f} s" for value in (figures.mean_wait_s, figures.p95_wait_s, figures.max_wait_s))
        counts = (str(each.replica), str(figures.jobs), str(each.skipped))
        slowdown, used = f"{figures.avg_bounded_slowdown:.2f}", f"{figures.utilization:.1%}"
        rows.append((each.trace.rpartition("/")[2], each.policy, *counts, slowdown, *waits, used))
    console.table(heads, rows, right=(False, False, *[True] * 8))


def cloud_text(run: Any) -> str:
    """What renting nodes would have cost, and what came of it."""
    found = run.cloud
    missed = f"; {plural(found.deadlines_missed, 'deadline')} missed" if found.deadlines_missed else ""
    by_account = ", ".join(f"{account} {money(amount)}" for account, amount in found.spend_by_account.items())
    return (
        f"{run.trace.rpartition('/')[2]}: {run.policy}: {money(found.spend)} spent on "
        f"{plural(found.instances, 'instance')}{f', by account: {by_account}' if by_account else ''}; "
        f"nine in ten jobs waited {found.p90_wait_s:.0f} s or less{missed}"
    )


def memory_text(run: Any) -> str:
    """What `--auto-memory` would have saved, and what it would have cost."""
    found = run.memory
    return (
        f"{run.trace.rpartition('/')[2]}: {run.policy}: of {plural(found.job_count, 'job')} "
        f"{found.sized_share:.1%} would have begun with less memory: over-asking {found.saved_share:.1%} less, "
        f"{found.out_of_memory_share:.2%} more ends out of memory ({plural(found.peak_count, 'different peak')})"
    )


def _verify(console: Console, arguments: Namespace) -> int:
    """Exit code 0 if every decision was repeated."""
    verdicts = importlib.import_module("hal_core.simulate.verifying").verify(arguments)
    if arguments.json:
        found = {
            name: {
                "events": verdict.event_count,
                "passes": verdict.pass_count,
                "starts": verdict.start_count,
                "promises": verdict.promise_count,
                "differences": [str(each) for each in verdict.differences],
            }
            for name, verdict in verdicts.items()
        }
        console.write(json.dumps({"journals": found}, indent=2))
    for name, verdict in verdicts.items() if not arguments.json else ():
        counts = f"{verdict.pass_count} passes, {verdict.start_count} starts, {verdict.promise_count} promises"
        answer = f"{len(verdict.differences)} differ" if verdict.differences else "all decided again as they were"
        console.line(escaped(f"{name}: {plural(verdict.event_count, 'event')}, {counts}: {answer}"))
        for each in verdict.differences:
            console.line(escaped(f"  {each}"))
    return 1 if any(verdict.differences for verdict in verdicts.values()) else 0


def seconds(text: str) -> float:
    """A finite number of seconds from 0. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{text!r}: give 0 or more seconds")
    return value


def replicas(text: str) -> int:
    number = count(text)
    if number > REPLICAS_MAX:
        raise ValueError(f"{number} are too many; give up to {REPLICAS_MAX}")
    return number
