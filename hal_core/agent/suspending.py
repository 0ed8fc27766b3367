"""Letting attempts stand still and go on: by their cgroup where they have one, otherwise process by process.

The record of the attempt has a line for each, by the monotonic clock: from it the supervisor knows that the time limit
stands still as well, and whoever comes after a killed agent what was ordered. So nothing stands still without one: on a
full disk the attempt runs on, beside whoever borrows its CPUs. Doing it again changes nothing. A process that its user
had stopped goes on as well. Also used by the guard: standard library only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hal_core.agent.launcher import records, tree

PAUSE_S = 0.001
STOP_ROUNDS_MAX = 100
"""A tree that forks faster than it can be stopped runs on in part, where there is no cgroup."""


def suspend(directory: Path, key: str, cgroups: Mapping[str, str]) -> None:
    """`directory`: the agent's state. What is not there, or has ended, is left alone."""
    with _claims(directory) as claims:
        record = _running(claims, key)
        if record is None:
            return
        if record.suspend_time_s is None and not _note(claims, key, record, "suspend"):
            return
        if not _freeze(cgroups, key, "1", "FROZEN"):
            _stop(record.supervisor_pid)


def resume(directory: Path, key: str, cgroups: Mapping[str, str]) -> None:
    with _claims(directory) as claims:
        record = _running(claims, key)
        if record is None or record.suspend_time_s is None:
            return
        if not _freeze(cgroups, key, "0", "THAWED"):
            tree.signal_tree(signal.SIGCONT, root=record.supervisor_pid)
        _note(claims, key, record, "resume")


def _stop(supervisor_pid: int) -> None:
    """Again until no new ones are found: who is stopped forks no more, but the last fork may just have happened."""
    stopped: set[int] = set()
    for _ in range(STOP_ROUNDS_MAX):
        found = tree.signal_tree(signal.SIGSTOP, root=supervisor_pid)
        if found <= stopped:
            return
        stopped = found
        time.sleep(PAUSE_S)


@contextmanager
def _claims(directory: Path) -> Iterator[int]:
    """Descriptor of the directory of records."""
    descriptor = os.open(directory / records.CLAIMS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _running(claims: int, key: str) -> records.Record | None:
    """The record of an attempt that a supervisor looks after."""
    record = records.read_named(claims, key)
    if record is None or record.end is not None or not record.supervisor_pid:
        return None
    unheld = records.take_lock(claims, key)
    if unheld is not None:
        os.close(unheld)
        return None
    return record


def _note(claims: int, key: str, record: records.Record, kind: str) -> bool:
    """Write it into the record, and have the supervisor look. False if it could not be written: what goes on then has
    no time limit until it is told again, and can be cancelled."""
    try:
        claim = os.open(key, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=claims)
        try:
            records.append(claim, records.line(kind, repr(time.monotonic())))
        finally:
            os.close(claim)
    except OSError:
        return False
    records.signal_holder(claims, key, record.supervisor_pid, signal.SIGTERM)
    return True


def _freeze(cgroups: Mapping[str, str], key: str, v2: str, v1: str) -> bool:
    """By its group, with no race against forks. False if it has none."""
    unified, freezer = cgroups.get("unified"), cgroups.get("freezer")
    if unified is None and freezer is None:
        return False
    path, text = (f"{freezer}/{key}/freezer.state", v1) if unified is None else (f"{unified}/{key}/cgroup.freeze", v2)
    try:
        with open(path, "r+b", buffering=0) as file:
            file.write(text.encode())
    except OSError:
        return False
    return True
