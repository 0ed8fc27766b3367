"""Processes that outlive the daemon: start one, tell whether it still runs, end it. Never by pid alone.

A pid is reused; a pid with its start time is not. A process that this daemon started is its child and is reaped here;
one that an earlier daemon started is found again by the same two numbers, or, if it was killed before it could note
them, by a mark in the environment of the process.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import trio

from hal_core import Refused

MARK: Final = "HAL_CLOUD_STATIC_MACHINE"
"""In the environment of a machine's process, and of those that it starts."""


def start_process(command: list[str], output: Path, mark: str) -> tuple[int, int]:
    """Start the command in a session of its own, output appended to a file. Returns (pid, start ticks)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o640),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these; a program expects them as they are
    try:
        environment = {**os.environ, MARK: mark}
        pid = os.posix_spawnp(command[0], command, environment, file_actions=actions, setsid=True, setsigdef=defaults)
    except OSError as error:
        raise Refused(f"cannot start {command[0]!r}: {error.strerror}") from None
    return pid, _start_ticks(pid) or 0


def find_process(mark: str) -> tuple[int, int] | None:
    """The first process with this mark, which started all others that have it; None: there is none."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            is_marked = wanted in (directory / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            continue
        if is_marked and (ticks := _start_ticks(int(directory.name))) is not None:
            found.append((ticks, int(directory.name)))
    if not found:
        return None
    ticks, pid = min(found)
    return pid, ticks


def is_running(pid: int, start_ticks: int) -> bool:
    """Whether exactly that process runs. Reaps it if it was our child and has ended."""
    if not pid or _start_ticks(pid) != start_ticks:
        return False
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return True


async def end_process(pid: int, start_ticks: int, grace_s: float) -> None:
    """SIGTERM to the process and its session, SIGKILL after the grace; returns when it is gone."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        if not is_running(pid, start_ticks):
            return
        handle = os.pidfd_open(pid)
        try:
            os.killpg(pid, number)
            with trio.move_on_after(patience_s):
                await trio.lowlevel.wait_readable(handle)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)
    is_running(pid, start_ticks)


def _start_ticks(pid: int) -> int | None:
    """The start time from /proc, in clock ticks since boot; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[19])
