"""Starting the processes of a job as its owner, who is taken on before any path is touched that a user can change.

A forked child joins the cgroups, becomes the user and verifies it; all further steps are the user's own (job/). Any
failure ends the child and is told through a pipe. From the moment it is the user's, the child may be held up for ever:
stopped by another process of the user, or by a file server that does not answer. So nobody waits for it without an end.
"""

from __future__ import annotations

import os
import pwd
import select
from collections.abc import Callable

from .fields import Order
from .job.program import NOT_FOUND, LaunchFailed, Program

TOLD_BYTES_MAX = 4096
LOOK_S = 0.5
"""How often to ask whether it is over, for a child that is held up."""


def needs_other_user(order: Order) -> bool:
    """Whether the job's owner is somebody else. Raises LaunchFailed if we could not become that user anyway."""
    if order.uid != os.geteuid() != 0:
        raise LaunchFailed(f"the agent runs as uid {os.geteuid()} and only root could start a job of uid {order.uid}")
    return order.uid != os.geteuid()


def start(order: Order, program: Program, group: list[int], is_over: Callable[[], bool]) -> list[int]:
    """Start all processes of the order in the given cgroups (descriptors of cgroup.procs), as the job's owner.

    LaunchFailed if one cannot be, or has not begun when `is_over`; its child may then be there still.
    """
    return [_fork_one(order, program, group, number, is_over) for number in range(order.task_count)]


def _fork_one(order: Order, program: Program, group: list[int], number: int, is_over: Callable[[], bool]) -> int:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os.setsid()
            for descriptor in group:
                os.write(descriptor, b"0")
            if needs_other_user(order):
                become_user(order.uid, order.gid)
            program.execute(number)
        except LaunchFailed as failure:
            os.write(writing, b"%d %s" % (failure.exit_code or 0, str(failure).encode("utf-8", "replace")))
        except BaseException as error:  # noqa: BLE001 - this process must not live on as a copy of the supervisor
            os.write(writing, b"0 %s" % repr(error).encode("utf-8", "replace"))
        finally:
            os._exit(NOT_FOUND)
    os.close(writing)
    while not select.select([reading], [], [], LOOK_S)[0]:
        if is_over():
            raise LaunchFailed("it was held up before its program began, until it had to end")
    told = os.read(reading, TOLD_BYTES_MAX)  # Nothing if exec has closed the other end.
    os.close(reading)
    if told:
        code, _, text = told.decode("utf-8", "replace").partition(" ")
        raise LaunchFailed(text, int(code) or None)
    return pid


def become_user(uid: int, gid: int) -> None:
    """Take on the user for good, with the groups that this node knows. Verified; any doubt is a LaunchFailed."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise LaunchFailed(f"uid {uid} is not known on this node") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    if gid not in groups:
        raise LaunchFailed(f"user {entry.pw_name} is not in group {gid} on this node")
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise LaunchFailed(f"cannot become user {entry.pw_name}: {error.strerror}") from None
    is_user = os.getresuid() == (uid, uid, uid) and os.getresgid() == (gid, gid, gid)
    if not is_user or set(os.getgroups()) != set(groups) or (uid != 0 and _can_return_to_root()):
        raise LaunchFailed(f"cannot become user {entry.pw_name}: the system kept other rights")


def _can_return_to_root() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True
