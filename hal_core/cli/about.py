"""`hal status`: what the daemon says about itself, at a glance."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, instant, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def configure(parser: Parser) -> None:
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    answer = console.get("/v1/status")
    if arguments.json:
        console.body(answer)
    else:
        print_status(console, answer.json())
    return 0


def print_status(console: Console, status: dict[str, Any]) -> None:
    nodes = ", ".join(f"{number} {kind}" for kind, number in status["nodes"].items()) or "none"
    if status["drained_count"]:
        nodes += f", {status['drained_count']} drained"
    caller = status["caller"]
    values = [
        ("Cluster", status["cluster"]),
        ("Version", status["version"]),
        ("Up since", f"{instant(status['started_time_s'])} ({duration(status['time_s'] - status['started_time_s'])})"),
        ("Nodes", nodes),
        ("CPUs free", f"{status['cpus_free']}/{status['cpu_count']}"),
        ("Jobs", ", ".join(f"{number} {state}" for state, number in status["jobs"].items() if number) or "none"),
        ("Events", str(status["sequence"])),
        ("You are", f"{caller['user']} ({caller['uid']}), {caller['role']}"),
        ("New jobs", "accepted" if status["is_accepting"] else f"refused: {status['problem']}"),
    ]
    for line in pairs(values):
        console.line(line)
