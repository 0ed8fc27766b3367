"""`hal history`: how jobs ended, latest first, from the journal."""

from __future__ import annotations

import json
import time
from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, count
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, instant, money, size
from hal_core.cli.queue import STATE_COLOURS, filters_of, pages, tell_rest
from hal_core.cli.usage import UsageError
from hal_core.models.event_words import end_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def configure(parser: Parser) -> None:
    parser.add_filters()
    parser.add_argument("-j", "--job", type=checked(count), metavar="JOB", help="only this job")
    parser.add_argument(
        "--since", metavar="TIME", help="ended at or after: 2026-01-31, 2026-01-31T12:00, or 2h, 7d ago"
    )
    parser.add_argument("--until", metavar="TIME", help="ended before; as for --since")
    parser.add_argument("--cost", action="store_true", help="with what each end cost, on nodes of the site's too")
    parser.add_argument("--oldest", action="store_true", help="oldest first")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    now_s = time.time()
    filters = filters_of(arguments) | {
        "job_id": arguments.job,
        "since_time_s": moment(arguments.since, now_s),
        "until_time_s": moment(arguments.until, now_s),
        "order": "oldest" if arguments.oldest else None,
        "with": "cost" if arguments.cost else None,
    }
    body = pages(console, "/v1/history", "entries", filters, arguments)
    if arguments.json:
        console.line(json.dumps(body))
        return 0
    print_history(console, body["entries"], arguments.cost)
    tell_rest(console, body, len(body["entries"]))
    return 0


def print_history(console: Console, entries: list[dict[str, Any]], has_cost: bool = False) -> None:
    cost = ("COST",) if has_cost else ()
    heads = ("JOB", "NAME", "USER", "PARTITION", "STATE", "ENDED", "TIME", "CPU TIME", "MEMORY", *cost, "HOW")
    rows = [
        (
            name_of(each),
            each["name"], each["user"], each["partition"], each["state"], instant(each["end_time_s"]),
            duration(each["end_time_s"] - each["start_time_s"] if each["start_time_s"] else None),
            duration(each["cpu_s"]), size(each["peak_memory_bytes"]), *(money(each["money"]) for _ in cost),
            end_text({**each, "by": each["ended_by"]}),
        )
        for each in entries
    ]  # fmt: skip
    right = (*[False] * 6, *[True] * (3 + len(cost)))
    console.table(heads, rows, right, [STATE_COLOURS.get(each["state"], "") for each in entries])


def name_of(entry: dict[str, Any]) -> str:
    """`17`, `17_3` or `17_[1-5,9]`: as it can be given to other commands."""
    job_id, elements = entry["job_id"], str(entry["elements"])
    if not (entry.get("is_array", elements != "0") and elements):
        return str(job_id)
    return f"{job_id}_{elements}" if elements.isdecimal() else f"{job_id}_[{elements}]"


def moment(text: str | None, now_s: float) -> float | None:
    """Seconds since the epoch of a local date, a local date and time, or so long ago. Raises UsageError."""
    if text is None:
        return None
    if text[:-1].isascii() and text[:-1].isdecimal() and text[-1] in UNITS_S:
        return now_s - int(text[:-1]) * UNITS_S[text[-1]]
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"):
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    raise UsageError(f"{text!r} is not a time; write 2026-01-31, 2026-01-31T12:00, or 30m, 2h, 7d for so long ago")
