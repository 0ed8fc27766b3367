"""`hal predict`: how long a job would run, what that was learned from, and when it would start."""

from __future__ import annotations

from collections.abc import Sequence

from hal_core.cli.console import Console
from hal_core.cli.explain import likely_text, start_text
from hal_core.cli.formats import duration, pairs
from hal_core.cli.show import ends_text as likely_ends, expected_text
from hal_core.cli.submission import request_of, tell_warnings
from hal_core.cli.words import split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN = {"json": False, "help": False}
OWN_SHORT = {"h": "help"}
HELP = """\
Usage: hal predict [OPTIONS] SCRIPT [ARGUMENTS...]
       hal predict [OPTIONS] -- COMMAND [ARGUMENTS...]
       hal predict [OPTIONS] -            (the script comes from stdin)

Say how long a job would run, from how many ended jobs that was learned, and when it would start. Nothing is submitted.

  --json            print the daemon's answer as it came

All other options describe the job, as for `hal submit` (see `hal submit --help`)."""


def run_words(console: Console, words: Sequence[str]) -> int:
    split = split_words(words, OWN, OWN_SHORT)
    if "help" in split.own:
        console.line(HELP)
        return 0
    answer = console.post("/v1/predictions", request_of(console, split))
    if "json" in split.own:
        console.body(answer)
    else:
        print_prediction(console, answer.json())
    return 0


def print_prediction(console: Console, found: dict[str, Any]) -> None:
    tell_warnings(console, found["start"]["warnings"])
    limit = duration(found["walltime_s"]) if found["walltime_s"] else "none"
    rows = [("Time limit", limit), ("Expected to run", run_time_text(found["foretold"]))]
    rows += [("Likely to", likely_ends(found["foretold"] and found["foretold"]["run_time"]))]
    rows += [("Learned from", learned_text(found["foretold"])), ("Such jobs", ends_text(found["foretold"]))]
    rows += [("Would start", start_text(found["start"]))]
    likely = found["start"]["likely"]
    rows.append(("Likely", likely_text(likely) if likely else "cannot be said"))
    for line in pairs([row for row in rows if row[1]]):
        console.line(line)


def run_time_text(foretold: dict[str, Any] | None) -> str:
    if foretold is None:
        return "cannot be said: this cluster has no predictor, and plans with limits"
    if foretold["run_time"] is None:
        return f"cannot be said by predictor {foretold['predictor']}: {foretold['why_not']}"
    return expected_text(foretold["run_time"])


def learned_text(foretold: dict[str, Any] | None) -> str:
    learned = foretold and foretold["learned_from"]
    if not foretold or not learned:
        return ""
    counts = f"{learned['of_user_count']} of them yours, {learned['of_name_count']} of these with this name"
    return f"{learned['job_count']} ended jobs, by predictor {foretold['predictor']}: {counts}"


def ends_text(foretold: dict[str, Any] | None) -> str:
    """How often such jobs do not end well; the empty string if none has ended."""
    learned = foretold and foretold["learned_from"]
    if not learned or not learned["latest_count"]:
        return ""
    failed, late = learned["failed_count"], learned["time_limit_count"]
    return f"{failed} of the latest {learned['latest_count']} failed, {late} ran into the time limit"
