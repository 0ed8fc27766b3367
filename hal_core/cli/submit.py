"""`hal submit`: send what was read, print the id."""

from __future__ import annotations

from collections.abc import Sequence

from hal_core.cli.console import Console
from hal_core.cli.submission import request_of, send
from hal_core.cli.words import split_words

OWN = {"wait": False, "dry-run": False, "json": False, "parsable": False, "client-id": True, "help": False}
OPTION_WIDTH = 32
OWN_SHORT = {"W": "wait", "h": "help"}
HELP = """\
Usage: hal submit [OPTIONS] SCRIPT [ARGUMENTS...]
       hal submit [OPTIONS] -- COMMAND [ARGUMENTS...]
       hal submit [OPTIONS] -            (the script comes from stdin)
       hal submit [OPTIONS] : [AMOUNTS OF FURTHER NODES] SCRIPT [ARGUMENTS...]

Submit a script or a command and print the job's id. When it is printed, the job is on disk.

  -W, --wait        wait for the end; the exit code is the job's
  --dry-run         submit nothing; tell when and where it would start
  --json            print the daemon's answer as it came
  --parsable        print the id and nothing else
  --client-id ID    submitted twice with the same ID it is one job (default: random)

All other options describe the job. They can also stand in the script, as `#HAL --time=10` or `#SBATCH --time=10`."""


def run_words(console: Console, words: Sequence[str]) -> int:
    split = split_words(words, OWN, OWN_SHORT)
    if "help" in split.own:
        console.line(HELP)
        print_job_options(console)
        return 0
    request = request_of(console, split)
    if "dry-run" in split.own:
        from hal_core.cli.explain import tell_forecast

        return tell_forecast(console, request, is_json="json" in split.own)
    answer = send(console, request)
    job_id = int(answer.json()["job_id"])
    if "json" in split.own:
        console.body(answer)
    else:
        console.line(str(job_id) if "parsable" in split.own else f"Submitted job {job_id}")
    if "wait" not in split.own:
        return 0
    from hal_core.cli.waiting import exit_code, tell_end, wait_for_end

    view = wait_for_end(console, job_id)
    tell_end(console, view)
    return exit_code(view)


def print_job_options(console: Console) -> None:
    """All options of a job with their meaning, from the table that the daemon parses with."""
    from hal_core.cli.option_help import OPTION_HELP

    console.line()
    for option, meaning in OPTION_HELP:
        if len(option) > OPTION_WIDTH:
            console.line(f"  {option}")
            option = ""
        console.line(f"  {option:<{OPTION_WIDTH}}  {meaning}")
