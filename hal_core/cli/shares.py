"""`hal shares`: who shares the cluster, by how much, what each has used; `hal limits`: what is limited, and how far."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def configure(parser: Parser) -> None:
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    answer = console.get(f"/v1/{arguments.command}")
    if arguments.json:
        console.body(answer)
    elif arguments.command == "limits":
        print_limits(console, answer.json()["limits"])
    else:
        print_shares(console, answer.json()["shares"])
    return 0


def print_shares(console: Console, shares: list[dict[str, Any]]) -> None:
    rows: list[tuple[str, ...]] = [
        (
            "  " * each["depth"] + (each["user"] or each["account"]),
            str(each["shares"]), percent(each["share"]), percent(each["used"]),
            f"{each['cpu_s'] / 3600:.1f}", f"{each['gpu_s'] / 3600:.1f}", f"{each['factor']:.3f}",
        )
        for each in shares
    ]  # fmt: skip
    heads: tuple[str, ...] = ("ACCOUNT OR USER", "SHARES", "SHARE", "USED", "CPU HOURS", "GPU HOURS", "FACTOR")
    if any(each["elastic_share"] for each in shares):
        heads += ("ELASTIC", "CPUS", "PART")
        rows = [(*row, *elastic(each)) for row, each in zip(rows, shares, strict=True)]
    console.table(heads, rows, (False, *[True] * (len(heads) - 1)))
    if not shares:
        console.note("no accounts are configured, and nobody has used anything yet")


def elastic(share: dict[str, Any]) -> tuple[str, str, str]:
    """How many elements of elastic jobs somebody has, how many CPUs, and what part of all such CPUs is theirs."""
    if not share["elastic_share"]:
        return "", "", ""
    return str(share["elastic_running"]), str(share["elastic_cpus"]), percent(share["elastic_share"])


def print_limits(console: Console, limits: list[dict[str, Any]]) -> None:
    rows = [
        (
            each["scope"], each["user"] or "all together", each["name"],
            "no end" if each["current"] is None else f"{each['current']:.10g}", str(each["most"]),
        )
        for each in limits
    ]  # fmt: skip
    colours = ["red" if each["current"] is None or each["current"] >= each["most"] else "" for each in limits]
    console.table(("SCOPE", "USER", "LIMIT", "NOW", "MOST"), rows, (False, False, False, True, True), colours)
    if not limits:
        console.note("nothing is limited, or nobody limited has submitted anything yet")


def percent(part: float) -> str:
    return f"{100 * part:.1f}%"
