"""`hal events`: the event log, as the daemon streams it. A cut stream goes on after the last event that was seen."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator

from hal_core.cli.arguments import Parser, checked, count, whole_number
from hal_core.cli.console import Console
from hal_core.cli.formats import escaped, instant
from hal_core.cli.waiting import PATIENCE_S
from hal_core.client.http import query
from hal_core.client.sse import EventParser, ServerEvent
from hal_core.client.transport import NoAnswer, Rejected, is_worth_waiting

NEWEST_COUNT = 20
"""So many are printed if nobody says which: what happened last is what people look for."""
AGAIN_AFTER_S = 0.5
"""A stream that ended before its time is taken up again: the daemon may have been restarted."""
VALUE_LENGTH_MAX = 60


def configure(parser: Parser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument(
        "--after",
        type=checked(whole_number),
        metavar="N",
        help=f"events after number N; 0 for all (default: the newest {NEWEST_COUNT}, but all with --job or --session)",
    )
    parser.add_argument("--job", type=checked(count), metavar="JOB", help="only events of this job")
    parser.add_argument("--session", metavar="ID", help="only events of this session, by its whole id")
    parser.add_argument("--json", action="store_true", help="one JSON object for each event: sequence, event, data")


def run(console: Console, arguments: Namespace) -> int:
    last = int(console.get("/v1/status").json()["sequence"])
    after = arguments.after
    if after is None:
        after = 0 if arguments.job or arguments.session else max(last - NEWEST_COUNT, 0)
    until = None if arguments.follow else last
    for event in follow(console, after, until=until, job_id=arguments.job, session=arguments.session):
        print_event(console, event, arguments.json)
    return 0


def follow(
    console: Console, after: int, *, until: int | None = None, **only: int | str | None
) -> Iterator[ServerEvent]:
    """What comes after that event, in order, each once; for ever, or as far as event number `until`. `only`: of this
    `job_id`, `session` or `user`.

    A stream that breaks off is taken up again, also when the daemon is restarted meanwhile. Until it has been left, no
    other request can go through this console.
    """
    lost_s: float | None = None
    while until is None or after < until:
        parser = EventParser(after)
        target = query("/v1/events", after=after, until=until, **only)
        try:
            for line in console.connection.lines(target):
                if line is None:
                    raise NoAnswer("the daemon has been silent for too long")
                lost_s = None
                if (event := parser.feed(line)) is not None:
                    yield event
        except KeyboardInterrupt:
            console.note(f"seen as far as event {parser.sequence}: --after {parser.sequence} goes on there")
            raise
        except (NoAnswer, Rejected) as error:
            console.close()
            if isinstance(error, Rejected) and not is_worth_waiting(error):
                raise
            if lost_s is None:
                lost_s = time.monotonic()
                console.note(f"{error}; going on after event {parser.sequence}")
            if time.monotonic() - lost_s > PATIENCE_S:
                raise
        after = parser.sequence
        if until is None or after < until:
            time.sleep(AGAIN_AFTER_S)


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
