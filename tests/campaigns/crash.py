"""Kill every part of HAL again and again in the middle of its work: is everything kept that was promised?

`.venv/bin/python -m tests.campaigns.crash [--kills-daemon N --kills-agent N --kills-spawner N --kills-supervisor N]
[--stops N] [--failpoints] [--seed S] [--json]`. Clients submit jobs, arrays and gangs on two nodes, cancel and requeue,
while SIGKILL hits processes at random moments, also during recovery, and SIGSTOP for up to three seconds. Whatever was
killed is started again at once, as a service manager does. Then all is drained and an outside checker looks. Exit
code 1 if a promise was broken.
"""

from __future__ import annotations

import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import attrs

from tests.campaigns.common import Campaign, Figures, progress
from tests.campaigns.crash_check import Checked, check, check_processes
from tests.campaigns.crash_load import ClientLog, Load
from tests.support.hal_services import DAEMON, HalServices
from tests.support.processes import SupportError

CPUS = 16
DRAIN_S = 120.0
EMPTY_S = 20.0
IN_A_ROW = 10
"""So often a daemon is killed during its recovery, one after the other."""


@attrs.define
class Struck:
    """What was done to it."""

    counts: Counter[str] = attrs.Factory(Counter)
    missed: Counter[str] = attrs.Factory(Counter)
    """There was nothing of the kind to be struck."""
    longest_recovery_s: float = 0.0
    by_others: int = 0
    """Services that somebody else on this machine killed, for instance a test beside us."""


class Striker:
    """Strikes at the moments that the dice say, and keeps the services running."""

    def __init__(self, hal: HalServices, dice: random.Random) -> None:
        self._hal = hal
        self._dice = dice
        self.struck = Struck()
        self._actions: dict[str, Callable[[], bool]] = {
            "daemon": self._daemon,
            "agent": self._agent,
            "spawner": partial(self._launcher, is_spawner=True),
            "supervisor": partial(self._launcher, is_spawner=False),
            "stop": self._stop,
        }

    def strike(self, wanted: dict[str, int], time_s: float = math.inf) -> None:
        """Until each was struck as often as is wanted, or the time is over."""
        left = Counter(wanted)
        end_s = time.monotonic() + time_s
        while (left := +left) and time.monotonic() < end_s:
            target = self._dice.choices(list(left), list(left.values()))[0]
            if self._actions[target]():
                self.struck.counts[target] += 1
                left[target] -= 1
                if self.struck.counts.total() % 100 == 0:
                    progress(f"struck: {dict(self.struck.counts)}")
            else:
                self.struck.missed[target] += 1
            pause(self._dice.random() * (0.05 if target == "supervisor" else 0.3))

    def _daemon(self) -> bool:
        if self._dice.random() < 0.01:
            for _ in range(IN_A_ROW):  # It has not even recovered.
                kill_service(self._hal, DAEMON)
                self._hal.start_service(DAEMON)
                pause(self._dice.random() * 0.9)
        else:
            kill_service(self._hal, DAEMON)
            self._hal.start_service(DAEMON)
        if self._dice.random() < 0.8:
            begin_s = time.monotonic()
            wait_until_ready(self._hal, self.struck)
            self.struck.longest_recovery_s = max(self.struck.longest_recovery_s, time.monotonic() - begin_s)
        return True

    def _agent(self) -> bool:
        name = self._dice.choice(self._hal.nodes)
        kill_service(self._hal, name)
        self._hal.start_service(name)
        return True

    def _launcher(self, is_spawner: bool) -> bool:
        pids = [pid for pid, found in launchers(self._hal) if found == is_spawner]
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._dice.choice(pids), signal.SIGKILL)
            return True
        return False

    def _stop(self) -> bool:
        """SIGSTOP: for the others it is a peer that says nothing."""
        name = self._dice.choice([DAEMON, *self._hal.nodes])
        pid = self._hal.services[name]
        self._hal.tree.signal(pid, signal.SIGSTOP)
        pause(self._dice.random() * 3)
        self._hal.tree.signal(pid, signal.SIGCONT)
        return True


