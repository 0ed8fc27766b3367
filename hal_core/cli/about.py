"""`hal status` and `hal plugins`: what the daemon says about itself."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, escaped, instant, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def configure(parser: Parser) -> None:
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    answer = console.get(f"/v1/{arguments.command}")
    if arguments.json:
        console.body(answer)
    elif arguments.command == "status":
        print_status(console, answer.json())
    else:
        print_plugins(console, answer.json())
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


def print_plugins(console: Console, body: dict[str, Any]) -> None:
    rows = [
        (
            each["name"], each["status"], each["distribution"], each["version"],
            ", ".join(f"{part['plane']} {part['name']}" for part in each["provides"]) or "-",
            each["reason"] or each["summary"],
        )
        for each in body["plugins"]
    ]  # fmt: skip
    colours = ["red" if each["status"] == "broken" else "" for each in body["plugins"]]
    console.table(("NAME", "STATUS", "DISTRIBUTION", "VERSION", "PROVIDES", "NOTE"), rows, (), colours)
    not_yet = [f"  {each['name']}: {text}" for each in body["plugins"] for text in each["not_yet"]]
    if not_yet:
        console.line()
        console.line("Not yet:", "bold")
    for line in not_yet:
        console.line(escaped(line))
