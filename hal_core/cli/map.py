"""`hal map`: a command for each line of the input, as tasks of a session; outputs come in the order of the lines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence

from hal_core.cli.arguments import count
from hal_core.cli.console import Console
from hal_core.cli.formats import duration
from hal_core.cli.usage import UsageError
from hal_core.cli.words import Split, split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN = {"workers": True, "local": False, "help": False, "quiet": False}
OWN_SHORT = {"h": "help", "j": "workers", "q": "quiet"}
PLACE = "{}"
PROGRESS_S = 0.5
HELP = """\
Usage: hal map [OPTIONS] [--] COMMAND [ARGUMENTS...]  <LINES

Run the command once for each line of the standard input, with {} in its words replaced by the line, or with the line as
its last word if there is no {}. Resident workers do them; outputs come in the order of the lines. The exit code is 1 if
any of the commands failed.

  -j, --workers N   so many at a time (default: the CPUs of this machine)
      --local       on this machine, even if there is a daemon
  -q, --quiet       no note on commands that failed

With a daemon the workers are a job; all other options describe it, as for `hal submit`."""


def run_words(console: Console, words: Sequence[str]) -> int:
    split = split_words(words, OWN, OWN_SHORT)
    if "help" in split.own:
        console.line(HELP)
        return 0
    if not split.rest:
        raise UsageError("map needs a command, such as: ls *.png | hal map -- convert {} {}.jpg")
    from hal_core.client import session

    job: dict[str, Any] = {name: text or True for name, text in split.options}
    server = "local" if "local" in split.own else None
    with session(workers=worker_count(split), server=server, job=job) as opened:
        return follow(console, opened.stream(run_line, commands(split.rest)), "quiet" in split.own)


def worker_count(split: Split) -> int:
    try:
        return count(split.own["workers"]) if "workers" in split.own else os.cpu_count() or 1
    except ValueError as error:
        raise UsageError(f"--workers: {error}") from None


def commands(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(line, words) for each line of the input."""
    has_place = any(PLACE in word for word in words)
    for line in sys.stdin:
        text = line.rstrip("\n")
        yield text, [word.replace(PLACE, text) for word in words] if has_place else [*words, text]


def run_line(task: tuple[str, list[str]]) -> tuple[str, int, bytes]:
    """(line, exit code, output)."""
    from hal_core.client.session_commands import run_command

    end = run_command(task[1])
    return task[0], end.exit_code, end.output


def follow(console: Console, ends: Iterator[tuple[str, int, bytes]], is_quiet: bool) -> int:
    """Print outputs as they come in order."""
    failed = 0
    begin_s = shown_s = time.monotonic()
    for done, (line, exit_code, output) in enumerate(ends, 1):
        if exit_code:
            failed += 1
            if not is_quiet:
                console.note(f"{line}: exit code {exit_code}")
        if output:
            console.progress("")
            sys.stdout.flush()
            sys.stdout.buffer.write(output)
        if time.monotonic() - shown_s > PROGRESS_S:
            shown_s = time.monotonic()
            since_s = shown_s - begin_s
            console.progress(f"{done} done, {failed} failed, {done / since_s:.0f}/s, {duration(since_s)}")
    console.progress("")
    return 1 if failed else 0
