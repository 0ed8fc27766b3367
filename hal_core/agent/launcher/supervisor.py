"""The supervisor of an attempt: starts its processes, enforces the limit, ends the tree, writes the record.

It is forked from the spawner, has its own session, and lives as long as the attempt does, whatever happens to the
agent, the daemon or the spawner. It stays root (if the spawner is), so that the job cannot kill it or forge its record.
It looks after one attempt at a time; when that is over, with nothing of it left, it may be given another, because a
fresh fork costs more than all else here together. Signals are taken one by one from the kernel's queue; no handler
runs, so nothing here is concurrent.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from resource import struct_rusage
from typing import NamedTuple, NoReturn

from . import fields, hooks, process, records, tree
from .cgroups import Group
from .failpoints import reach
from .job.program import LaunchFailed, Program

SIGNALS = frozenset({signal.SIGCHLD, signal.SIGTERM})
READ_BYTES = 1 << 18
PAUSE_S_MAX = 1e6
"""The kernel takes no infinity."""
DESCRIPTOR_SPACE = socket.CMSG_LEN(4)
ATTEMPTS_MAX = 1000
"""A bound on whatever may grow in a process that looks after one attempt after the other."""
DONE = b"."
"""What the spawner is told when an attempt is over and the supervisor is free."""
UNKILLABLE_S = 60.0
"""How long to wait for killed processes to go. Some hang in the kernel (a dead file server); the end says so."""
FULL_DISK_PAUSE_S = 1.0


class Place(NamedTuple):
    """What all attempts of one supervisor have in common. `hints` is the pipe by which the agent is poked."""

    hints: int
    cgroups: dict[str, str]
    scripts: bytes


def supervise(channel: socket.socket, place: Place) -> NoReturn:
    """The life of a supervisor process: one attempt after the other, until the spawner is gone or wants no more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.setsid()
    buffer = bytearray()
    claims: list[int] = []
    attempts_left = ATTEMPTS_MAX
    while True:
        # Close-on-exec from the beginning: a job that inherited the claim would hold its lock after we are gone.
        # (socket.recv_fds ignores its flags.)
        data, ancillary, _, _ = channel.recvmsg(READ_BYTES, DESCRIPTOR_SPACE, socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        buffer += data
        claims += [int.from_bytes(descriptor, sys.byteorder) for _, _, descriptor in ancillary]
        if (frame := fields.take_frame(buffer)) is None:
            continue
        claim, attempts_left = claims.pop(), attempts_left - 1
        if not Supervisor(fields.Order(frame), claim, place).run() or not attempts_left:
            break  # Without a word, so that nobody gives us an order that we do not read any more.
        os.close(claim)
        os.chdir("/")  # Idle, we must not keep a file system of users busy.
        try:
            channel.send(DONE)
        except OSError:
            break  # The spawner is gone. Nobody would give us work.
    os._exit(0)


class Supervisor:
    """What is known of one attempt. `claim` is the locked record."""

    def __init__(self, order: fields.Order, claim: int, place: Place) -> None:
        self._order = order
        self._claim = claim
        self._place = place
        self._group = Group(place.cgroups, order.key)
        self._script_path = place.scripts + order.key.encode() if order.script else b""
        self._leaders: set[int] = set()
        self._first_failure: int | None = None
        self._reason = ""
        self._node_fault = ""
        self._is_epilog_due = False
        self._kill_time_s = math.inf
        self._cpu_s = 0.0
        self._peak_bytes = 0
        self._unwritten = b""
        """A line for which the disk had no space; it goes with the end."""

    def run(self) -> bool:
        """From the claim to the durable end record. False if this process should not be given another attempt."""
        reach("supervisor.begun")
        try:
            self._prepare()
            if self._ordered_grace_s() is not None:
                return self._finish(records.End("cancelled", time.time(), "cancelled before it was started"))
            self._start()
        except LaunchFailed as failure:
            kind = "prolog_failed" if self._node_fault else "launch_failed"
            end = records.End(self._reason or kind, time.time(), str(failure))
            end.exit_code = failure.exit_code
            self._finish(end)
            return False  # Descriptors may be open.
        else:
            reach("supervisor.executed")
            line = records.start_line(time.time())
            try:
                records.append(self._claim, line)
            except OSError:
                self._unwritten = line  # The job runs: a full disk is no reason to end it.
            reach("supervisor.start_recorded")
            deadline_s = time.monotonic() + self._order.walltime_s
            if self._leaders:
                poke(self._place.hints, self._order.key)
                self._wait(deadline_s)
            end = records.End("", time.time())
        return self._finish(end)

    def _prepare(self) -> None:
        """All that comes before the job's own processes, but for what needs to be undone: see _finish."""
        try:
            records.append(self._claim, records.run_line(os.getpid()))
        except OSError as error:
            raise LaunchFailed(f"cannot write the record on this node: {error.strerror}") from None
        reach("supervisor.run_recorded")
        order = self._order
        if order.fault:
            raise LaunchFailed(order.fault)
        process.needs_other_user(order)
        self._is_epilog_due = True
        if fault := hooks.run(order.prolog, order):
            self._node_fault = f"prolog {fault}"
            raise LaunchFailed(self._node_fault)

    def _start(self) -> None:
        order = self._order
        if order.script:
            write_script(self._script_path, order)
        program = Program(order.program, self._script_path)
        has_limits = order.memory_bytes or order.cpu_quota or order.pids_max
        if not (process.needs_other_user(order) or has_limits or program.terminal_path):
            self._leaders.update(program.spawn())
            return
        try:
            descriptors = self._group.create(order.memory_bytes, order.cpu_quota, order.pids_max)
        except OSError as error:
            raise LaunchFailed(f"cannot set the limits: {error.filename}: {error.strerror}") from None
        begin_by_s = time.monotonic() + order.walltime_s
        self._leaders.update(process.start(order, program, descriptors, lambda: self._is_over(begin_by_s)))
        for descriptor in descriptors:
            os.close(descriptor)

    def _wait(self, deadline_s: float) -> None:
        """Until the leaders are gone, or the first of several failed, or the order to end has been carried out."""
        while tree.reap(self._on_reaped) is not None and self._leaders:
            if self._first_failure is not None and not self._reason:
                self._terminate("failure", self._order.grace_s)
            now_s = time.monotonic()
            if now_s >= self._kill_time_s:
                return  # _finish kills what is left.
            record = records.read(self._claim)
            end_s = math.inf if record.suspend_time_s is not None else deadline_s + record.stood_still_s
            if now_s >= end_s and not self._reason:
                self._terminate("time_limit", self._order.grace_s)
            until_s = self._kill_time_s if self._reason else end_s
            taken = signal.sigtimedwait(SIGNALS, min(max(until_s - now_s, 0.0), PAUSE_S_MAX))
            if taken is not None and taken.si_signo == signal.SIGTERM:
                # Only a hint, perhaps a late one for the attempt before this: the record says whether to end.
                grace_s = self._ordered_grace_s()
                if grace_s is not None:
                    self._terminate("cancelled", grace_s)

    def _is_over(self, begin_by_s: float) -> bool:
        """Whether a child that has not begun need not begin any more, and why."""
        if self._ordered_grace_s() is not None:
            self._reason = "cancelled"
        elif time.monotonic() >= begin_by_s:
            self._reason = "time_limit"
        return bool(self._reason)

    def _ordered_grace_s(self) -> float | None:
        return records.read(self._claim).cancel_grace_s

    def _terminate(self, reason: str, grace_s: float) -> None:
        """SIGTERM to the whole tree; SIGKILL follows after the grace."""
        self._reason = self._reason or reason
        self._kill_time_s = min(self._kill_time_s, time.monotonic() + grace_s)
        if grace_s > 0:
            tree.signal_tree(signal.SIGTERM)

    def _on_reaped(self, pid: int, status: int, usage: struct_rusage) -> None:
        self._cpu_s += usage.ru_utime + usage.ru_stime
        self._peak_bytes = max(self._peak_bytes, usage.ru_maxrss * 1024)
        if pid in self._leaders:
            self._leaders.remove(pid)
            if status != 0 and self._first_failure is None:
                self._first_failure = status

    def _finish(self, end: records.End) -> bool:
        """Nothing of the attempt runs any more when the end is written."""
        self._group.kill()
        is_empty = tree.reap_and_kill(time.monotonic() + UNKILLABLE_S, self._on_reaped)
        if not end.kind:
            self._describe(end)
        self._group.remove()
        if not is_empty:
            end.detail = (end.detail + "; some of its processes could not be killed").lstrip("; ")
        if self._script_path:
            records.clear(None, self._script_path)
        reach("supervisor.tree_ended")
        if self._is_epilog_due and (fault := hooks.run(self._order.epilog, self._order)):
            self._node_fault = self._node_fault or f"epilog {fault}"
        end.node_fault = self._node_fault
        write_durably(self._claim, self._unwritten + records.end_line(end))
        reach("supervisor.end_durable")
        poke(self._place.hints, self._order.key)
        reach("supervisor.poked")
        return is_empty

    def _describe(self, end: records.End) -> None:
        status = self._first_failure or 0
        code = os.waitstatus_to_exitcode(status)
        end.cpu_s = round(self._cpu_s, 6)
        end.peak_memory_bytes = self._peak_bytes
        if (peak := self._group.peak_memory_bytes()) is not None:
            end.peak_memory_bytes = peak
        end.exit_code, end.signal = (code, None) if code >= 0 else (None, -code)
        if self._reason in ("cancelled", "time_limit"):
            end.kind = self._reason
        elif status != 0 and self._group.oom_kill_count() > 0:
            end.kind = "out_of_memory"
            end.detail = f"the limit was {self._order.memory_bytes} bytes"
        else:
            end.kind = "exited" if code >= 0 else "signalled"


def poke(hints: int, key: str) -> None:
    """Tell the agent to look at a record. Only a hint: if the pipe is full the agent will look at all of them."""
    with suppress(BlockingIOError):
        os.write(hints, key.encode() + b"\n")


def write_durably(claim: int, line: bytes) -> None:
    """Append and sync; on a full disk wait for space, because an end must not get lost."""
    while True:
        try:
            records.append(claim, line)
            reach("supervisor.end_written")
            os.fdatasync(claim)
            return
        except OSError as error:
            os.write(2, f"record not written: {error.strerror}; trying again\n".encode())
            time.sleep(FULL_DISK_PAUSE_S)


def write_script(path: bytes, order: fields.Order) -> None:
    """The script's text as a file that only its owner can read, in a directory that only we can write."""
    try:
        records.clear(None, path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o500)
        with open(descriptor, "wb", buffering=0) as file:
            if process.needs_other_user(order):
                os.fchown(descriptor, order.uid, order.gid)
            text = memoryview(order.script)
            while text:
                text = text[file.write(text) :]
    except OSError as error:
        raise LaunchFailed(f"cannot write the script on this node: {error.strerror}") from None
