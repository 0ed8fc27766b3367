"""Finding and ending every process of an attempt, however often it forked, changed its session or hid its parent.

The supervisor is a child subreaper: whatever the job leaves behind becomes its child, so "no child left" (ECHILD) means
that the tree is empty. A process id is never trusted by itself: it is pinned by a pidfd and its parent is checked after
that, or it is an unreaped child of ours.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from resource import struct_rusage

PR_SET_CHILD_SUBREAPER = 36


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


def descendants(roots: list[int]) -> Iterator[int]:
    """The given processes and all below them, parents first."""
    waiting = list(roots)
    while waiting:
        pid = waiting.pop(0)
        yield pid
        waiting += children(pid)


def signal_tree(number: int, spared: frozenset[int] = frozenset()) -> None:
    """Send a signal to all descendants of this process, except to the spared children and what is below them."""
    own = os.getpid()
    is_ours = {own}
    for pid in descendants([child for child in children(own) if child not in spared]):
        send(pid, number, lambda pid=pid: _parent(pid) in is_ours)  # type: ignore[misc]
        is_ours.add(pid)


def send(pid: int, number: int, is_right: Callable[[], bool]) -> None:
    """Pin the process, make sure that it is the one that is meant, then signal it."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if is_right():
            signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        pass  # Gone, or it became another user by a set-user-id program: the kernel's cgroup kill is the remedy.
    finally:
        os.close(pidfd)


def kill_marked(marks: list[bytes]) -> int:
    """Last resort, when the parent of a tree is gone and there was no cgroup: go by what is in the environment."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and _has_marks(name, marks):
            send(int(name), signal.SIGKILL, lambda name=name: _has_marks(name, marks))  # type: ignore[misc]
            count += 1
    return count


def kill_children(spared: frozenset[int], deadline_s: float) -> None:
    """SIGKILL to all our descendants but the spared children and theirs, until they are reaped or time is up."""
    while found := [pid for pid in children(os.getpid()) if pid not in spared]:
        signal_tree(signal.SIGKILL, spared)
        for pid in found:
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() >= deadline_s:
            return
        time.sleep(0.001)


def reap_and_kill(deadline_s: float, on_reaped: Callable[[int, int, struct_rusage], None]) -> bool:
    """SIGKILL until no child is left. False if some could not be killed by then (monotonic time)."""
    while True:
        is_one_reaped = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                break
            is_one_reaped = True
            on_reaped(pid, status, usage)
        if time.monotonic() >= deadline_s:
            return False
        signal_tree(signal.SIGKILL)
        if not is_one_reaped:
            time.sleep(0.001)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


def _has_marks(name: str, marks: list[bytes]) -> bool:
    try:
        with open(f"/proc/{name}/environ", "rb") as file:
            found = set(file.read().split(b"\0"))
    except OSError:
        return False
    return found.issuperset(marks)
