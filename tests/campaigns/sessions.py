"""Kill the processes of a recoverable session at random, and count: each task has one result, the right one.

The client is a process of its own (`client` below) that is killed too; the next one comes back to the session and goes
on where the numbers end. Each task leaves a mark when it runs: one whose result was given may not run again.

With `--daemon` the workers are a job of a real daemon on two nodes, which is killed as well, and started again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hal_core.client import attach, session
from hal_core.client.session_directory import known_sessions
from tests.campaigns.common import Campaign, Figures, progress
from tests.support import tasks
from tests.support.hal_services import DAEMON, HalServices
from tests.support.processes import Member, command_line, members_of

TASK_COUNT = 2000
KINDS = ("worker", "broker", "client")
PAUSE_S_MEAN = 0.15
CLIENT_S_MAX = 100.0
"""A client that takes longer hangs."""
CLIENT = "tests.campaigns.sessions"
NODE_WORKER = "hal_core.sessions.node_worker"


def measure(campaign: Campaign) -> Figures:
    with tempfile.TemporaryDirectory() as base:
        try:
            given = campaign.given
            if not given.daemon:
                return kill(given.kills, campaign.seed, Path(base))
            with HalServices(node_count=2, cpus=4) as services:
                return kill(given.kills, campaign.seed, Path(base), services)
        except AssertionError as error:
            campaign.problems.append(str(error))
            return {}


def kill(kills_of_each: int, seed: int, base: Path, services: HalServices | None = None) -> Figures:
    """Returns how many of each kind were killed, and how often a task ran again. Raises AssertionError."""
    chance = random.Random(seed)
    os.environ["XDG_STATE_HOME"] = str(base / "state")
    done = dict.fromkeys(KINDS if services is None else (*KINDS, DAEMON), 0)
    runs = again = 0
    while min(done.values()) < kills_of_each:
        marks = base / f"marks{runs}"
        marks.mkdir()
        again += one_session(chance, marks, done, kills_of_each, services)
        runs += 1
        progress(f"{done}")
    return {"kills": done, "sessions": runs, "tasks": runs * TASK_COUNT, "runs_again": again}


def one_session(
    chance: random.Random, marks: Path, done: dict[str, int], kills_of_each: int, services: HalServices | None
) -> int:
    """One session of TASK_COUNT tasks, with kills until it has ended."""
    given = marks.with_name(f"{marks.name}-given")
    name, server = "", "local" if services is None else str(services.socket)
    while True:
        words = [sys.executable, "-m", CLIENT, "client", str(marks), str(given), name, server]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        name = process.stdout.readline().strip() or name
        deadline_s = time.monotonic() + CLIENT_S_MAX
        while process.poll() is None:
            if time.monotonic() > deadline_s:
                process.kill()
                raise AssertionError(f"a client hung in session {name}; {done} kills before, results in {given}")
            kind = chance.choice([each for each in done if done[each] < kills_of_each] or ["none"])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.expovariate(1 / PAUSE_S_MEAN))
            if kind == DAEMON:
                assert services is not None
                services.kill(DAEMON)
                done[kind] += 1
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(chance.expovariate(1 / PAUSE_S_MEAN))
                services.start_service(DAEMON)
            elif (victim := find(kind, process.pid, chance)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
                    done[kind] += 1
        process.stdout.close()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, f"the client failed: exit code {process.returncode}"
    counts = {int(path.name): path.stat().st_size for path in marks.iterdir()}
    assert sorted(counts) == list(range(TASK_COUNT)), "a task never ran"
    check_given(given, counts)
    return sum(counts.values()) - TASK_COUNT


def check_given(given: Path, counts: dict[int, int]) -> None:
    """Each line: a task's number, and how often it had run when its result was given."""
    for line in given.read_text().splitlines():
        if line.endswith("."):
            number, runs = line.rstrip(".").split()
            assert counts[int(number)] == int(runs), f"task {number} ran again after its result was given"


def find(kind: str, client: int, chance: random.Random) -> Member | None:
    """A process of that kind, if there is one now. Brokers outlive clients, so they are looked for everywhere."""
    everybody = members_of(1)
    if kind == "client":
        return next((each for each in everybody if each.pid == client), None)
    state = os.environ["XDG_STATE_HOME"].encode()
    ours = [each for each in everybody if state in environment(each.pid) and each.pid != client]
    on_nodes = {each.pid: each for each in ours if NODE_WORKER in " ".join(command_line(each.pid))}
    if on_nodes and kind == "worker":  # Each is the child of a small process that starts the next.
        return chance.choice([each for each in on_nodes.values() if each.parent in on_nodes] or [None])
    ours = [each for each in ours if each.pid not in on_nodes]
    brokers = {each.pid for each in ours if each.parent in (client, 1) or each.parent not in {o.pid for o in ours}}
    starters = {each.pid for each in ours if each.parent in brokers}
    wanted = [each for each in ours if (each.pid in brokers if kind == "broker" else each.parent in starters)]
    return chance.choice(wanted) if wanted and kind != "none" else None


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def client(marks: str, given: str, name: str, server: str) -> None:
    """Open the session, or come back to it, and write down each result when it was given.

    One that is not there any more was ended by a client that was killed between that and its own end.
    """
    if name and name not in known_sessions(os.environ):
        return
    opened = attach(name) if name else session(workers=2, recoverable=True, server=server)
    print(opened.id, flush=True)
    before = opened.results()
    rest = opened.stream(tasks.mark, ((number, marks) for number in range(opened.task_count, TASK_COUNT)))
    with open(given, "a", buffering=1) as file:
        for results in (before, rest):
            for number in results:
                runs = (Path(marks) / str(number)).stat().st_size
                file.write(f"{number} {runs}.\n")
    opened.shutdown()


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        client(*sys.argv[2:6])
    else:
        run = Campaign("sessions", __doc__)
        run.parser.add_argument("--kills", type=int, default=300, help="of each kind of process (default: 300)")
        run.parser.add_argument("--daemon", action="store_true", help="workers of a daemon, which is killed as well")
        run.main(measure)
