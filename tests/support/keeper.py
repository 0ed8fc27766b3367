"""Keeps processes for tests: starts them on request, adopts what they leave behind, ends all of it with itself.

Run as a program by tests/support/processes.py; imports nothing outside the standard library. It is a subreaper, so a
daemon that forks twice and detaches stays its descendant, and the CPU time of such a process ends in the keeper's own
account of reaped children. When its standard input closes (the test ended, or was killed) every descendant is killed.

Requests and answers are lines of JSON. Requests: {"start": {...}} and {"signal": [pid, number]}. Answers:
{"started": pid}, {"failed": text} or {"signalled": bool}. {"exited": [pid, wait status]} comes whenever it happens.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
from typing import Any

PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
NAME = b"keeper"
OPEN_FILES_MAX = 65536


def main() -> None:
    """Serve requests until standard input closes, then end everything."""
    become_subreaper()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test, which then closes our input
    running: set[int] = set()
    waiting = selectors.DefaultSelector()
    waiting.register(0, selectors.EVENT_READ)
    waiting.register(wake_read, selectors.EVENT_READ)
    unread = b""
    while True:
        for key, _ in waiting.select():
            if key.fd == wake_read:
                os.read(wake_read, 4096)
                reap(running)
                continue
            received = os.read(0, 65536)
            if not received:
                end_all()
                return
            *lines, unread = (unread + received).split(b"\n")
            for line in lines:
                answer(serve(json.loads(line), running))


def become_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NAME, NAME)  # what it has reaped is listed as "keeper's ended"
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES_MAX, hard), hard))


def serve(request: dict[str, Any], running: set[int]) -> dict[str, Any]:
    if "signal" in request:
        pid, number = request["signal"]
        if pid not in running:  # reaped: the number may belong to somebody else by now
            return {"signalled": False}
        os.kill(pid, number)
        return {"signalled": True}
    try:
        pid = start(request["start"])
    except (OSError, KeyError) as error:
        return {"failed": f"{request['start']['argv'][0]}: {error}"}
    running.add(pid)
    return {"started": pid}


def start(what: dict[str, Any]) -> int:
    identity: dict[str, Any] = {}
    if what["user"]:
        identity = {"user": what["user"], "group": what["group"], "extra_groups": []}
    with open(what["log"], "ab") as log:
        process = subprocess.Popen(
            what["argv"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=what["environment"],
            cwd=what["directory"],
            start_new_session=True,
            umask=0o022,
            **identity,
        )
    process.returncode = 0  # the keeper itself reaps it; subprocess must never wait for that number
    return process.pid


def reap(running: set[int]) -> bool:
    """Collect every child that has ended. False when there is none left at all."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        if pid in running:
            running.discard(pid)
            answer({"exited": [pid, status]})


def answer(what: dict[str, Any]) -> None:
    try:
        os.write(1, json.dumps(what).encode() + b"\n")
    except BrokenPipeError:
        return  # the test is gone; its end of our input closes too, and that ends us


def end_all() -> None:
    """SIGKILL to descendants until no child is left: an orphan of a killed one becomes our child and is next."""
    while True:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def descendants(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, frontier = [], {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found += sorted(frontier)
    return found


if __name__ == "__main__":
    main()
