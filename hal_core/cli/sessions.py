"""`hal sessions` and `hal session`: the user's sessions at a glance, one in detail, and how to end one."""

from __future__ import annotations

import json
from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, count, signed, whole_number
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, instant, money, pairs
from hal_core.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hal_core.wire.sessions import Figures, HostFigures, TagFigures

USAGES = {"session": "hal session show|drain|cancel|set ID... [OPTION...]"}
LIFE_SHOWN = 10
"""What happened last; all that is kept is in the JSON."""
ACTIONS = ("show", "drain", "cancel", "set")


def configure(parser: Parser) -> None:
    if parser.command == "session":
        actions = "show, drain (end after its tasks), cancel (end now) or set"
        parser.add_argument("action", metavar="ACTION", help=actions)
        parser.add_argument("sessions", nargs="+", metavar="ID", help="sessions; the first letters are enough")
        parser.add_argument("--tag", default="", help="with cancel and set: only the tasks that have it")
        parser.add_argument("--priority", type=checked(signed), metavar="N", help="with set: larger is earlier")
        parser.add_argument("--min-workers", type=checked(whole_number), metavar="N", help="with set: in any case")
        parser.add_argument("--max-workers", type=checked(count), metavar="N", help="with set: when there is room")
        parser.add_argument(
            "--weight", type=checked(count), metavar="N", help="with set: of those it has only when there is room"
        )
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    from hal_core.client import session_visit

    if arguments.command == "sessions":
        found = list(session_visit.visit_all(console.environ))
        rows = [(name, state_of(console, name, each), each, spent(each)) for name, each in found]
        print_all(console, rows, arguments.json)
        return 0
    if arguments.action not in ACTIONS:
        from hal_core.errors import did_you_mean

        given = arguments.action
        raise UsageError(f"session has no action {given!r}{did_you_mean(given, ACTIONS)}; it has {', '.join(ACTIONS)}")
    check_options(arguments)
    from hal_core.wire.sessions import Adjust

    environ, tag = console.environ, arguments.tag
    for name in arguments.sessions:
        match arguments.action:
            case "show":
                session, figures = session_visit.visit(environ, name)
                print_one(console, (session, figures, session_visit.life(environ, session)), arguments.json)
            case "drain":
                console.line(f"{session_visit.drain(environ, name)} drains")
            case "cancel" if tag:
                console.line(f"{session_visit.cancel_tag(environ, name, tag)} has no tasks of tag {tag} left")
            case "cancel":
                console.line(f"{session_visit.cancel(environ, name)} cancelled")
            case "set" if not tag:
                wanted = Adjust(arguments.priority, arguments.min_workers, arguments.max_workers, arguments.weight)
                done, text = session_visit.adjust(environ, name, wanted)
                console.line(f"{done} has {text}")
            case "set":
                done = session_visit.set_priority(environ, name, arguments.priority, tag)
                console.line(f"{done} has priority {arguments.priority} for tag {tag}")
    return 0


def check_options(arguments: Namespace) -> None:
    """Raises UsageError for options that the action does not have."""
    action = arguments.action
    if arguments.tag and action not in ("cancel", "set"):
        raise UsageError(f"session {action} takes no --tag; cancel and set do")
    options = ("priority", "min_workers", "max_workers", "weight")
    given = [f"--{name.replace('_', '-')}" for name in options if getattr(arguments, name) is not None]
    if given and action != "set":
        raise UsageError(f"session {action} takes no {given[0]}; set does")
    if action == "set" and arguments.tag and given != ["--priority"]:
        raise UsageError("session set takes --priority with --tag, and nothing else: workers have no tags")
    if action == "set" and not given:
        raise UsageError("session set needs one or more of --priority, --min-workers, --max-workers and --weight")


def state_of(console: Console, name: str, figures: Figures | None) -> str:
    """`silent`: there is a broker, but it does not answer."""
    from hal_core.client.session_visit import has_broker

    if figures is not None:
        return "runs"
    return "silent" if has_broker(console.environ, name) else "stopped"


