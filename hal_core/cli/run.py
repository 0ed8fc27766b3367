"""`hal run`: a command as a job, with its output on this terminal and its exit code.

The output goes through two files in a private directory that is removed at the end. They are read while the daemon
holds the question for the job's end, so nothing is polled over the network and the last bytes are never missed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from hal_core.cli.console import Console, temporary_directory
from hal_core.cli.submission import random_id, request_of, send
from hal_core.cli.tail import Tail
from hal_core.cli.usage import UsageError
from hal_core.cli.waiting import exit_code, tell_end, wait_for_end
from hal_core.cli.words import Split, split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN = {"client-id": True, "help": False, "pty": False, "quiet": False}
OWN_SHORT = {"h": "help", "q": "quiet"}
NOT_HERE = {"array", "output", "error", "wrap"}
PAUSE_S_MIN, PAUSE_S_MAX = 0.005, 0.1
HELP = """\
Usage: hal run [OPTIONS] [--] COMMAND [ARGUMENTS...]

Run a command as a job: its output appears here, and its exit code (128 + signal) is the exit code. Ctrl-C cancels it.

      --pty         with a terminal on the node, which is this one; the job ends when you leave
  -q, --quiet       no note on how the job ended
  --client-id ID    submitted twice with the same ID it is one job (default: random)

All other options describe the job, as for `hal submit`."""


def run_words(console: Console, words: Sequence[str]) -> int:
    split = split_words(words, OWN, OWN_SHORT)
    if "help" in split.own:
        console.line(HELP)
        return 0
    for name, _ in split.options:
        if name in NOT_HERE:
            raise UsageError(f"run does not take --{name}: its output comes here; use `hal submit`")
    if not split.rest:
        raise UsageError("run needs a command, such as: hal run -- hostname")
    split.is_command = True
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    if "pty" in split.own:
        return run_at_terminal(console, split)
    directory = private_directory(console)
    output, error = os.path.join(directory, "out"), os.path.join(directory, "err")
    split.options += [["output", output.replace("%", "%%")], ["error", error.replace("%", "%%")]]
    try:
        job_id = submit(console, request_of(console, split))
        return follow(console, job_id, (output, error), is_quiet="quiet" in split.own)
    finally:
        for path in (output, error):
            with contextlib.suppress(OSError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def run_at_terminal(console: Console, split: Split) -> int:
    """The same with a terminal on the node."""
    from hal_core.cli import terminal

    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError("--pty needs a terminal for its standard input")
    for name, _ in split.options:
        if name in ("input", "spread"):
            raise UsageError(f"with --pty there is no --{name}: the command runs once, at this terminal")
    split.options += [list(option) for option in terminal.OPTIONS]
    job_id = submit(console, request_of(console, split))
    try:
        terminal.attend(console, job_id)
    except KeyboardInterrupt as interrupted:
        cancel(console, job_id)
        return 128 + (interrupted.args[0] if interrupted.args else signal.SIGINT)
    view = wait_for_end(console, job_id)
    if "quiet" not in split.own:
        tell_end(console, view)
    return exit_code(view)


def interrupt(number: int, _: object) -> None:
    """A closed terminal or a polite kill ends the job like Ctrl-C does."""
    raise KeyboardInterrupt(number)


def submit(console: Console, request: dict[str, Any]) -> int:
    """The job's id. If interrupted, no job is left behind: the same request is sent again to learn the id to cancel."""
    try:
        return int(send(console, request).json()["job_id"])
    except KeyboardInterrupt:
        console.close()
        cancel(console, int(send(console, request).json()["job_id"]))
        raise


def follow(console: Console, job_id: int, paths: tuple[str, str], is_quiet: bool) -> int:
    """Copy the output until the job ends. Ctrl-C cancels the job; a second one leaves at once."""
    tails = [Tail(path, stream) for path, stream in zip(paths, (sys.stdout, sys.stderr), strict=True)]

    def copy_all(pause_s: float) -> float:
        moved = [tail.copy() for tail in tails]
        return PAUSE_S_MIN if any(moved) else min(pause_s * 1.5, PAUSE_S_MAX)

    interrupted_by = 0
    try:
        try:
            view = wait_for_end(console, job_id, copy_all)
        except KeyboardInterrupt as interrupted:
            interrupted_by = interrupted.args[0] if interrupted.args else signal.SIGINT
            cancel(console, job_id)
            view = wait_for_end(console, job_id, copy_all)
        except BrokenPipeError:
            cancel(console, job_id)
            raise
        copy_all(0)
    finally:
        for tail in tails:
            tail.close()
    if not is_quiet:
        tell_end(console, view)
    return 128 + interrupted_by if interrupted_by else exit_code(view)


def cancel(console: Console, job_id: int, is_quiet: bool = False) -> None:
    console.close()  # an answer to the long question may be on its way on the old connection
    if not is_quiet:
        console.note(f"cancelling job {job_id}")
    console.post(f"/v1/jobs/{job_id}/cancel", {})


def private_directory(console: Console) -> str:
    """A new directory that only this user can enter. (`tempfile` would cost 10 ms at start.)"""
    path = os.path.join(temporary_directory(console), f"hal-run-{random_id()}")
    os.mkdir(path, 0o700)
    return path
