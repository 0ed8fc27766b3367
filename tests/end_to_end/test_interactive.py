"""`hal run --pty` and `hal alloc` at a real terminal: what is typed, what is shown, and that nothing is left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hal_connection import HalRefused
from tests.support.hal_services import HalServices
from tests.support.needs import need
from tests.support.person import PATIENCE_S, Person

OTHER = "nobody"


@pytest.fixture(scope="module")
def hal() -> Iterator[HalServices]:
    with HalServices(node_count=1, cpus=4) as running:
        running.directory.chmod(0o711)
        yield running


def until_released(hal: HalServices) -> None:
    hal.tree.until("nothing runs", lambda: hal.active_count() == 0, PATIENCE_S, hal.watched)


def test_a_terminal_on_the_node_is_this_one(hal: HalServices) -> None:
    with Person(hal, "run", "--pty", "--", "/bin/sh", "-i") as person:
        person.see("READY> ")
        person.type("tty; stty size\r")
        person.see("/dev/pts/[0-9]+\r\n40 100\r\n")
        fcntl.ioctl(person.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        os.kill(person.pid, signal.SIGWINCH)
        person.type("sleep 0.5; stty size; echo job=$HAL_JOB_ID\r")
        person.see("50 120\r\njob=[0-9]+\r\n")
        person.type("cat\r")
        person.see("cat\r\n")
        person.type("\x03")
        person.see("READY> ")
        person.type("echo after-the-interrupt $((6*7))\r")
        person.see("after-the-interrupt 42")
        person.type("exit 7\r")
        assert person.leave() == 7
    until_released(hal)


def test_the_end_by_a_signal_and_a_large_output(hal: HalServices) -> None:
    with Person(hal, "run", "--pty", "--quiet", "--", "/bin/sh", "-c", "seq 200000; kill -9 $$") as person:
        person.see("\r\n200000\r\n")
        assert person.leave() == 128 + 9
    with Person(hal, "run", "--pty", "--", "/no/such/program") as person:
        assert person.leave() == 127
    until_released(hal)


def test_nothing_of_it_is_in_the_journal(hal: HalServices) -> None:
    with Person(hal, "run", "--pty", "--", "/bin/cat") as person:
        person.type("cana\x08ary-of-the-terminal\r")
        person.see("ary-of-the-terminal\r\n.*ary-of-the-terminal\r\n")
        person.type("\x04")
        assert person.leave() == 0
    for path in [*hal.state.rglob("*"), *Path(f"{hal.state}-nodes").rglob("*")]:
        if path.is_file():
            assert b"ary-of-the-terminal" not in path.read_bytes(), path


@pytest.mark.parametrize("words", [["run", "--pty", "--", "/bin/sh", "-i"], ["alloc", "--", "/bin/sh", "-i"]])
def test_who_leaves_without_a_word_releases_it(hal: HalServices, words: list[str]) -> None:
    with Person(hal, *words) as person:
        person.see("READY> ")
        assert hal.active_count() == 1
        person.die()
        until_released(hal)


def test_who_does_not_wait_for_the_beginning_leaves_nothing(hal: HalServices) -> None:
    with Person(hal, "run", "--pty", "--hold", "--", "/bin/sh") as person:
        hal.tree.until("it waits", lambda: hal.active_count() == 1, PATIENCE_S, hal.watched)
        person.type("\x03")
        assert person.leave() == 130
        until_released(hal)
    with Person(hal, "alloc", "--hold") as person:
        hal.tree.until("it waits", lambda: hal.active_count() == 1, PATIENCE_S, hal.watched)
        person.die()
        until_released(hal)


def test_an_allocation_is_held_while_a_command_runs(hal: HalServices) -> None:
    with Person(
        hal, "alloc", "--", "/bin/sh", "-c", "echo nodes=$HAL_NODE_LIST id=$HAL_JOB_ID; read x; exit 5"
    ) as person:
        person.see("holds n1")
        person.see("nodes=n1 id=[0-9]+\r\n")
        assert hal.active_count() == 1
        person.type("\r")
        assert person.leave() == 5
        until_released(hal)


def test_a_cancelled_job_ends_the_terminal_and_the_shell(hal: HalServices) -> None:
    with Person(hal, "alloc", "--", "/bin/sh", "-c", "echo id=$HAL_JOB_ID; exec sleep 1000") as person:
        job_id = int(person.see("id=([0-9]+)\r\n")[1])
        hal.post(f"/v1/jobs/{job_id}/cancel", {})
        assert person.leave() == 128 + signal.SIGHUP


def test_daemon_and_agent_may_die_meanwhile(hal: HalServices) -> None:
    with Person(hal, "run", "--pty", "--", "/bin/sh", "-i") as person:
        person.see("READY> ")
        for service in ("daemon", "n1"):
            hal.kill(service)
            hal.start_service(service)
            hal.wait_until_ready()
            person.type(f"echo still-{service}-$((40+2))\r")
            person.see(f"still-{service}-42\r\n")
        person.type("exit 3\r")
        assert person.leave() == 3


def test_a_terminal_is_for_its_owner_alone(hal: HalServices) -> None:
    need("" if os.geteuid() == 0 else "takes root, to be another user")
    home = hal.directory / "nobody"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    with Person(hal, "run", "--pty", f"--chdir={home}", "--", "/bin/sh", "-i", user=OTHER) as person:
        person.see(r"[$>] ")
        person.type("id -un; echo id=$HAL_JOB_ID\r")
        person.see(f"{OTHER}\r\n")
        job_id = int(person.see("id=([0-9]+)\r\n")[1])
        with pytest.raises(HalRefused, match="is for nobody only"):
            hal.get(f"/v1/jobs/{job_id}/terminal")
        with pytest.raises(HalRefused, match="is for nobody only"):
            hal.post(f"/v1/jobs/{job_id}/terminal", {"data": "eAo="})
        person.die()
        until_released(hal)