def print_all(console: Console, found: list[tuple[str, str, Figures | None, float | None]], is_json: bool) -> None:
    if is_json:
        console.write(json.dumps({"sessions": [record(*each) for each in found]}))
        return
    rows = []
    for name, state, figures, cost in found:
        if figures is None:
            rows.append((name, state, *["-"] * 8))
        else:
            rows.append(
                (name, state, str(figures.worker_count), str(figures.waiting_count), str(figures.running_count),
                 str(figures.done_count), str(figures.failed_count), f"{figures.rate_per_s:.0f}/s", left(figures),
                 money(cost))
            )  # fmt: skip
    heads = ("SESSION", "STATE", "WORKERS", "WAITING", "RUNNING", "DONE", "FAILED", "RATE", "LEFT", "COST")
    console.table(heads, rows, [False, False] + [True] * 8)


def print_one(console: Console, found: tuple[str, Figures | None, list[dict[str, Any]]], is_json: bool) -> None:
    """One session: its id, figures and life."""
    name, figures, life = found
    state = state_of(console, name, figures)
    if is_json:
        console.write(json.dumps(record(name, state, figures, spent(figures)) | {"life": life}))
        return
    values = [("Session", name), ("State", state)]
    if figures is not None:
        values += [("Trouble", f"it {figures.trouble}")] if figures.trouble else []
        values += [
            ("Workers", workers_text(figures)),
            ("Tasks", f"{figures.waiting_count} wait, {figures.running_count} run"),
            ("Done", f"{figures.done_count}, {figures.failed_count} failed, {figures.dropped_count} dropped"),
            ("Again", f"{figures.retried_count} after an error, {figures.lost_count} after the loss of a worker"),
            ("Rate", f"{figures.rate_per_s:.0f}/s"),
            ("Left", left(figures)),
            ("Cost", money(spent(figures))),
        ]
        values += [(f"Node {each.name}", host_text(each)) for each in figures.hosts]
        values += [(f"Tag {tag}", tag_text(each)) for tag, each in sorted(figures.tags.items())]
    from hal_core.models.session_words import change_text

    for at, change in enumerate(life[-LIFE_SHOWN:]):
        values.append(("" if at else "Life", f"{instant(change['time_s'])} {change_text(change)}"))
    for line in pairs(values):
        console.line(line)


def workers_text(figures: Figures) -> str:
    """`5 (2 to 64, weight 3)`."""
    least, most = figures.worker_count_min, figures.worker_count_max
    size = f"{least} to {most}" if least < most else str(most)
    weight = f", weight {figures.weight}" if figures.weight else ""
    return f"{figures.worker_count} ({size}{weight})" if most else str(figures.worker_count)


def tag_text(figures: TagFigures) -> str:
    done, failed = figures.done_count, figures.failed_count
    return f"{figures.left_count} left, {done} done, {failed} failed, {figures.dropped_count} dropped"


def host_text(figures: HostFigures) -> str:
    done = f"{figures.worker_count} workers, {figures.done_count} done, {figures.failed_count} failed"
    if not figures.blocked_why:
        return done
    return f"{done}; {'on probation' if figures.is_on_probation else 'blocked'}: {figures.blocked_why}"


def spent(figures: Figures | None) -> float | None:
    """What the jobs of its workers have cost so far. None if it has none, or their daemon does not tell."""
    if figures is None or not figures.job_ids:
        return None
    from hal_core.client.transport import Connection, NoAnswer, Rejected

    connection = Connection(figures.server)
    try:
        receipts = [connection.request("GET", f"/v1/jobs/{job_id}/receipt").json() for job_id in figures.job_ids]
    except (NoAnswer, Rejected):
        return None
    finally:
        connection.close()
    return float(sum(receipt["money"] for receipt in receipts))


def left(figures: Figures) -> str:
    """How long it will take at this rate."""
    return duration(
        (figures.waiting_count + figures.running_count) / figures.rate_per_s if figures.rate_per_s else None
    )


def record(name: str, state: str, figures: Figures | None, cost: float | None) -> dict[str, Any]:
    """`cost` is `money` in it."""
    if figures is None:
        return {"session": name, "state": state, "is_running": False}
    tags = {tag: fields(each) for tag, each in figures.tags.items()}
    hosts = [fields(each) for each in figures.hosts]
    return {"is_running": True, "state": state, **fields(figures), "tags": tags, "hosts": hosts, "money": cost}


def fields(struct: Figures | TagFigures | HostFigures) -> dict[str, Any]:
    return {field: getattr(struct, field) for field in struct.__struct_fields__}
