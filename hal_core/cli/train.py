"""`hal train`: let a predictor learn from a history, so that it need not start from nothing. Needs no daemon."""

from __future__ import annotations

import importlib
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import escaped
from hal_core.cli.simulate import TRACE_HELP
from hal_core.models.plural import plural


def configure(parser: Parser) -> None:
    parser.add_argument("--from", dest="history", metavar="TRACE", required=True, help=TRACE_HELP)
    parser.add_argument("--to", metavar="FILE", required=True, help="where to write what was learned")
    parser.add_argument("--predictor", metavar="NAME", default="ml", help="who learns (default: ml; see hal plugins)")
    parser.add_argument(
        "--timezone", metavar="NAME", help="of local times in Slurm's exports, such as UTC (default: this machine's)"
    )


def run(console: Console, arguments: Namespace) -> int:
    training = importlib.import_module("hal_core.simulate.training").train(arguments)
    own, limits = training.scores, training.limit_scores
    console.line(
        f"learned from {plural(training.job_count, 'job')}; {training.byte_count} bytes are in {escaped(arguments.to)}"
    )
    console.line(
        f"on the way: pinball loss {own.pinball:.0f} s (limits: {limits.pinball:.0f} s), "
        f"{own.runtime_p90_coverage:.1%} of the jobs ran no longer than their p90"
    )
    console.line(f"to use it: predictors: {{{escaped(arguments.predictor)}: {{warm_start: {escaped(arguments.to)}}}}}")
    return 0
