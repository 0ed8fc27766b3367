"""`hal alloc`: an allocation that is held while a shell, or a given command, runs here.

On the first of its nodes a process waits in the allocation; the job lives as long as this command attends to it.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence

from hal_core.cli.console import Console
from hal_core.cli.run import cancel, interrupt, submit
from hal_core.cli.submission import request_of
from hal_core.cli.terminal import OPTIONS, Shown
from hal_core.cli.usage import UsageError
from hal_core.cli.waiting import tell_end, wait_for_end
from hal_core.cli.words import split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN = {"client-id": True, "help": False, "quiet": False}
OWN_SHORT = {"h": "help", "q": "quiet"}
NOT_HERE = {"array", "input", "output", "error", "wrap", "spread"}
HOLDER = ["/bin/sleep", "infinity"]
HELP = """\
Usage: hal alloc [OPTIONS] [-- COMMAND [ARGUMENTS...]]

Wait for an allocation, then start a shell here (or the command), which has the job's number and nodes in its
environment. The allocation is released when it ends, and when this command does, however that comes about.

  -q, --quiet       no note on what was allocated and how it ended
  --client-id ID    submitted twice with the same ID it is one job (default: random)

All other options describe the job, as for `hal submit`."""


def run_words(console: Console, words: Sequence[str]) -> int:
    split = split_words(words, OWN, OWN_SHORT)
    if "help" in split.own:
        console.line(HELP)
        return 0
    for name, _ in split.options:
        if name in NOT_HERE:
            raise UsageError(f"alloc does not take --{name}: nothing of yours runs by it, but from the shell it starts")
    command = split.rest or [console.environ.get("SHELL") or "/bin/sh"]
    split.rest, split.is_command = list(HOLDER), True
    split.options += [list(option) for option in OPTIONS]
    if not any(name == "job-name" for name, _ in split.options):
        split.options.append(["job-name", "alloc"])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    job_id = submit(console, request_of(console, split))
    return hold(console, job_id, command, is_quiet="quiet" in split.own)


def hold(console: Console, job_id: int, command: list[str], is_quiet: bool) -> int:
    shown = Shown(console, job_id)
    try:
        while not shown.is_here and not shown.is_over:
            shown.take(1.0)
            if not shown.is_here:
                console.progress(f"job {job_id} waits")
        console.progress("")
        if shown.is_over:
            tell_end(console, wait_for_end(console, job_id))
            return 1
        view = console.get(f"/v1/jobs/{job_id}").json()
        variables = environment(view)
        if not is_quiet:
            console.note(f"job {job_id} holds {variables['HAL_NODE_LIST']}; it is released when this ends")
        return attend(console, shown, command, variables)
    finally:
        shown.close()
        cancel(console, job_id, is_quiet=True)


def attend(console: Console, shown: Shown, command: list[str], variables: dict[str, str]) -> int:
    """The exit code of the command. It is told to hang up if the job ends before it."""
    try:
        child = subprocess.Popen(command, env={**console.environ, **variables})
    except OSError as error:
        console.note(f"{command[0]}: {error.strerror}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # It is for the command.
    try:
        while child.poll() is None:
            shown.take(0.2)
            if shown.is_over:
                console.note("the job has ended, and with it the allocation")
                child.send_signal(signal.SIGHUP)
                break
    except KeyboardInterrupt as interrupted:  # A closed terminal, or a polite kill.
        child.send_signal(interrupted.args[0] if interrupted.args else signal.SIGHUP)
    code = child.wait()
    return code if code >= 0 else 128 - code


def environment(view: dict[str, Any]) -> dict[str, str]:
    """What the job's own processes would have in theirs, as far as it is true here."""
    nodes = [each["node"] for each in view["element"]["nodes"]]
    job_id, names, count = str(view["job_id"]), ",".join(nodes), str(len(nodes))
    values = {"HAL_JOB_ID": job_id, "HAL_NODE_LIST": names, "HAL_NODE_COUNT": count}
    return values | {"SLURM_JOB_ID": job_id, "SLURM_JOB_NODELIST": names, "SLURM_JOB_NUM_NODES": count}
