"""`hal queue`: the jobs that run or wait, and why. Also the reading of pages, which `hal history` shares."""

from __future__ import annotations

import json
import time
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import PAGE_MAX, Console, own_name
from hal_core.cli.formats import duration, instant, table
from hal_core.cli.usage import UsageError
from hal_core.cli.waiting import ended_count, reason_text
from hal_core.client.http import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARRAY_WIDTH_MAX = 24
STATE_COLOURS = {"RUNNING": "green", "FAILED": "red", "TIMEOUT": "red", "CANCELLED": "yellow", "SUSPENDED": "yellow"}


def configure(parser: Parser) -> None:
    parser.add_filters()
    parser.add_argument("--watch", action="store_true", help="keep showing it, in place, until q is pressed")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    if arguments.watch:
        return watch(console, arguments)
    body = pages(console, "/v1/jobs", "jobs", filters_of(arguments), arguments)
    if arguments.json:
        console.line(json.dumps(body))
        return 0
    print_queue(console, body["jobs"], time.time())
    tell_rest(console, body, len(body["jobs"]))
    return 0


def watch(console: Console, arguments: Namespace) -> int:
    """The head of the queue, as much as there is room for."""
    from hal_core.cli.screen import Line, show

    if arguments.json or arguments.all:
        raise UsageError("--watch goes with neither --json nor --all")
    filters = filters_of(arguments)

    def picture(columns: int, rows: int) -> list[Line]:
        limit = min(max(rows - 1, 1), arguments.limit)
        jobs = console.get(query("/v1/jobs", **filters, limit=limit)).json()["jobs"]
        return queue_lines(jobs, time.time(), columns)

    return show(console, picture)


def queue_lines(jobs: list[dict[str, Any]], now_s: float, columns: int) -> list[tuple[str, str]]:
    """The queue within so many columns: (line, colour). Long names are cut, and so is the end of a line."""
    heads = ("JOB", "NAME", "USER", "STATE", "TIME", "NODES", "WHERE OR WHY NOT")
    name_width = min(max((columns - 40) // 3, 8), 20)  # The reason needs the room more.
    rows = [
        (
            short(job_text(job), 14), short(job["name"], name_width), short(job["user"], 10), job["state"],
            duration(now_s - job["start_time_s"] if job["start_time_s"] and job["state"] != "PENDING" else None),
            str(job["node_count"]), where(job),
        )
        for job in jobs
    ]  # fmt: skip
    head, *lines = table(heads, rows, (False, False, False, False, True, True))
    colours = [STATE_COLOURS.get(job["state"], "") for job in jobs]
    return [(head[:columns], "bold"), *((line[:columns], colour) for line, colour in zip(lines, colours, strict=True))]


def short(text: str, width: int) -> str:
    """Its beginning, if there is more of it; never with half an escape at its end."""
    return text if len(text) <= width else text[: width - 1] + "…"


def filters_of(arguments: Namespace) -> dict[str, object]:
    """The query parameters of the options from `Parser.add_filters`."""
    if arguments.me and arguments.user:
        raise UsageError("--me and --user exclude each other")
    return {
        "state": arguments.state,
        "user": own_name() if arguments.me else arguments.user,
        "partition": arguments.partition,
        "name": arguments.name,
    }


def tell_rest(console: Console, body: dict[str, Any], count: int) -> None:
    if body["next_cursor"] is not None:
        console.note(f"there is more than these {count}; --all shows all, --limit N so many")


def pages(console: Console, path: str, field: str, filters: dict[str, object], arguments: Namespace) -> dict[str, Any]:
    """As many pages as asked for, joined into one body: the lists in `field` become one."""
    wanted = None if arguments.all else arguments.limit
    get = console.get_slowly if filters.get("with") else console.get
    joined: dict[str, Any] = {}
    cursor = None
    while True:
        missing = PAGE_MAX if wanted is None else wanted - len(joined.get(field, ()))
        body = get(query(path, **filters, limit=min(missing, PAGE_MAX), cursor=cursor)).json()
        body[field] = joined.get(field, []) + body[field]
        joined, cursor = body, body["next_cursor"]
        if cursor is None or (wanted is not None and len(joined[field]) >= wanted):
            console.progress("")
            return joined
        console.progress(f"{len(joined[field])} read")


def print_queue(console: Console, jobs: list[dict[str, Any]], now_s: float) -> None:
    heads = ("JOB", "NAME", "USER", "PARTITION", "STATE", "PRIORITY", "TIME", "LIMIT", "NODES", "WHERE OR WHY NOT")
    rows = [
        (
            job_text(job), job["name"], job["user"], job["partition"], job["state"],
            priority_text(job),
            duration(now_s - job["start_time_s"] if job["start_time_s"] and job["state"] != "PENDING" else None),
            duration(job["walltime_s"]) if job["walltime_s"] else "none", str(job["node_count"]),
            where(job),
        )
        for job in jobs
    ]  # fmt: skip
    right = (False, False, False, False, False, True, True, True, True)
    console.table(heads, rows, right, [STATE_COLOURS.get(job["state"], "") for job in jobs])


def priority_text(job: dict[str, Any]) -> str:
    """What orders the queue, in whole points or seconds; nothing for what does not wait."""
    return "-" if job["queue_priority"] is None else f"{job['queue_priority']:.0f}"


def where(job: dict[str, Any]) -> str:
    """Its nodes, or the reason why it waits with the start that was promised; of an array also how far it is."""
    text = str(job["nodes"])
    if not text:
        text = f"({reason_text(job)})" if job["reason"] else ""
        if job["expected_start_time_s"]:
            text += f" from {instant(job['expected_start_time_s'])}"
    if job.get("idle_since_s"):
        text += f" (idle since {instant(job['idle_since_s'])})"
    if job["array"] is not None and (ended := ended_count(job)):
        text += f" ({ended} of {job['element_count']} ended)"
    return text.strip()


def job_text(job: dict[str, Any]) -> str:
    """`17`, or `17_[0-99%10]` for an array."""
    if job["array"] is None:
        return str(job["job_id"])
    array = job["array"] if len(job["array"]) <= ARRAY_WIDTH_MAX else job["array"][: ARRAY_WIDTH_MAX - 1] + "…"
    return f"{job['job_id']}_[{array}]"
