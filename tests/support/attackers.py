"""What a hostile user does on a node: children of the test that became the user, and a system that lies to root."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import pwd
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from hal_core.agent import orders
from hal_core.agent.launcher import fields, process
from hal_core.agent.launcher.job.program import LaunchFailed, Program

PR_SET_PDEATHSIG, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 22, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
SYSTEM_CALLS = {
    "x86_64": {"setuid": 105, "setgroups": 116, "setresuid": 117, "setresgid": 119},
    "aarch64": {"setuid": 146, "setresuid": 147, "setresgid": 149, "setgroups": 159},
}.get(platform.machine(), {})
_libc = ctypes.CDLL(None, use_errno=True)


def become(user: pwd.struct_passwd) -> None:
    os.setgroups([])
    os.setresgid(*[user.pw_gid] * 3)
    os.setresuid(*[user.pw_uid] * 3)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextmanager
def attacker(user: pwd.struct_passwd, act: Callable[[], object]) -> Iterator[int]:
    """`act` is done once and again by a process of the user, whatever comes of it, until the block is left."""
    begun, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        _go_on(user, act, ready)
    os.close(ready)
    try:
        assert os.read(begun, 1), "the attacker could not become the user"
        yield pid
    finally:
        os.close(begun)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _go_on(user: pwd.struct_passwd, act: Callable[[], object], ready: int) -> NoReturn:
    try:
        become(user)
        while True:
            with suppress(OSError):
                act()
            if ready >= 0:
                os.write(ready, b".")
                os.close(ready)
                ready = -1
    finally:
        os._exit(1)


@contextmanager
def held_back(user: pwd.struct_passwd, path: Path) -> Iterator[None]:
    """Whoever opens or executes the user's file waits, for as long as the kernel lets a lease wait (45 s mostly)."""
    lease: list[int] = []

    def hold() -> None:
        if not lease:
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            lease.append(os.open(path, os.O_RDONLY))
            fcntl.fcntl(lease[0], fcntl.F_SETLEASE, fcntl.F_WRLCK)
        else:
            signal.pause()

    with attacker(user, hold):
        yield


def refuse(calls: dict[str, int]) -> None:
    """From now on, in this process and its children, these system calls do nothing and give this error (0: success)."""
    rows = [(LOAD_NUMBER, 0, 0, 0)]
    for name, number in calls.items():
        rows += [(JUMP_IF_EQUAL, 0, 1, SYSTEM_CALLS[name]), (RETURN, 0, 0, SECCOMP_RET_ERRNO | number)]
    rows.append((RETURN, 0, 0, SECCOMP_RET_ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    if _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def launcher_order(user: pwd.struct_passwd, arguments: Sequence[str], output: Path) -> tuple[fields.Order, Program]:
    """What a supervisor has when it starts the processes of a job."""
    program = orders.Program(user.pw_uid, user.pw_gid, b"/", arguments=[os.fsencode(word) for word in arguments])
    order = orders.Order("1.0.1", program, tasks=[[]], output_path=os.fsencode(output))
    frame = fields.take_frame(bytearray(orders.launch_frame([order])))
    assert frame is not None
    frame.raw()
    ((_, parts),) = fields.split_launch(frame)
    body = fields.take_frame(bytearray(fields.pack(parts)))
    assert body is not None
    read = fields.Order(body)
    return read, Program(read.program, b"")


def launch(user: pwd.struct_passwd, arguments: Sequence[str], output: Path) -> str:
    """Start it as root's supervisor does, and wait for its end. Why it could not be started; empty if it could."""
    order, program = launcher_order(user, arguments, output)
    try:
        pids = process.start(order, program, [], lambda: False)
    except LaunchFailed as failure:
        os.waitpid(-1, 0)
        return str(failure)
    for pid in pids:
        os.waitpid(pid, 0)
    return ""


def launch_refused(user: pwd.struct_passwd, calls: dict[str, int], output: Path) -> str:
    """What `launch` says in a fork where the system lies about these calls. The job would write who it is."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            refuse(calls)
            os.write(writing, launch(user, ["/usr/bin/id"], output).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as told:
        text = told.read()
    os.waitpid(pid, 0)
    return text


def main() -> None:
    """`python -m tests.support.attackers CALL=ERRNO,... WORDS...`: the program, with a system that lies."""
    pairs = (pair.split("=") for pair in sys.argv[1].split(","))
    refuse({name: int(number) if number.isdigit() else getattr(errno, number) for name, number in pairs})
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
