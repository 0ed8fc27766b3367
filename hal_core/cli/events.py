"""`hal events`: the event log, as the daemon streams it. A cut stream goes on after the last event that was seen."""

from __future__ import annotations

import json
import time
from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, count, whole_number
from hal_core.cli.console import Console
from hal_core.cli.formats import escaped, instant
from hal_core.client.http import query
from hal_core.client.sse import EventParser, ServerEvent
from hal_core.client.transport import NoAnswer

SILENCE_S_MAX = 1.0
"""Without --follow, a stream that is silent for this long has told all it has."""
VALUE_LENGTH_MAX = 60


def configure(parser: Parser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="keep watching (without --after it always does)")
    parser.add_argument("--after", type=checked(whole_number), metavar="N", help="events after number N (0: all)")
    parser.add_argument("--job", type=checked(count), metavar="JOB", help="only events of this job")
    parser.add_argument("--json", action="store_true", help="one JSON object for each event: sequence, event, data")


def run(console: Console, arguments: Namespace) -> int:
    follow = arguments.follow or arguments.after is None
    after = arguments.after
    last = console.get("/v1/status").json()["sequence"]
    while follow or after < last:
        try:
            after, was_silent = print_stream(console, arguments, after, None if follow else last)
            if was_silent and not follow:
                return 0
        except NoAnswer as error:
            if not follow or not error.is_outcome_unknown:
                raise
            after = last if after is None else after
            console.note(f"{error}; going on after event {after}")
        time.sleep(0.5 if follow else 0)
    return 0


def print_stream(
    console: Console, arguments: Namespace, after: int | None, last: int | None
) -> tuple[int | None, bool]:
    """Print until the stream ends, is silent or reaches `last`. Gives the last sequence, and whether it is all."""
    parser = EventParser()
    options = {"silence_s_max": SILENCE_S_MAX} if last is not None else {}
    for line in console.connection.lines(query("/v1/events", after=after, job_id=arguments.job), **options):
        if line is None:
            if last is not None:
                return after, True
            raise NoAnswer("the daemon has been silent for too long", is_outcome_unknown=True)
        if (event := parser.feed(line)) is not None:
            after = event.sequence
            print_event(console, event, arguments.json)
            if last is not None and after >= last:
                return after, True
    return after, False


def print_event(console: Console, event: ServerEvent, is_json: bool) -> None:
    data = json.loads(event.data)
    if is_json:
        console.line(json.dumps({"sequence": event.sequence, "event": event.kind, "data": data}))
        console.flush()
        return
    when = instant(data.pop("time_s", None))
    details = " ".join(f"{name}={shortened(value)}" for name, value in data.items())
    console.line(escaped(f"{event.sequence} {when} {event.kind} {details}".rstrip()))
    console.flush()


def shortened(value: object) -> str:
    """A value on a line for people; --json has all of it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 1] + "…"
