"""Processes of a test: started, watched, signalled, and gone when the test is.

`ProcessTree` is the test's side of tests/support/keeper.py. It knows every process that its own ones started, however
they detached, so that CPU time can be told by name and nothing is ever left behind. It must not know what the
processes do: readiness is a condition that the caller gives.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import attrs

KEEPER = Path(__file__).with_name("keeper.py")
POLL_INTERVAL_S = 0.05
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class SupportError(Exception):
    """What a test needs could not be brought up; the text says what happened and shows the end of the log."""


@attrs.frozen
class Member:
    """One live process of a tree. `reaped_cpu_s` is that of its children which it has waited for."""

    pid: int
    name: str
    parent: int
    cpu_s: float
    reaped_cpu_s: float
    rss_bytes: int


class ProcessTree:
    """A context manager. Leaving it kills every process that was started in it and all their descendants."""

    def __init__(self) -> None:
        self.exited: dict[int, int] = {}
        """Exit codes of the processes started here, negative for a signal, as subprocess has them."""
        self._logs: dict[int, tuple[str, Path]] = {}
        self._unread = b""
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keeper, to_keeper, from_keeper = self._ends()
        to_keeper.close()
        keeper.wait(timeout=30)
        from_keeper.close()
        self._keeper = None

    @property
    def pid(self) -> int:
        """The keeper's own process: the root of the tree."""
        return self._ends()[0].pid

    def start(
        self,
        argv: Iterable[str | Path],
        log: Path,
        environment: Mapping[str, str],
        *,
        user: tuple[int, int] | None = None,
        directory: Path | str = "/",
    ) -> int:
        """Start a process with its output appended to `log`; `user` is (uid, gid). Returns its pid."""
        words = [str(word) for word in argv]
        uid, gid = user or (0, 0)
        reply = self._ask(
            start={
                "argv": words,
                "log": str(log),
                "environment": dict(environment),
                "user": uid,
                "group": gid,
                "directory": str(directory),
            }
        )
        if "failed" in reply:
            raise SupportError(f"cannot start {reply['failed']}")
        pid = int(reply["started"])
        self.exited.pop(pid, None)  # Ids come round again.
        self._logs[pid] = (Path(words[0]).name, log)
        return pid

    def signal(self, pid: int, number: signal.Signals) -> bool:
        """Send a signal. False if the process has ended."""
        return bool(self._ask(signal=[pid, int(number)])["signalled"])

    def stop(self, pids: Iterable[int], grace_s: float = 10.0) -> None:
        """SIGTERM to all of them, SIGKILL to those that have not ended after `grace_s`. Returns when all have."""
        stopping = [pid for pid in pids if self.signal(pid, signal.SIGTERM)]
        if not self.wait_for_exits(stopping, grace_s):
            for pid in stopping:
                self.signal(pid, signal.SIGKILL)
            self.wait_for_exits(stopping, grace_s)

    def wait_for_exits(self, pids: Iterable[int], timeout_s: float) -> bool:
        """Wait until all have ended. False if some still run after `timeout_s`."""
        awaited, deadline = set(pids), time.monotonic() + timeout_s
        while not awaited <= self.exited.keys():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._receive(left_s)
        return True

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait for the end of all that is left, detached or not. False if something still runs after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while len(self.members()) > 1:
            if time.monotonic() > deadline:
                return False
            self._receive(POLL_INTERVAL_S)
        return True

    def until(
        self,
        what: str,
        condition: Callable[[], bool],
        timeout_s: float,
        watched: Iterable[int] = (),
        interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        """Poll `condition`. Raises SupportError when the time is over or one of `watched` ends instead."""
        watched, deadline = tuple(watched), time.monotonic() + timeout_s
        while not condition():
            self._receive(interval_s)  # an exit wakes us at once; else this is the pause between two polls
            for pid in watched:
                if pid in self.exited:
                    raise SupportError(f"{what}: exit code {self.exited[pid]} of {self._tail(pid)}")
            if time.monotonic() > deadline:
                tails = "\n".join(self._tail(pid) for pid in watched)
                raise SupportError(f"{what}: not within {timeout_s:.0f} s\n{tails}")

    def members(self) -> list[Member]:
        """Every live process of the tree, the keeper first."""
        return members_of(self.pid)

    def _tail(self, pid: int) -> str:
        name, log = self._logs[pid]
        lines = log.read_text(errors="replace").splitlines()[-40:] if log.exists() else []
        return f"{name} (pid {pid}), the end of {log}:\n" + "\n".join(f"  {line}" for line in lines)

    def _ends(self) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
        """The keeper, the pipe to it and the pipe from it."""
        assert self._keeper is not None, "the process tree is not entered"
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        return self._keeper, self._keeper.stdin, self._keeper.stdout

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._ends()[1].write(json.dumps(request).encode() + b"\n")
        while (reply := self._receive(30.0)) is None:
            pass
        return reply

    def _receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Read one line of the keeper's, or none in that time. An exit is noted, and is no reply."""
        if b"\n" not in self._unread:
            descriptor = self._ends()[2].fileno()
            if not select.select([descriptor], [], [], timeout_s)[0]:
                return None
            received = os.read(descriptor, 65536)
            if not received:
                raise SupportError("the keeper of the test's processes has died")
            self._unread += received
        line, newline, rest = self._unread.partition(b"\n")
        if not newline:
            return None
        self._unread = rest
        message: dict[str, Any] = json.loads(line)
        if "exited" in message:
            pid, status = message["exited"]
            self.exited[pid] = os.waitstatus_to_exitcode(status)
            return None
        return message


def members_of(root: int) -> list[Member]:
    """The process `root` and all its live descendants."""
    everyone = {pid: member for pid in _pids() if (member := _member(pid)) is not None}
    children: dict[int, list[int]] = {}
    for member in everyone.values():
        children.setdefault(member.parent, []).append(member.pid)
    found, frontier = [], [root]
    while frontier:
        pid = frontier.pop()
        if pid in everyone:
            found.append(everyone[pid])
            frontier += children.get(pid, [])
    return found


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _member(pid: int) -> Member | None:
    """None for a process that has just gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    if name.startswith("python"):
        name = _program(pid) or name
    fields = text[text.rindex(")") + 2 :].split()
    user, system, reaped_user, reaped_system = (int(field) / TICKS_PER_S for field in fields[11:15])
    return Member(
        pid=pid,
        name=name,
        parent=int(fields[1]),
        cpu_s=user + system,
        reaped_cpu_s=reaped_user + reaped_system,
        rss_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


def _program(pid: int) -> str:
    """What a Python process runs: the module after -m, or the script (the folder of a `__main__.py`)."""
    words = command_line(pid)[1:]
    for at, word in enumerate(words):
        if word == "-m" and at + 1 < len(words):
            return words[at + 1]
        if not word.startswith("-"):
            path = Path(word)
            return path.parent.name if path.name == "__main__.py" else path.name
    return ""


def command_line(pid: int) -> list[str]:
    """Empty for a process that has ended."""
    try:
        return [word.decode(errors="replace") for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []
