"""Nobody of the same user, a job for one, can look into daemon, agent, spawner or supervisor (S13)."""

from __future__ import annotations

import codecs
import ctypes
import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from hal_core.agent.__main__ import main as agent_main
from hal_core.agent.book import Book
from hal_core.agent.launcher import records
from hal_core.agent.launcher.spawner import main as spawner_main
from hal_core.agent.launcher.tree import PR_SET_DUMPABLE
from hal_core.agent.orders import Order, Program, launch_frame
from hal_core.daemon import run_service
from tests.support.needs import need

USER = "halsecret"
PTRACE_ATTACH = 16
PEEK = """#!/bin/sh
for file in maps environ mem; do
    if head -c 1 /proc/$PPID/$file >/dev/null 2>&1; then exit 1; fi
done
exit 5
"""


@pytest.fixture(scope="module")
def user() -> Iterator[pwd.struct_passwd]:
    need("" if os.geteuid() == 0 else "takes root, to be another user")
    subprocess.run(["useradd", "--no-create-home", "--user-group", USER], check=True)
    yield pwd.getpwnam(USER)
    subprocess.run(["userdel", "--force", USER], check=True)


class Forks:
    """Children of the test that have become the user. They begin as open as a program that was just executed."""

    def __init__(self, user: pwd.struct_passwd) -> None:
        self.user = user
        self.pids: list[int] = []
        for name in ("ascii", "unicode_escape", "idna"):
            codecs.lookup(name)  # Loaded now, while we can read the files of the standard library.

    def start(self, act: Callable[[], object]) -> int:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setresgid(*[self.user.pw_gid] * 3)
                os.setresuid(*[self.user.pw_uid] * 3)
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
                os.write(writing, b".")
                act()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - a fork must not return into pytest
                traceback.print_exc()
            finally:
                os._exit(1)
        self.pids.append(pid)
        os.close(writing)
        os.read(reading, 1)  # Now it is open.
        os.close(reading)
        return pid

    def run(self, act: Callable[[], object]) -> int:
        pid = self.start(act)
        self.pids.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def end(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def directory(user: pwd.struct_passwd) -> Iterator[Path]:
    """The user's own, where pytest's are closed to him."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, user.pw_uid, user.pw_gid)
        yield Path(name)


@pytest.fixture
def forks(user: pwd.struct_passwd, directory: Path) -> Iterator[Forks]:
    """They have ended before their directory goes."""
    made = Forks(user)
    yield made
    made.end()


def until(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s
        os.sched_yield()


def look_into(pid: int) -> None:
    """Succeeds if every way to look into that process is closed."""
    for file in ("mem", "environ", "maps"):
        with pytest.raises(PermissionError):
            Path(f"/proc/{pid}/{file}").read_bytes()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(PTRACE_ATTACH, pid, 0, 0) == -1


def is_closed(pid: int) -> bool:
    return Path(f"/proc/{pid}/mem").stat().st_uid == 0


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def main_of(service: str, directory: Path) -> Callable[[], object]:
    words = ["--name", "n1", "--cpus", "1", "--memory-bytes", "1048576", "--directory", str(directory / "n1")]
    mains: dict[str, Callable[[], object]] = {
        "daemon": lambda: run_service(trio.sleep_forever),
        "agent": lambda: agent_main([*words, "--socket", str(directory / "agents.sock")]),
        "spawner": lambda: spawner_main([str(directory / "n1")]),
    }
    return mains[service]


@pytest.mark.parametrize("service", ["daemon", "agent", "spawner"])
def test_a_process_of_the_same_user_cannot_look_in(forks: Forks, directory: Path, service: str) -> None:
    open_one = forks.start(signal.pause)
    assert forks.run(lambda: Path(f"/proc/{open_one}/environ").read_bytes()) == 0, "the test could not fail"
    if service != "daemon":
        assert forks.run(lambda: Book(directory / "n1")) == 0
    if service == "agent":  # It finds its spawner there; the user may not be able to start our Python anew.
        forks.start(main_of("spawner", directory))
        until(lambda: can_connect(directory / "n1" / "spawner.sock"))
    pid = forks.start(main_of(service, directory))
    until(lambda: is_closed(pid))
    assert forks.run(lambda: look_into(pid)) == 0
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended, and what has ended is open to all"


def test_a_job_cannot_look_into_its_supervisor(forks: Forks, directory: Path) -> None:
    state = directory / "n1"
    assert forks.run(lambda: Book(state)) == 0
    forks.start(main_of("spawner", directory))
    user = forks.user
    program = Program(user.pw_uid, user.pw_gid, script=PEEK.encode(), environment=[b"PATH=/usr/bin:/bin"])
    with socket.socket(socket.AF_UNIX) as agent:
        until(lambda: agent.connect_ex(str(state / "spawner.sock")) == 0)
        agent.sendall(launch_frame([Order("1.0.1", program, tasks=[[]])]))
        record = state / records.CLAIMS / "1.0.1"
        until(lambda: record.exists() and bool(records.parse(record.read_bytes()).end))
        end = records.parse(record.read_bytes()).end
    assert end is not None
    assert (end[0], end[2]) == ("exited", "5")
