"""`hal explain`: why a job waits, when it would start, and which small changes would start it sooner.

`hal submit --dry-run` tells the same of a job that is not submitted.
"""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, one_index, selector
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, instant, local_times, money, pairs, table
from hal_core.cli.submission import tell_warnings
from hal_core.models.plural import plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def configure(parser: Parser) -> None:
    parser.add_argument("job", metavar="JOB", type=checked(selector), help="a job that waits, such as 17")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    job_id, _ = one_index(arguments.job, "explain")
    answer = console.get(f"/v1/jobs/{job_id}/explanation")
    if arguments.json:
        console.body(answer)
    else:
        print_explanation(console, answer.json())
    return 0


def print_explanation(console: Console, found: dict[str, Any]) -> None:
    rows = [("Job", f"{found['job_id']} is {found['state']}"), ("Reason", local_times(found["text"]))]
    if found["constraint"]:
        rows.append(("Short of", f"{found['constraint']['resource']}: {found['constraint']['text']}"))
    total = sum(term["value"] for term in found["priority"])
    terms = " + ".join(f"{term['value']:.10g} ({_name(term)})" for term in found["priority"])
    rows.append(("Priority", f"{total:.10g} = {terms}"))
    if found["ahead_count"]:
        shown = ", ".join(str(job_id) for job_id in found["ahead"])
        more = ", ..." if found["ahead_count"] > len(found["ahead"]) else ""
        rows.append(("Before it", f"{plural(found['ahead_count'], 'job')}: {shown}{more}"))
    if found["choice"]:
        rows.append(("Runs with", found["choice"]))
    if found["start_time_s"] is not None or found["why_not"]:
        rows.append(("Start", start_text(found)))
    if found["likely"] is not None:
        rows.append(("Likely", likely_text(found["likely"])))
    rows += [("Pool", text) for text in found["pools"]]
    for line in pairs(rows):
        console.line(line)
    _tell_variants(console, found)
    if found["suggestions"]:
        console.line()
        console.line("It would start sooner, as the engine has tried on a copy of the cluster, with")
        suggestions = found["suggestions"]
        for line in table(
            ("OPTION", "WHAT", "START"),
            [(each["option"], each["text"], instant(each["start_time_s"])) for each in suggestions],
        ):
            console.line(f"  {line}")


def _tell_variants(console: Console, found: dict[str, Any]) -> None:
    """With each set of amounts that the job may run with: when it would start and end."""
    if not found["variants"]:
        return
    console.line()
    if any(each["site"] for each in found["variants"]):
        _tell_sites(console, found["variants"])
        return
    console.line("It may run with either of these; HAL takes the one with which it ends first (*: as planned now):")
    shown = [
        (f"{'* ' if each['is_chosen'] else '  '}{each['text']}", _time(each["start_time_s"]), _time(each["end_time_s"]))
        for each in found["variants"]
    ]
    for line in table(("  AMOUNTS", "START", "END"), shown):
        console.line(f"  {line}")


def _tell_sites(console: Console, outlooks: list[dict[str, Any]]) -> None:
    """Of each site the sum: the wait for HAL, the wait in the site's own queue, the run."""
    console.line("It may run at either of these; HAL takes the one where it ends first (*: as planned now):")
    shown = [
        (
            f"{'* ' if each['is_chosen'] else '  '}{each['site']}",
            each["text"],
            duration(each["wait_s"]),
            duration(each["queue_s"]),
            duration(each["run_s"]),
            _time(each["end_time_s"]),
        )
        for each in outlooks
    ]
    for line in table(("  SITE", "AMOUNTS", "WAITS", "+ IN ITS QUEUE", "+ RUNS", "= END"), shown):
        console.line(f"  {line}")


def _time(time_s: float | None) -> str:
    return "cannot be said" if time_s is None else instant(time_s)


def _name(term: dict[str, Any]) -> str:
    return f"{term['name']}: {term['text']}" if term["text"] else str(term["name"])


def tell_forecast(console: Console, request: dict[str, Any], is_json: bool) -> int:
    """When and where the request would start. Exit code 0 also if that cannot be said."""
    answer = console.post("/v1/forecasts", request)
    if is_json:
        console.body(answer)
        return 0
    found = answer.json()
    tell_warnings(console, found["warnings"])
    console.line(f"Would start: {start_text(found)}")
    if found["likely"] is not None:
        console.line(f"Likely: {likely_text(found['likely'])}")
    _tell_variants(console, found)
    _tell_quotes(console, found.get("pools", []))
    return 0


def _tell_quotes(console: Console, quotes: list[dict[str, Any]]) -> None:
    """What it would cost where."""
    if not quotes:
        return
    console.line()
    console.line("What it would cost, as it is expected to run (*: rented for it now):")
    rows = [
        (
            f"{'* ' if each['is_chosen'] else '  '}{each['pool'] or 'own nodes'}", each["offer"] or "-",
            each["market"] or "-", *(_span(each[name]) for name in ("wait_s", "boot_s", "run_s")),
            money(each["cost"]), money(each["committed"]) if each["offer"] else "-", each["says"],
        )
        for each in quotes
    ]  # fmt: skip
    heads = ("  WHERE", "OFFER", "MARKET", "WAIT", "BOOT", "RUN", "COST", "COMMITTED", "WHY")
    for line in table(heads, rows, (False, False, False, True, True, True, True, True, False)):
        console.line(f"  {line}")


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def start_text(found: dict[str, Any]) -> str:
    if found["start_time_s"] is None:
        return f"cannot be said: {found['why_not']}"
    where = f" on {', '.join(found['nodes'])}" if found["nodes"] else ""
    if found.get("queue_s"):
        where = f", after {duration(found['queue_s'])} in the queue of the scheduler that has the nodes"
    return f"{instant(found['start_time_s'])}{where}, if nothing else comes in and jobs run as long as expected"


def likely_text(likely: dict[str, Any]) -> str:
    """With what that rests on: a plan that was never compared with starts is no more than a plan."""
    count = likely["checked_count"]
    basis = f"corrected by {count} starts seen here" if count else "by the plan alone, no start was seen yet"
    middle, late = instant(likely["p50_time_s"]), instant(likely["p90_time_s"])
    return f"half of such jobs start by {middle}, nine in ten by {late} ({basis})"
