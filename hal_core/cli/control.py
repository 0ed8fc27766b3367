"""`hal cancel`, `hold`, `release`, `requeue`, `suspend`, `resume` and `priority`: one request for each job named.

All of them are tried.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from hal_core.cli.arguments import Parser, checked, selector, signed
from hal_core.cli.console import PAGE_MAX, Console, own_name
from hal_core.cli.usage import UsageError
from hal_core.client.http import query
from hal_core.client.transport import Rejected
from hal_core.models.plural import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DONE = {
    "cancel": "cancelled",
    "hold": "held",
    "release": "released",
    "requeue": "requeued",
    "suspend": "suspended",
    "resume": "resumed",
}


def configure(parser: Parser) -> None:
    if parser.command == "priority":
        parser.add_argument("job", metavar="JOB", type=checked(selector), help="a job (17)")
        parser.add_argument("priority", metavar="N", type=checked(signed), help="larger is earlier; 0 is the default")
    elif parser.command == "cancel":
        parser.add_jobs("*")
        parser.add_argument("--all", action="store_true", help="all my jobs")
    else:
        parser.add_jobs("+")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    command = arguments.command
    jobs = [arguments.job] if command == "priority" else arguments.jobs
    if command == "cancel":
        if bool(jobs) == arguments.all:
            raise UsageError("give the jobs to cancel, or --all for all of yours")
        if arguments.all:
            jobs = own_jobs(console)
    failed = 0
    for job_id, indices in jobs:
        body: dict[str, Any] = {"indices": indices} if indices is not None else {}
        if command == "priority":
            if indices is not None:
                raise UsageError("a priority belongs to a whole job; leave out the index")
            body = {"priority": arguments.priority}
        try:
            answer = console.post(f"/v1/jobs/{job_id}/{command}", body)
        except Rejected as rejected:
            failed += 1
            console.note(str(rejected) if f"job {job_id}" in str(rejected) else f"job {job_id}: {rejected}")
            continue
        if arguments.json:
            console.body(answer)
        elif command == "priority":
            console.line(f"job {job_id}: priority {answer.json()['priority']}")
        else:
            told = answer.json()
            console.line(f"job {job_id}: {outcome(command, told['count'], indices)}{waits(told.get('waits_for'))}")
    return 1 if failed else 0


def outcome(command: str, count: int, indices: str | None) -> str:
    if count == 0:
        return "has ended already" if command == "cancel" else f"nothing to be {DONE[command]}"
    return DONE[command] if count == 1 and indices is None else f"{count} {DONE[command]}"


def waits(others: list[int] | None) -> str:
    """What keeps a job that was resumed from going on at once."""
    return f"; it goes on after {named('job', [str(job_id) for job_id in others])}" if others else ""


def own_jobs(console: Console) -> Iterator[tuple[int, None]]:
    """All of the caller's jobs that have not ended. Read whole before the first is cancelled, as pages would shift."""
    found: list[tuple[int, None]] = []
    cursor = None
    while True:
        body = console.get(query("/v1/jobs", user=own_name(), limit=PAGE_MAX, cursor=cursor)).json()
        found += [(job["job_id"], None) for job in body["jobs"]]
        cursor = body["next_cursor"]
        if cursor is None:
            return iter(found)
