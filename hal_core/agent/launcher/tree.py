"""Finding and ending every process of an attempt, however often it forked, changed its session or hid its parent.

The supervisor is a child subreaper: whatever the job leaves behind becomes its child, so "no child left" (ECHILD) means
that the tree is empty. A process id is never trusted by itself: it is pinned by a pidfd and its parent is checked after
that, or it is an unreaped child of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from resource import struct_rusage

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
PAUSE_S = 0.001
_prctl = ctypes.CDLL(None).prctl


def adopt_orphans() -> None:
    """What our descendants leave behind becomes our child. Not inherited by a fork."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def close_to_others() -> None:
    """Nobody but root can look into our memory or trace us, and it is never written to a core file."""
    _prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def children(pid: int) -> list[int]:
    """Direct children of a process, newest state; empty if it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def signal_tree(number: int, spared: frozenset[int] = frozenset(), root: int | None = None) -> set[int]:
    """Send a signal to all descendants of this process (or another), except to the spared children and what is below
    them. Returns their ids."""
    ours = {root or os.getpid()}
    waiting = [child for child in children(*ours) if child not in spared]
    for pid in waiting:  # Grows while we go: parents first.
        waiting += children(pid)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        # Gone, or it became another user by a set-user-id program: the kernel's cgroup kill is the remedy.
        with suppress(ProcessLookupError, PermissionError):
            if _parent(pid) in ours:
                signal.pidfd_send_signal(pidfd, number)
        os.close(pidfd)
        ours.add(pid)
    return ours


def kill_children(spared: frozenset[int], deadline_s: float) -> None:
    """SIGKILL to all our descendants but the spared children and theirs, until they are reaped or time is up."""
    while found := [pid for pid in children(os.getpid()) if pid not in spared]:
        signal_tree(signal.SIGKILL, spared)
        for pid in found:
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() >= deadline_s:
            return
        time.sleep(PAUSE_S)


def reap(on_reaped: Callable[[int, int, struct_rusage], None]) -> bool | None:
    """Collect what has ended: whether that was anything; None if no child is left."""
    is_one_reaped = False
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return is_one_reaped
        is_one_reaped = True
        on_reaped(pid, status, usage)


def reap_and_kill(deadline_s: float, on_reaped: Callable[[int, int, struct_rusage], None]) -> bool:
    """SIGKILL until no child is left. False if some could not be killed by then (monotonic time)."""
    while (is_one_reaped := reap(on_reaped)) is not None:
        if time.monotonic() >= deadline_s:
            return False
        signal_tree(signal.SIGKILL)
        if not is_one_reaped:
            time.sleep(PAUSE_S)
    return True


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1
