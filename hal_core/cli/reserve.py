"""`hal reserve`: keep nodes for some users or accounts, or for maintenance; list what is kept, and give it back."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, instant, pairs
from hal_core.cli.nodes import expanded
from hal_core.cli.usage import UsageError
from hal_core.client.http import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTIONS = ("ls", "add", "show", "rm")
USAGES = {
    "reserve": "hal reserve [ls] [--json]\n"
    "       hal reserve add NAME --nodes NODES|COUNT --start TIME --duration TIME\n"
    "                       (--users USER,... | --accounts NAME,... | --maintenance)\n"
    "                       [--every TIME [--until TIME]] [--partition NAME] [--ignore-jobs] [--comment TEXT]\n"
    "       hal reserve show NAME\n"
    "       hal reserve rm NAME..."
}
ADD_OPTIONS = ("nodes", "start", "duration", "every", "until", "users", "accounts", "partition", "comment")


def configure(parser: Parser) -> None:
    parser.add_argument("action", nargs="?", metavar="ACTION", default="ls", help="ls (default), add, show or rm")
    parser.add_argument("names", nargs="*", metavar="NAME", help="the reservation")
    parser.add_argument("-N", "--nodes", metavar="NODES", help="n[1-4], or how many of a partition: HAL chooses then")
    parser.add_argument("-s", "--start", metavar="TIME", help="now, now+2h, 18:00, 2030-01-31T16:30")
    parser.add_argument("-d", "--duration", metavar="TIME", help="how long it lasts: 90m, 2h, 1d")
    parser.add_argument("--every", metavar="TIME", help="again and again, from start to start: 1d, 1w")
    parser.add_argument("--until", metavar="TIME", help="it does not begin again from then on")
    parser.add_argument("-u", "--users", metavar="USER,...", help="whose jobs may run there, if they name it")
    parser.add_argument("-A", "--accounts", metavar="NAME,...", help="jobs of these accounts, likewise")
    parser.add_argument("--maintenance", action="store_true", help="nobody's jobs may run there then")
    parser.add_argument("-p", "--partition", metavar="NAME", help="where the COUNT nodes are chosen")
    parser.add_argument("--ignore-jobs", action="store_true", help="what runs there now may run on into it")
    parser.add_argument("--comment", metavar="TEXT", help="what it is for")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    action = arguments.action
    if action not in ACTIONS:
        raise UsageError(f"reserve has no action {action!r}; it has {', '.join(ACTIONS)}")
    given = [name for name in (*ADD_OPTIONS, "maintenance", "ignore_jobs") if getattr(arguments, name)]
    if action != "add" and given:
        raise UsageError(f"{action} takes no --{given[0].replace('_', '-')}; it is for `hal reserve add`")
    if action == "ls":
        if arguments.names:
            raise UsageError("ls takes no names; use: hal reserve show NAME")
        return list_all(console, arguments)
    if not arguments.names or (action != "rm" and len(arguments.names) > 1):
        raise UsageError(f"{action} needs the name of one reservation")
    if action == "rm":
        for name in arguments.names:
            answer = console.post(f"/v1/reservations/{quoted(name)}/remove", {})
            console.body(answer) if arguments.json else console.line(f"reservation {name}: removed")
        return 0
    if action == "show":
        answer = console.get(f"/v1/reservations/{quoted(arguments.names[0])}")
    else:
        answer = console.post("/v1/reservations", request(arguments))
    if arguments.json:
        console.body(answer)
    else:
        for line in pairs(rows(answer.json())):
            console.line(line)
    return 0


def request(arguments: Namespace) -> dict[str, Any]:
    """The body of POST /v1/reservations. What is missing is said here, where the option can be named."""
    missing = [f"--{name}" for name in ("nodes", "start", "duration") if not getattr(arguments, name)]
    if missing:
        raise UsageError(f"add needs {', '.join(missing)}")
    body: dict[str, Any] = {"name": arguments.names[0], "is_maintenance": arguments.maintenance}
    body["does_ignore_jobs"] = arguments.ignore_jobs
    for name in ("start", "duration", "every", "until", "partition", "comment"):
        if getattr(arguments, name):
            body[name] = getattr(arguments, name)
    for name in ("users", "accounts"):
        if getattr(arguments, name):
            body[name] = [part for part in getattr(arguments, name).split(",") if part]
    if arguments.nodes.isdecimal() and arguments.nodes.isascii():
        body["node_count"] = int(arguments.nodes[:9])
    else:
        body["nodes"] = expanded([arguments.nodes])
    return body


def whom(reservation: dict[str, Any]) -> str:
    if reservation["is_maintenance"]:
        return "nobody (maintenance)"
    return ", ".join([*reservation["users"], *(f"account {name}" for name in reservation["accounts"])])


def nodes_text(names: list[str]) -> str:
    from hal_core.config.scalars import HOSTS

    return HOSTS.show(names)


def state_text(reservation: dict[str, Any]) -> str:
    if reservation["start_time_s"] is None:
        return "over"
    return "active" if reservation["is_active"] else "waiting"


def list_all(console: Console, arguments: Namespace) -> int:
    answer = console.get("/v1/reservations")
    if arguments.json:
        console.body(answer)
        return 0
    found = [
        (
            each["name"],
            state_text(each),
            instant(each["start_time_s"]),
            duration(each["duration_s"]),
            duration(each["every_s"]) if each["every_s"] else "-",
            whom(each),
            nodes_text(each["nodes"]),
        )
        for each in answer.json()["reservations"]
    ]
    console.table(("NAME", "STATE", "START", "DURATION", "EVERY", "FOR", "NODES"), found)
    return 0


def rows(reservation: dict[str, Any]) -> list[tuple[str, str]]:
    every_s, until_s = reservation["every_s"], reservation["until_s"]
    values = [
        ("Reservation", reservation["name"]),
        ("State", state_text(reservation)),
        ("For", whom(reservation)),
        ("Start", instant(reservation["start_time_s"])),
        ("End", instant(reservation["end_time_s"])),
        ("Every", duration(every_s) if every_s else ""),
        ("Until", instant(until_s) if until_s is not None else ""),
        ("Nodes", nodes_text(reservation["nodes"])),
        ("Comment", reservation["comment"]),
        ("By", reservation["by"] or "the configuration"),
    ]
    return [(label, value) for label, value in values if value not in ("", "-")]
