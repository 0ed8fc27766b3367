"""`hal top`: the cluster and its queue at a glance, live in place."""

from __future__ import annotations

import time
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, escaped
from hal_core.cli.queue import queue_lines
from hal_core.cli.screen import Line, show
from hal_core.client.http import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROWS_MIN, ROWS_MAX = 8, 200
HEAD_ROWS = 5
BAR_WIDTH = 30


def configure(parser: Parser) -> None:
    parser.add_argument("-u", "--user", metavar="USER", help="only jobs of these users (comma-separated)")


def run(console: Console, arguments: Namespace) -> int:
    def picture(columns: int, rows: int) -> list[Line]:
        room = min(max(rows, ROWS_MIN), ROWS_MAX) - HEAD_ROWS
        status = console.get("/v1/status").json()
        limit = max(room - 3, 2)
        running = console.get(query("/v1/jobs", state="RUNNING", user=arguments.user, limit=limit)).json()["jobs"]
        pending = console.get(query("/v1/jobs", state="PENDING", user=arguments.user, limit=limit)).json()["jobs"]
        kept = max(limit // 2, limit - len(pending))
        jobs = running[:kept] + [job for job in pending if job["state"] == "PENDING"]
        return head_lines(status, columns) + queue_lines(jobs[:limit], time.time(), columns)

    return show(console, picture)


def head_lines(status: dict[str, Any], columns: int) -> list[Line]:
    """The cluster in four lines and an empty one."""
    used, whole = status["cpu_count"] - status["cpus_free"], status["cpu_count"]
    nodes = ", ".join(f"{number} {kind}" for kind, number in status["nodes"].items()) or "none"
    drained = f", {status['drained_count']} drained" if status["drained_count"] else ""
    jobs = ", ".join(f"{number} {state.lower()}" for state, number in status["jobs"].items() if number) or "none"
    title = f"{escaped(status['cluster'])}, up {duration(status['time_s'] - status['started_time_s'])}"
    clock = time.strftime("%H:%M:%S", time.localtime(status["time_s"]))
    share = used / whole if whole else 0.0
    bar = "#" * round(BAR_WIDTH * share)
    busy = "" if status.get("cpus_busy") is None else f", {status['cpus_busy']:.1f} busy"
    return [
        (f"{title}{clock.rjust(max(columns - len(title), len(clock) + 1))}", "bold"),
        (f"CPUs   [{bar.ljust(BAR_WIDTH, '-')}] {100 * share:.0f} %, {used} of {whole} taken{busy}", ""),
        (f"Nodes  {nodes}{drained}", "yellow" if drained else ""),
        (f"Jobs   {jobs}" if status["is_accepting"] else f"New jobs are refused: {escaped(status['problem'])}", ""),
        ("", ""),
    ]
