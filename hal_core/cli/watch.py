"""`hal watch`: what happens to a job, to all of mine, or to all, as lines for people, until the job ends.

Each line begins with its number in the event log. Whoever gives the last one that was seen to `--after` misses nothing
and sees nothing twice, also over a restart of the daemon.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, selector, whole_number
from hal_core.cli.console import Console, own_name
from hal_core.cli.events import follow
from hal_core.cli.formats import escaped, instant
from hal_core.cli.usage import UsageError
from hal_core.cli.waiting import FINAL, condition
from hal_core.client.sse import ServerEvent
from hal_core.client.transport import Rejected
from hal_core.models.event_words import event_text
from hal_core.models.ranges import count_of, parse_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARRAYS_MAX = 100_000


def configure(parser: Parser) -> None:
    parser.add_argument(
        "job",
        metavar="JOB",
        nargs="?",
        type=checked(selector),
        help="only this job, until it ends (default: my jobs and sessions)",
    )
    parser.add_argument("-u", "--user", metavar="USER", help="the jobs and sessions of this user")
    parser.add_argument("--all", action="store_true", help="everything that happens, also to nodes and reservations")
    parser.add_argument(
        "--after", type=checked(whole_number), metavar="N", help="go on after event number N (default: from now on)"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object for each event: sequence, event, text, data"
    )


def run(console: Console, arguments: Namespace) -> int:
    if sum([arguments.job is not None, arguments.user is not None, arguments.all]) > 1:
        raise UsageError("give one of a job, --user and --all")
    teller = Teller(console, arguments.json)
    try:
        if arguments.job is not None:
            watch_job(teller, arguments)
        else:
            watch_many(teller, arguments)
    finally:
        teller.close()
    return 0


def watch_many(teller: Teller, arguments: Namespace) -> None:
    user = None if arguments.all else arguments.user or own_name()
    after = arguments.after
    if after is None:
        after = int(teller.get("/v1/status")["sequence"])
        whose = "everything" if user is None else f"the jobs and sessions of {user}"
        teller.say(after, f"watching {whose}, until Ctrl-C")
    for event in follow(teller.console, after, user=user):
        teller.tell(event)


def watch_job(teller: Teller, arguments: Namespace) -> None:
    """Until it has ended; of a job that has ended, what was said of it since `--after`."""
    job_id, indices = arguments.job
    if indices is not None:
        raise UsageError(f"watch looks at whole jobs; write {job_id}")
    view = teller.job(job_id)
    after = view["sequence"] if arguments.after is None else arguments.after
    if arguments.after is None:
        teller.say(after, f"job {job_id}: {condition(view)}")
    if view["state"] in FINAL:
        for event in follow(teller.console, after, until=view["sequence"], job_id=job_id):
            teller.tell(event)
        return
    left = unfinished_count(view)
    for event in follow(teller.console, after, job_id=job_id):
        teller.tell(event)
        if event.kind == "JobEnded" and event.sequence > view["sequence"]:
            left -= count_of(parse_ranges(json.loads(event.data)["elements"]))
            if left <= 0:  # Unless what had ended was queued again.
                view = teller.job(job_id)
                left = unfinished_count(view)
                if view["state"] in FINAL:
                    break
    if view["array"] is not None:
        teller.say(view["sequence"], f"job {job_id}: {condition(view)}")


def unfinished_count(view: dict[str, Any]) -> int:
    return sum(number for state, number in view["counts"].items() if state not in FINAL)


class Teller:
    """Prints events, and asks beside the stream what it needs to know for that."""

    def __init__(self, console: Console, is_json: bool) -> None:
        self.console = console
        self._is_json = is_json
        self._beside = Console(console.environ)
        self._is_array: dict[int, bool] = {}

    def close(self) -> None:
        self._beside.close()

    def get(self, target: str) -> dict[str, Any]:
        found: dict[str, Any] = self._beside.get(target).json()
        return found

    def job(self, job_id: int) -> dict[str, Any]:
        try:
            view = self.get(f"/v1/jobs/{job_id}")
        except Rejected as rejected:
            if rejected.status == 404:
                self.console.note(f"of jobs that ended long ago: hal events --job {job_id}, hal history --job {job_id}")
            raise
        self._note(job_id, view["array"] is not None)
        return view

    def tell(self, event: ServerEvent) -> None:
        data = json.loads(event.data)
        if event.kind == "JobSubmitted":
            self._note(data["job_id"], data["spec"]["array"] is not None)
        text = event_text(event.kind, data, self)
        if self._is_json:
            found = {"sequence": event.sequence, "event": event.kind, "text": text, "data": data}
            self.console.line(json.dumps(found))
        else:
            self.console.line(escaped(f"{event.sequence} {instant(data.get('time_s'))} {text}"))
        self.console.flush()

    def say(self, sequence: int, text: str) -> None:
        """What is no event; not among events that a program reads."""
        if not self._is_json:
            self.console.line(escaped(f"{sequence} {instant(time.time())} {text}"))
            self.console.flush()

    def __contains__(self, job_id: object) -> bool:
        """Whether that job is an array: its element 0 is not the whole of it."""
        assert isinstance(job_id, int)
        if job_id not in self._is_array:
            try:
                self._note(job_id, self.get(f"/v1/jobs/{job_id}")["array"] is not None)
            except Rejected:  # forgotten meanwhile
                self._note(job_id, False)
        return self._is_array[job_id]

    def _note(self, job_id: int, is_array: bool) -> None:
        if len(self._is_array) >= ARRAYS_MAX:
            self._is_array.clear()
        self._is_array[job_id] = is_array
