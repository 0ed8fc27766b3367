"""`hal history`: how jobs ended, latest first, from the journal."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Sequence

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
    parser.add_argument("--predictions", action="store_true", help="with how long each was expected to run")
    parser.add_argument("--oldest", action="store_true", help="oldest first")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    now_s = time.time()
    also = [name for name in COLUMNS if getattr(arguments, name)]
    filters = filters_of(arguments) | {
        "job_id": arguments.job,
        "since_time_s": moment(arguments.since, now_s),
        "until_time_s": moment(arguments.until, now_s),
        "order": "oldest" if arguments.oldest else None,
        "with": ",".join(also) or None,
    }
    body = pages(console, "/v1/history", "entries", filters, arguments)
    if arguments.json:
        console.line(json.dumps(body))
        return 0
    print_history(console, body["entries"], also)
    tell_rest(console, body, len(body["entries"]))
    return 0


def print_history(console: Console, entries: list[dict[str, Any]], also: Sequence[str] = ()) -> None:
    more = [column for name, columns in COLUMNS.items() if name in also for column in columns]
    more_heads = (head for head, _ in more)
    heads = ("JOB", "NAME", "USER", "PARTITION", "STATE", "ENDED", "TIME", "CPU TIME", "MEMORY", *more_heads, "HOW")
    rows = [
        (
            name_of(each),
            each["name"], each["user"], each["partition"], each["state"], instant(each["end_time_s"]),
            duration(each["ran_s"]), duration(each["cpu_s"]), size(each["peak_memory_bytes"]),
            *(text_of(each) for _, text_of in more),
            end_text({**each, "by": each["ended_by"]}),
        )
        for each in entries
    ]  # fmt: skip
    right = (*[False] * 6, *[True] * (3 + len(more)))
    console.table(heads, rows, right, [STATE_COLOURS.get(each["state"], "") for each in entries])


def quantile(name: str) -> Callable[[dict[str, Any]], str]:
    """The text of what was said before."""
    return lambda entry: duration(entry["prediction"][name] if entry["prediction"] else None)


def off_text(entry: dict[str, Any]) -> str:
    """By how much longer or less than the median it ran: `+2:00`, `-1:30`; nothing if nothing was said."""
    ran_s, said = entry["ran_s"], entry["prediction"]
    if ran_s is None or said is None:
        return duration(None)
    off_s = ran_s - said["p50_s"]
    return f"{'-' if off_s < 0 else '+'}{duration(abs(off_s))}"


COLUMNS: dict[str, tuple[tuple[str, Callable[[dict[str, Any]], str]], ...]] = {
    "cost": (("COST", lambda entry: money(entry["money"])),),
    "predictions": (("P50", quantile("p50_s")), ("P90", quantile("p90_s")), ("OFF BY", off_text)),
}
"""What may be told of each end if it is asked for: heads, and texts of an entry."""


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
