"""`hal simulate`: what another policy would have done with a trace. Needs no daemon."""

from __future__ import annotations

import importlib
import json
import math
from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, count, whole_number
from hal_core.cli.console import Console

REPLICAS_MAX = 1000


def configure(parser: Parser) -> None:
    parser.add_argument(
        "traces", nargs="+", metavar="TRACE", help="a workload in the Standard Workload Format, may be gzipped"
    )
    parser.add_argument(
        "--cluster", metavar="FILE", help="a configuration (default: one pool of as many processors as the trace says)"
    )
    parser.add_argument(
        "--policy", metavar="NAME", action="append", help="an engine; may be repeated (default: easy; see hal plugins)"
    )
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
    parser.add_argument("--jobs-csv", metavar="FILE", help="write each job's wait there (several runs: several files)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON (docs: how-to/replay)")


def run(console: Console, arguments: Namespace) -> int:
    arguments.policy = list(dict.fromkeys(arguments.policy or ["easy"]))
    runs = importlib.import_module("hal_core.simulate").simulate(arguments, console)
    if arguments.json:
        console.write(json.dumps({"runs": [run.as_dict() for run in runs]}, indent=2))
        return 0
    heads = ("TRACE", "POLICY", "REPLICA", "JOBS", "SKIPPED", "SLOWDOWN", "MEAN WAIT", "P95 WAIT", "MAX WAIT", "USED")
    rows = []
    for each in runs:
        figures = each.figures
        waits = (f"{value:.0f} s" for value in (figures.mean_wait_s, figures.p95_wait_s, figures.max_wait_s))
        counts = (str(each.replica), str(figures.jobs), str(each.skipped))
        slowdown, used = f"{figures.avg_bounded_slowdown:.2f}", f"{figures.utilization:.1%}"
        rows.append((each.trace.rpartition("/")[2], each.policy, *counts, slowdown, *waits, used))
    console.table(heads, rows, right=(False, False, *[True] * 8))
    return 0


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
