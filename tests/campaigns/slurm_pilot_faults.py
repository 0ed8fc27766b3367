"""Random faults while pilots work: HAL's daemon and the pilots' agents are killed, slurmctld is restarted, slurmrestd
is killed, pilots are cancelled in Slurm. In the end every job in them has exactly one end, none was run twice in an
attempt, no pilot was ordered twice, and nothing is left: neither in Slurm, nor a process, nor a directory.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs

from tests.campaigns.common import Figures, progress
from tests.campaigns.crash_check import check
from tests.campaigns.crash_load import ELEMENTS, OPTIONS, SCRIPT, ClientLog
from tests.support.hal_services import DAEMON
from tests.support.pilots import PilotServices
from tests.support.processes import SupportError, command_line
from tests.support.slurm import SlurmCluster

PILOTS, CPUS = 2, 4
JOBS_PER_FAULT = 3
NAP_S_MAX = 4.0
DOWN_S_MAX = 3.0
PATIENCE_S = 240.0
OF_PILOTS = "lab-pilot-"
OF_HAL = ("hal_core", "launcher/__main__.py", "sleep")
"""In the command lines of what an agent starts."""


@attrs.define(kw_only=True)
class PilotsByRest(PilotServices):
    """The daemon orders its pilots through slurmrestd."""

    def options(self) -> dict[str, Any]:
        address = f"unix:{self.slurm.rest_socket}"
        own = {"way": "rest", "address": address, "token_command": "scontrol token lifespan=7200"}
        return {**super().options(), **own, "answer_timeout_s": 10.0}

    def wait_until_ready(self) -> None:
        """Patiently: a campaign may have little of the machine."""
        self.tree.until("the daemon answers", self._does_answer, PATIENCE_S, self.watched)


@attrs.define
class PilotTrial:
    slurm: SlurmCluster
    hal: PilotsByRest
    chance: random.Random
    counts: Counter[str] = attrs.Factory(Counter)
    job_count: int = 0
    log: ClientLog = attrs.field(init=False)

    def run(self, fault_count: int) -> Figures:
        self.log = ClientLog(self.hal.directory / "client.log")
        faults: dict[str, Callable[[], None]] = {
            "restart slurmctld": lambda: self._restart("slurmctld", signal.SIGTERM),
            "kill slurmrestd": lambda: self._restart("slurmrestd", signal.SIGKILL),
            "kill daemon": self._kill_daemon,
            "kill agent": self._kill_agent,
            "cancel pilot": self._cancel_pilot,
        }
        for number in range(1, fault_count + 1):
            self._submit_some()
            self.hal.tree.until("an agent is in a pilot", lambda: bool(list(self._agents())), PATIENCE_S)
            self._pause(2.0)
            fault = self.chance.choice(list(faults))
            progress(f"{number} with pilots: {fault}")
            self.counts[fault] += 1
            faults[fault]()
        self.hal.wait_until_done(timeout_s=PATIENCE_S)
        return self._verdict()

    def _submit_some(self) -> None:
        for _ in range(JOBS_PER_FAULT):
            self.job_count += 1
            kind = self.chance.choice(("single", "array"))
            client_id, nap_s = f"trial-{self.job_count}", self.chance.uniform(0, NAP_S_MAX)
            options = [["output", "/dev/null"], ["time", "5"], ["requeue", ""], *OPTIONS.get(kind, [])]
            body = {
                "client_id": client_id,
                "script": SCRIPT,
                "options": options,
                "working_directory": str(self.hal.work),
                "environment": ["PATH=/usr/bin:/bin", f"LEDGER={self.hal.directory}/ledger", f"NAP={nap_s:.2f}"],
            }
            self.log.write("submitted", client_id, kind, self.hal.post("/v1/jobs", body)["job_id"])

    # The faults

    def _restart(self, daemon: str, number: signal.Signals) -> None:
        self.slurm.kill(daemon, number)
        self._pause(DOWN_S_MAX)
        self.slurm.start(daemon)

    def _kill_daemon(self) -> None:
        self.hal.kill(DAEMON)
        self._pause(DOWN_S_MAX)
        self.hal.start_service(DAEMON)
        self.hal.wait_until_ready()

    def _kill_agent(self) -> None:
        agents = list(self._agents())
        if agents:
            self.slurm.tree.signal(self.chance.choice(agents), signal.SIGKILL)

    def _cancel_pilot(self) -> None:
        """By an operator of Slurm, whatever runs in it."""
        if pilots := self._pilots("%A"):
            self.slurm.run("scancel", self.chance.choice(pilots))

    # What there is

    def _agents(self) -> Iterator[int]:
        for member in self.slurm.tree.members():
            words = command_line(member.pid)
            if "--state" in words and "agent" in words and "enroll" not in words:
                yield member.pid

    def _pilots(self, column: str) -> list[str]:
        lines = self.slurm.run("squeue", "-h", "-o", f"%j {column}").splitlines()
        return [line.split()[1] for line in lines if line.startswith(OF_PILOTS)]

    def _verdict(self) -> Figures:
        left = self._left_in_the_end()
        found = check(self.hal.state, self.hal.directory / "ledger", self.log.lines())
        names = self.slurm.run("sacct", "-nPXD", "-S", "now-1days", "-o", "JobName,JobIDRaw").splitlines()
        ordered = Counter(line.partition("|")[0] for line in set(names) if line.startswith(OF_PILOTS))
        found.problems += [f"pilot {name} was ordered {count} times" for name, count in ordered.items() if count > 1]
        found.problems += [f"was left: {each}" for each in left]
        kinds = Counter(line[2] for line in self.log.lines())
        wanted = sum(count * ELEMENTS.get(kind, 1) for kind, count in kinds.items())
        ended_well = self.hal.counts().get("COMPLETED", 0)
        if ended_well != wanted:
            found.problems.append(f"{ended_well} of {wanted} elements ended as they should: {self.hal.counts()}")
        return {
            "pilot_faults": dict(self.counts),
            "pilots": len(ordered),
            "elements_in_pilots": wanted,
            "attempts_in_pilots": found.attempts_run,
            "pilot_problems": found.problems,
        }

    def _left_in_the_end(self) -> list[str]:
        """When the pilots have had time to be given back; of an agent's directory with what is in it."""
        with suppress(SupportError):
            self.hal.tree.until("nothing of the pilots is left", lambda: not self._left(), PATIENCE_S)
        folders = self.slurm.work.glob("hal-pilot-*")
        return [*self._left(), *(f"in {each.name}: {sorted(os.listdir(each))}" for each in folders)]

    def _left(self) -> list[str]:
        """Jobs in Slurm, processes on its nodes, directories of agents."""
        lines = [" ".join(command_line(member.pid)) for member in self.slurm.tree.members()]
        processes = [line for line in lines if any(word in line for word in OF_HAL)]
        return [*self._pilots("%A"), *processes, *map(str, self.slurm.work.glob("hal-pilot-*"))]

    def _pause(self, s_max: float) -> None:
        threading.Event().wait(self.chance.random() * s_max)


def with_pilots(slurm: SlurmCluster, chance: random.Random, fault_count: int) -> Figures:
    """So many faults, over a Slurm in which nobody else has anything."""
    with PilotsByRest(slurm=slurm, node_count=PILOTS, cpus=CPUS, memory="1G", has_pool=True) as hal:
        return PilotTrial(slurm, hal, chance).run(fault_count)
