"""kill -9 of the daemon and of the agents in the middle of many jobs: does every job end once?

Each job writes two lines to a ledger, at its begin and at its end. The ledger is the truth about what ran; HAL's
history is what it believes. Both must name every job exactly once. Exit code 1 if they do not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.benchmarks.common import Figures, parser_of, progress, run
from tests.support.hal import ACTIVE
from tests.support.hal_connection import Json
from tests.support.hal_services import DAEMON, HalServices

JOB = 'echo "begin $1" >> "$0"; sleep "$2"; echo "end $1" >> "$0"'
PAGE = 1000


def measure(given: argparse.Namespace) -> Figures:
    with HalServices(node_count=2, cpus=given.cpus) as hal:
        ledger = hal.work / "ledger"
        commands = [["/bin/sh", "-c", JOB, str(ledger), str(job), given.seconds] for job in range(given.count)]
        hal.submit_bulk(commands)
        kills = strike(hal, ledger, given)
        progress("waiting for the rest")
        hal.wait_until_done(timeout_s=600)
        figures = account(hal, ledger, given.count) | kills
    if not figures["every_job_ended_once"]:
        progress("NOT every job ended exactly once")
    return figures


def strike(hal: HalServices, ledger: Path, given: argparse.Namespace) -> Figures:
    """At each further fraction of begun jobs, kill something and start it again: agents, daemon, then both at once."""
    targets = {"agents": hal.nodes, "daemon": [DAEMON], "both": [*hal.nodes, DAEMON]}
    figures: Figures = {}
    for number, (target, services) in enumerate(targets.items(), 1):
        threshold = given.count * number // (len(targets) + 1)
        hal.tree.until(f"{threshold} jobs begun", partial(has_begun, ledger, threshold), 300)
        begun, ended = count_of(ledger, "begin"), count_of(ledger, "end")
        progress(f"{begun} jobs have begun, {ended} have ended: kill -9 of {target}")
        for service in services:
            hal.kill(service)
        figures[f"running_at_kill_of_{target}"] = begun - ended
        begin_s = time.perf_counter()
        for service in services:
            hal.start_service(service)
        hal.wait_until_ready()
        figures[f"ready_after_kill_of_{target}_s"] = round(time.perf_counter() - begin_s, 2)
    return figures


def has_begun(ledger: Path, count: int) -> bool:
    return count_of(ledger, "begin") >= count


def account(hal: HalServices, ledger: Path, count: int) -> Figures:
    begun, ended = (Counter(lines(ledger, word)) for word in ("begin", "end"))
    history = history_of(hal)
    states = Counter(job["state"] for job in history)
    ids = Counter(job["job_id"] for job in history)
    everyone = {str(job) for job in range(count)}
    is_once = begun.keys() == ended.keys() == everyone and set(begun.values()) == set(ended.values()) == {1}
    active = {state: number for state, number in hal.counts().items() if state in ACTIVE and number}
    return {
        "job_count": count,
        "every_job_ended_once": is_once and states == {"COMPLETED": count} and set(ids.values()) == {1} and not active,
        "ledger_begun_once": sum(number == 1 for number in begun.values()),
        "ledger_ended_once": sum(number == 1 for number in ended.values()),
        "ledger_begun_twice": sum(number > 1 for number in begun.values()),
        "ledger_never_begun": len(everyone - begun.keys()),
        "history_states": dict(states),
        "history_twice": sum(number > 1 for number in ids.values()),
        "attempts_max": max(job["attempt"] for job in history),
    }


def history_of(hal: HalServices) -> list[Json]:
    jobs: list[Json] = []
    cursor = ""
    while True:
        page = hal.get(f"/v1/history?limit={PAGE}{cursor}")
        jobs += page["entries"]
        if page["next_cursor"] is None:
            return jobs
        cursor = f"&cursor={page['next_cursor']}"


def lines(ledger: Path, word: str) -> list[str]:
    text = ledger.read_text() if ledger.exists() else ""
    return [line.removeprefix(f"{word} ") for line in text.splitlines() if line.startswith(f"{word} ")]


def count_of(ledger: Path, word: str) -> int:
    return len(lines(ledger, word))


if __name__ == "__main__":
    parser = parser_of("survival")
    parser.add_argument("--count", type=int, default=500, help="jobs (default: 500)")
    parser.add_argument("--cpus", type=int, default=16, help="on each of two nodes (default: 16)")
    parser.add_argument("--seconds", default="0.3", help="that each job sleeps (default: 0.3)")
    figures = run(__doc__, measure, parser)
    sys.exit(0 if figures["every_job_ended_once"] else 1)
