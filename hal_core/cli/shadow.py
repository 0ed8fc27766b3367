"""`hal shadow`: follow another scheduler, change nothing there, and say what HAL would have done. Needs no daemon."""

from __future__ import annotations

import importlib
import json
import os
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, escaped, instant
from hal_core.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ACTIONS = ("follow", "report")
USAGES = {
    "shadow": "hal shadow follow CLUSTER RECORD [--executor NAME] [--every TIME] [--for TIME]\n"
    "       hal shadow report CLUSTER RECORD [--report FILE.html] [--json]"
}
OF_FOLLOW = {"executor": "--executor", "length": "--for"}
OF_REPORT = {"report": "--report", "json": "--json"}


def configure(parser: Parser) -> None:
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help="follow or report")
    parser.add_argument("cluster", metavar="CLUSTER", help="HAL's configuration for those nodes, with their executor")
    parser.add_argument("record", metavar="RECORD", help="the file that `follow` adds to and `report` reads")
    parser.add_argument("--executor", metavar="NAME", help="which is followed, if there are several")
    parser.add_argument("--every", metavar="TIME", default="30s", help="a look so often (default: 30s)")
    parser.add_argument("--for", dest="length", metavar="TIME", help="stop after: 12h, 7d")
    parser.add_argument("--report", metavar="FILE.html", help="draw everything on one page that needs nothing else")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON (docs: how-to/shadow-a-slurm)")


def run(console: Console, arguments: Namespace) -> int:
    foreign = OF_REPORT if arguments.action == "follow" else OF_FOLLOW
    given = [option for name, option in foreign.items() if getattr(arguments, name)]
    if given:
        other = "report" if arguments.action == "follow" else "follow"
        raise UsageError(f"{arguments.action} takes no {given[0]}; it is for `hal shadow {other}`")
    shadow: Any = importlib.import_module("hal_core.shadow")
    if arguments.action == "follow":
        pace = shadow.Pace.of(arguments.every, arguments.length)
        shadow.follow(arguments.cluster, arguments.record, arguments.executor, pace, console)
        return 0
    if arguments.report and not os.path.isdir(os.path.dirname(arguments.report) or "."):
        raise UsageError(f"--report: there is no directory {os.path.dirname(arguments.report)}; make it first")
    found = shadow.report(arguments.cluster, arguments.record, console)
    if arguments.json:
        console.write(json.dumps(found.as_dict(), indent=2))
    else:
        _print(console, found)
    if arguments.report:
        shadow.write_page(arguments.report, found)
        console.note(f"the report is in {arguments.report}")
    return 0


def _print(console: Console, found: Any) -> None:
    span = f"{instant(found.begin_s)} to {instant(found.end_s)}"
    gaps = f", with {len(found.gaps)} gaps" if found.gaps else ""
    settled = f"{found.settled} of {found.total.count} settled"
    console.line(escaped(f"{found.scheduler}, {span}{gaps}: what HAL would have done ({settled})"))
    name = found.scheduler.upper()
    heads = ("JOBS OF", "JOBS", f"{name} MEAN", "HAL MEAN", f"{name} P95", "HAL P95", "SOONER", "LATER", "SAME")
    rows = [_row("all", found.total)]
    for what in ("user", "partition", "reason"):
        rows += [_row(f"{what} {each.name}", each) for each in getattr(found, f"by_{what}")]
    console.table(heads, rows, right=(False, *[True] * 8))
    if found.largest:
        console.line("The largest differences:", "bold")
        console.table(("JOB", "USER", "PARTITION", f"{name} WAIT", "HAL WAIT", "WHY IT WAITED"), _jobs(found.largest))
    for why, count in sorted(found.left_out.items()):
        console.note(f"not compared: {count} ({why})")


def _row(name: str, group: Any) -> tuple[str, ...]:
    waits = map(duration, (group.foreign.mean, group.hal.mean, group.foreign.p95, group.hal.p95))
    counts = (group.sooner, group.later, group.count - group.sooner - group.later)
    return (escaped(name), str(group.count), *waits, *map(str, counts))


def _jobs(jobs: Iterable[Any]) -> list[tuple[str, ...]]:
    return [
        (
            *map(escaped, (job.job, job.user, job.partition)),
            *map(duration, (job.foreign_s, job.hal_s)),
            escaped(job.reason),
        )
        for job in jobs
    ]
