"""`hal tune`: which policy is in force, what HAL changed by itself and why, and what that was expected to gain."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, escaped, instant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def configure(parser: Parser) -> None:
    parser.add_argument("--report", action="store_true", help="what was changed, when and why, and what it gained")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    answer = console.get("/v1/tuning")
    if arguments.json:
        console.body(answer)
        return 0
    found = answer.json()
    console.line(escaped(summary(found)))
    if arguments.report:
        print_changes(console, found["changes"])
    return 0


def summary(found: dict[str, Any]) -> str:
    """One sentence."""
    if not found["engines"]:
        return f"{found['configured']} plans, as configured; nothing is tried beside it (see `tuning`)"
    configured = "as configured" if found["policy"] == found["configured"] else f"instead of {found['configured']}"
    others = ", ".join(found["engines"])
    return f"{found['policy']} plans, {configured}; tried every {duration(found['every_s'])}: {others}"


def print_changes(console: Console, changes: list[dict[str, Any]]) -> None:
    rows = [
        (instant(each["time_s"]), each["before"], each["policy"], f"{each['gain']:.0%}", each["reason"])
        for each in changes
    ]
    console.table(("TIME", "FROM", "TO", "GAIN", "BECAUSE"), rows, (False, False, False, True, False))
    if not changes:
        console.note("nothing was changed yet")
