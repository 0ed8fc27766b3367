"""The process tree of tests/support: nothing that was started in it outlives it, and its CPU time is all told."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.meter import Meter
from tests.support.processes import ProcessTree, SupportError

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
DETACH = "(setsid sh -c 'echo $$; exec sleep 1000' &) ; sleep 1000"
BURN = "(setsid sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done' &)"


def test_a_detached_process_ends_with_the_tree(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ProcessTree() as tree:
        tree.start(["sh", "-c", DETACH], log, ENVIRONMENT)
        tree.until("the detached one is there", lambda: log.exists() and log.read_text().endswith("\n"), 10)
        detached = int(log.read_text())
        assert detached in {member.pid for member in tree.members()}
    assert not Path(f"/proc/{detached}").exists()


def test_a_killed_test_leaves_nothing_behind(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from tests.support.processes import ProcessTree\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "with ProcessTree() as tree:\n"
        f"    print(tree.start(['sleep', '1000'], log, {ENVIRONMENT}), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    test = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert test.stdout is not None
    kept = os.pidfd_open(int(test.stdout.readline()))
    test.send_signal(signal.SIGKILL)
    assert select.select([kept], [], [], 10)[0], "the process is still there"
    os.close(kept)
    test.communicate()


def test_cpu_time_of_detached_and_ended_processes_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ProcessTree() as tree, Meter(tree.pid) as meter:
        tree.start(["sh", "-c", BURN], log, ENVIRONMENT)
        tree.until("done", lambda: log.exists() and "done" in log.read_text(), 30)
        tree.until("it is gone", lambda: len(tree.members()) == 1, 10)
        meter.read()
        used_s, by_name = meter.cpu_s, meter.cpu_s_by_name
    assert used_s > 0.05
    assert next(iter(by_name)).endswith("'s ended")


def test_a_process_that_ends_instead_is_told_with_its_log(tmp_path: Path) -> None:
    with ProcessTree() as tree:
        pid = tree.start(["sh", "-c", "echo disk is full; exit 3"], tmp_path / "log", ENVIRONMENT)
        with pytest.raises(SupportError, match=r"ready: exit code 3 of sh .*\n.*disk is full"):
            tree.until("ready", lambda: False, 10, [pid])


def test_a_process_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ProcessTree() as tree:
        pid = tree.start(["sh", "-c", "trap '' TERM; echo; while :; do sleep 1000; done"], log, ENVIRONMENT)
        tree.until("it is deaf", lambda: log.exists() and log.read_text() == "\n", 10)
        tree.stop([pid], grace_s=0.2)
        assert tree.exited[pid] == -signal.SIGKILL


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with ProcessTree() as tree, pytest.raises(SupportError, match="cannot start /no/such/program"):
        tree.start(["/no/such/program"], tmp_path / "log", ENVIRONMENT)