def launchers(hal: HalServices) -> Iterator[tuple[int, bool]]:
    """Spawners (True) and supervisors at work (False), by what they have open."""
    for member in hal.members("launcher/__main__.py"):
        opened = open_files(member.pid)
        if any(path.endswith("/spawner.lock") for path in opened):
            yield member.pid, True
        elif any("/claims/" in path for path in opened):
            yield member.pid, False


def open_files(pid: int) -> list[str]:
    found = []
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def wait_until_ready(hal: HalServices, struck: Struck) -> None:
    """Wait until the cluster is whole. A service may have been killed by others, but must not end by itself."""
    while True:
        for name, pid in list(hal.services.items()):
            if pid in hal.tree.exited:
                assert hal.tree.exited[pid] == -signal.SIGKILL, f"{name} ended with {hal.tree.exited[pid]}"
                del hal.services[name]
                hal.start_service(name)
                struck.by_others += 1
        with suppress(SupportError):
            hal.wait_until_ready()
            return
        assert any(pid in hal.tree.exited for pid in hal.services.values()), f"not ready in time; see {hal.log}"


def kill_service(hal: HalServices, name: str) -> None:
    """SIGKILL, also if somebody else was quicker."""
    if hal.services[name] in hal.tree.exited:
        del hal.services[name]
    else:
        hal.kill(name)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


@contextmanager
def under_load(seed: int, base: Path | None = None) -> Iterator[tuple[HalServices, Load, ClientLog]]:
    with HalServices(node_count=2, cpus=CPUS, base=base) as hal:
        log = ClientLog(hal.directory / "client.log")
        load = Load(hal, log, seed)
        load.start()
        try:
            yield hal, load, log
        except BaseException:
            keep_evidence(hal)
            raise


def drained(hal: HalServices, load: Load, log: ClientLog) -> Checked:
    """Let everything end, and look."""
    for name in (DAEMON, *hal.nodes):
        if name not in hal.services:
            hal.start_service(name)
    wait_until_ready(hal, Struck())
    load.stop()
    hal.wait_until_done(DRAIN_S)
    claims = [hal.directory / "state-nodes" / name / "claims" for name in hal.nodes]
    with suppress(SupportError):  # What is left is told below.
        hal.tree.until("all records are gone", lambda: not any(map(os.listdir, claims)), EMPTY_S)
    found = check(hal.state, load.ledger, log.lines())
    found.problems += list(check_processes(hal.tree.members(), claims))
    found.problems += load.problems
    return found


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    wanted = {
        "daemon": given.kills_daemon,
        "agent": given.kills_agent,
        "spawner": given.kills_spawner,
        "supervisor": given.kills_supervisor,
        "stop": given.stops,
    }
    with under_load(campaign.seed) as (hal, load, log):
        striker = Striker(hal, random.Random(campaign.seed))
        striker.strike(wanted, given.minutes * 60)
        found = drained(hal, load, log)
        if found.problems:
            keep_evidence(hal)
    campaign.problems += found.problems[:50]
    return {
        "struck": dict(striker.struck.counts),
        "killed_by_others": striker.struck.by_others,
        "longest_recovery_s": round(striker.struck.longest_recovery_s, 2),
        "acknowledged_jobs": found.acknowledged,
        "attempts_run": found.attempts_run,
        "ends": dict(found.ends),
        "journal_events": found.event_count,
        "broken_promises": len(found.problems),
    }


def keep_evidence(hal: HalServices) -> None:
    """The state directory, for whoever looks for the cause."""
    import shutil
    import tempfile

    kept = Path(tempfile.mkdtemp(prefix="hal-crash-evidence-"))
    shutil.copytree(hal.directory, kept / "hal", ignore=shutil.ignore_patterns("*.sock", "hints"))
    progress(f"the evidence is in {kept}")


if __name__ == "__main__":
    mine = Campaign("crash", __doc__)
    for target, default in (("daemon", 1000), ("agent", 1000), ("spawner", 300), ("supervisor", 300)):
        mine.parser.add_argument(f"--kills-{target}", type=int, default=default, help=f"default: {default}")
    mine.parser.add_argument("--stops", type=int, default=50, help="SIGSTOP of daemon and agents (default: 50)")
    mine.parser.add_argument("--minutes", type=float, default=math.inf, help="strike no longer than that")
    mine.main(measure)
