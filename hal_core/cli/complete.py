"""`hal _complete WORDS...`: what can stand in the place of the last word, for the completion scripts.

Job ids and node names come from the daemon if it answers at once; if not, there are none. Nobody wants an error message
while typing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hal_core.cli.console import Console
from hal_core.cli.dispatch import all_commands, command_parser
from hal_core.cli.option_names import FLAG_NAMES, VALUE_NAMES
from hal_core.client.address import find_socket
from hal_core.client.transport import Connection, NoAnswer, Rejected

ANSWER_TIMEOUT_S = 0.5
WITH_JOBS = {
    *("show", "explain", "watch", "logs", "cancel", "hold", "release", "requeue", "suspend", "resume"),
    *("priority", "receipt"),
}
WITH_A_JOB = {"submit", "run", "map", "alloc", "predict"}
"""They take the options of a job."""
CHOICES = {
    "nodes": ["show", "drain", "resume"],
    "data": ["ls", "add", "show", "where", "pin", "unpin", "evict", "rm"],
    "config": ["check", "show", "schema"],
    "session": ["show", "drain", "cancel"],
    "completion": ["bash", "zsh", "fish"],
}


def run_words(console: Console, words: Sequence[str]) -> int:
    for candidate in candidates(console, words):
        if candidate.startswith(words[-1] if words else ""):
            console.line(candidate)
    return 0


def candidates(console: Console, words: Sequence[str]) -> Iterator[str]:
    """What can stand in the place of the last word."""
    if len(words) <= 1:
        yield from all_commands()
        return
    command, unfinished = words[0], words[-1]
    if command not in all_commands():
        return
    if unfinished.startswith("-"):
        if command in WITH_A_JOB:
            yield from (f"--{name}" for name in sorted(VALUE_NAMES | FLAG_NAMES))
        elif command != "completion":
            yield from command_parser(command).option_names()
    elif command in CHOICES and len(words) == 2:
        yield from CHOICES[command]
    elif command in WITH_JOBS:
        yield from (str(job["job_id"]) for job in listed(console, "/v1/jobs", "jobs"))
    elif command == "nodes":
        yield from (str(node["name"]) for node in listed(console, "/v1/nodes", "nodes"))


def listed(console: Console, path: str, field: str) -> list[dict[str, object]]:
    """The first page, or nothing if the daemon does not answer at once."""
    try:
        with Connection(find_socket(console.environ), ANSWER_TIMEOUT_S) as connection:
            found: list[dict[str, object]] = connection.request("GET", path).json()[field]
            return found
    except (NoAnswer, Rejected, ValueError):
        return []
