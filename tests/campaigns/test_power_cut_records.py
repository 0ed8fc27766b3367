"""The node's records on a disk that loses power: claimed durably before anything runs, ended durably before it is told.

A spawner and its supervisors run under strace. At each of their calls the disk model knows what is certainly there.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hal_core.agent.book import Book
from hal_core.agent.launcher import records
from hal_core.agent.orders import Order, Program, cancel_frame, launch_frame, stop_frame
from tests.support.power_model import PowerModel
from tests.support.syscalls import Call, Execute, Write, calls, need_strace, strace

JOB_COUNT = 12
LAUNCHER = Path(records.__file__).with_name("__main__.py")


def order(number: int) -> Order:
    program = Program(os.geteuid(), os.getegid(), arguments=[b"/bin/true"], walltime_s=60.0, grace_s=1.0)
    environment = [b"HAL_JOB_ID=%d" % number, b"HAL_ATTEMPT=1"]
    return Order(f"{number}.0.1", program, environment=environment, tasks=[[b"TASK=0"]])


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """Everything that a spawner did for a dozen jobs, one of them cancelled before it was ordered."""
    need_strace()
    directory = tmp_path_factory.mktemp("records")
    state = directory / "n1"
    Book(state)
    argv = [*strace(directory / "log"), sys.executable, "-I", "-S", str(LAUNCHER), str(state)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as spawner, connected(state / "spawner.sock") as agent:
        agent.sendall(cancel_frame("99.0.1", 1.0))
        for first in range(1, JOB_COUNT + 1, 4):
            agent.sendall(launch_frame([order(number) for number in range(first, first + 4)]))
        agent.sendall(stop_frame())
        assert spawner.wait(60) == 0
    return list(calls(directory / "log"))


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 30, 0))
        while agent.connect_ex(str(path)) != 0:
            os.sched_yield()
        yield agent


def certainly(model: PowerModel, key: str) -> bytes | None:
    """The record as it is on the disk whatever happens."""
    return next((content for path, content in model.certain().items() if path.endswith(f"/claims/{key}")), None)


def root_of(work: list[Call]) -> str:
    return next(match[1] for call in work if (match := re.match(r"(.*)/claims/\d", getattr(call, "path", ""))))


def test_nothing_runs_before_its_claim_is_on_disk(work: list[Call]) -> None:
    model = PowerModel(root_of(work))
    executed = 0
    started: dict[int, str] = {}
    for call in work:
        if isinstance(call, Write) and "/claims/" in call.path and b" run\t" in call.content:
            started[call.pid] = os.path.basename(call.path)
        if isinstance(call, Execute) and call.path == "/bin/true":
            executed += 1
            claimed = {key for key in started.values() if certainly(model, key) is not None}
            assert claimed == set(started.values())
        model.follow(call)
    assert executed == JOB_COUNT


def test_no_end_is_told_before_it_is_on_disk(work: list[Call]) -> None:
    model = PowerModel(root_of(work))
    ended: set[str] = set()
    told = 0
    for call in work:
        if isinstance(call, Write) and "/claims/" in call.path and b" end\t" in call.content:
            ended.add(os.path.basename(call.path))
        if isinstance(call, Write) and call.path.endswith("/hints"):
            key = call.content.decode().strip()
            if key in ended:
                told += 1
                record = certainly(model, key)
                assert record is not None, f"{key} was told and is not on the disk"
                assert records.parse(record).end is not None
        model.follow(call)
    assert (told, len(ended)) == (JOB_COUNT + 1, JOB_COUNT + 1)
