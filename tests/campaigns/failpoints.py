"""Visit every failpoint: a process of HAL dies at each named place, HAL goes on, and nothing is lost or doubled.

`.venv/bin/python -m tests.campaigns.failpoints [--names A,B] [--counts 1,2,5] [--seed S] [--json]`. Points of daemon,
agent and launcher are visited under the load of the crash campaign, one after the other on one cluster; those of the
journal by a writer of its own, which is started again and checked after each death. A point that no process ever came
to is a broken promise too: of the test.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hal_core import failpoints
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from tests.campaigns.common import Campaign, Figures, progress
from tests.campaigns.crash import Struck, drained, keep_evidence, launchers, pause, under_load, wait_until_ready
from tests.campaigns.power_cut import environment
from tests.support.hal_services import DAEMON, HalServices
from tests.support.journal_events import digest_of, events_between, recovered
from tests.support.processes import SupportError

APPEND = tuple(f"journal.{place}" for place in ("before_transaction", "before_commit", "after_commit", "after_mark"))
IN_SERVICES = (*APPEND, *failpoints.DAEMON, *failpoints.AGENT, *failpoints.SPAWNER, *failpoints.SUPERVISOR)
HIT_S = 20.0
WRITER_APPENDS = 1200
"""Enough for the journal's own checkpoint."""
NEEDS_A_LOST_SUPERVISOR = ("spawner.lost_noticed", "spawner.lost_recorded")


def visit_journal(name: str, count: int) -> Iterator[str]:
    """Kill a writer of a journal at that place; sentences on what is wrong afterwards."""
    with tempfile.TemporaryDirectory(prefix="hal-failpoint-") as parent:
        state, hit = Path(parent) / "state", Path(parent) / "hit"
        words = ["-m", "tests.campaigns.journal_writer", str(state), f"{name}{count}", str(WRITER_APPENDS)]
        words += ["never_reopened"] if "checkpoint" in name else []
        armed = environment() | {"HAL_FAILPOINT": f"{name}:{count}", "HAL_FAILPOINT_ONCE": str(hit)}
        died = subprocess.run([sys.executable, *words], env=armed, stdin=subprocess.DEVNULL, capture_output=True)
        if not hit.exists():
            yield f"{name}:{count} was not reached ({died.stderr.decode()[-300:]})"
            return
        acknowledged = last_sequence(died.stdout)
        sequence, digest = recovered(state)
        if sequence < acknowledged:
            yield f"LOST at {name}:{count}: {acknowledged} events were acknowledged, {sequence} are there"
        if digest != digest_of(events_between(1, sequence)):
            yield f"{name}:{count}: the events are other than they were"
        yield from (f"{name}:{count}: {problem}" for problem in check_journal(state, Disk()).problems)


def last_sequence(told: bytes) -> int:
    return max((int(line.split()[1]) for line in told.splitlines() if line.startswith(b"sequence")), default=0)


def visit_services(hal: HalServices, name: str, count: int) -> Iterator[str]:
    """Start what has that place so that it dies there once, and then start it again."""
    hit = hal.directory / f"hit-{name}-{count}"
    hal.extra_environment = {"HAL_FAILPOINT": f"{name}:{count}", "HAL_FAILPOINT_ONCE": str(hit)}
    victims = [DAEMON] if name in (*failpoints.DAEMON, *APPEND) else hal.nodes
    if name.startswith("agent.epoch"):
        victims.append(DAEMON)  # A new one has a new epoch.
    for victim in victims:
        hal.kill(victim)
    if not name.startswith("agent.") and hal.nodes[0] in victims:  # The spawner inherits it from the agent.
        for pid, is_spawner in list(launchers(hal)):
            if is_spawner:
                kill(pid)
    for victim in victims:
        hal.start_service(victim)
    hal.extra_environment = {}
    try:
        hal.tree.until(f"{name}:{count} is reached", lambda: is_hit(hal, hit, name), HIT_S, interval_s=0.02)
    except SupportError:
        yield f"{name}:{count} was not reached"
    for victim, pid in list(hal.services.items()):
        if pid in hal.tree.exited:
            del hal.services[victim]
            hal.start_service(victim)
    wait_until_ready(hal, Struck())


def is_hit(hal: HalServices, hit: Path, name: str) -> bool:
    """Whether somebody died there. Some places need that a supervisor was killed before."""
    if name in NEEDS_A_LOST_SUPERVISOR and not hit.exists():
        for pid in [pid for pid, is_spawner in launchers(hal) if not is_spawner][:1]:
            kill(pid)
        pause(0.1)
    if not hit.exists() or not hit.read_text():
        return False
    pid = int(hit.read_text())
    return pid in hal.tree.exited if pid in hal.services.values() else not Path(f"/proc/{pid}").exists()


def kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def walk(names: Sequence[str], counts: Sequence[int], seed: int) -> tuple[Figures, list[str]]:
    problems: list[str] = []
    visits = [(name, count) for name in names for count in counts if count == 1 or name not in ONCE_IN_A_LIFE]
    for name, count in visits:
        if name in failpoints.JOURNAL:
            problems += visit_journal(name, count)
    in_services = [(name, count) for name, count in visits if name in IN_SERVICES]
    random.Random(seed).shuffle(in_services)
    figures: Figures = {
        "names": len(names),
        "visits": len([name for name, _ in visits if name in failpoints.JOURNAL]) + len(in_services),
    }
    if not in_services:
        return figures, problems
    with under_load(seed) as (hal, load, log):
        for number, (name, count) in enumerate(in_services, 1):
            found = list(visit_services(hal, name, count))
            problems += found
            if number % 10 == 0:
                progress(f"{number} of {len(in_services)} visits; {len(problems)} problems")
        checked = drained(hal, load, log)
        problems += checked.problems
        if problems:
            keep_evidence(hal)
    figures |= {"acknowledged_jobs": checked.acknowledged, "ends": dict(checked.ends)}
    return figures, problems


ONCE_IN_A_LIFE = (
    *(f"journal.{place}" for place in ("locked", "position_found", "epoch_marked", "tables_written", "opened")),
    *("journal.before_checkpoint", "journal.after_checkpoint"),
    *("kernel.recovered", "kernel.defined", "spawner.recovered", "agent.epoch_written", "agent.epoch_durable"),
    *failpoints.SUPERVISOR,
)
"""Places to which one process comes only once: the start, a new epoch, the only attempt of a new supervisor."""


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    names = given.names.split(",") if given.names else failpoints.NAMES
    figures, campaign.problems = walk(names, [int(count) for count in given.counts.split(",")], campaign.seed)
    return figures


if __name__ == "__main__":
    mine = Campaign("failpoints", __doc__)
    mine.parser.add_argument("--names", help="only these, separated by commas")
    mine.parser.add_argument("--counts", default="1,2,5", help="at which time to die (default: 1,2,5)")
    mine.main(measure)
