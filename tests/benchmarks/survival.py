"""kill -9 of the daemon and of the agents in the middle of many jobs: does every job end once?

Each job writes two lines to a ledger, at its begin and at its end. The ledger is the truth about what ran; HAL's
history is what it believes. Both must name every job exactly once. Exit code 1 if they do not.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from tests.benchmarks.common import Figures, parser_of, progress, run
from tests.support.hal import ACTIVE, HalCluster
from tests.support.hal_connection import Json

JOB = 'echo "begin $1" >> "$0"; sleep "$2"; echo "end $1" >> "$0"'
PAGE = 1000


def measure(given: argparse.Namespace) -> Figures:
    with HalCluster(node_count=2, cpus=given.cpus) as hal:
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


def strike(hal: HalCluster, ledger: Path, given: argparse.Namespace) -> Figures:
    """At each further fraction of begun jobs, kill something: the agents, the daemon, then both at once."""
    targets = ("agents", "daemon", "both")
    recovered: Figures = {}
    for number, target in enumerate(targets, 1):
        threshold = given.count * number // (len(targets) + 1)
        hal.tree.until(f"{threshold} jobs begun", partial(has_begun, ledger, threshold), 300)
        begun, ended = count_of(ledger, "begin"), count_of(ledger, "end")
        progress(f"{begun} jobs have begun, {ended} have ended: kill -9 of {target}")
        kill(hal, target)
        if target != "agents":
            hal.start()
            recovered[f"ready_after_{target}_s"] = round(hal.startup_s, 2)
        recovered[f"running_at_kill_of_{target}"] = begun - ended
    return recovered


def has_begun(ledger: Path, count: int) -> bool:
    return count_of(ledger, "begin") >= count


def kill(hal: HalCluster, target: str) -> None:
    agents = [member.pid for member in hal.members("agent")] if target != "daemon" else []
    assert agents or target == "daemon", "no agent's process was found"
    if target != "agents":
        hal.tree.signal(hal.service, signal.SIGKILL)
    for pid in agents:
        hal.tree.kill(pid)
    if target != "agents":
        hal.tree.wait_for_exits([hal.service], 10)


def account(hal: HalCluster, ledger: Path, count: int) -> Figures:
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


def history_of(hal: HalCluster) -> list[Json]:
    jobs: list[Json] = []
    cursor = ""
    while True:
        page = hal.get(f"/v1/history?limit={PAGE}{cursor}")
        jobs += page["jobs"]
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
