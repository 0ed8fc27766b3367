"""Prolog and epilog: the site's programs, run as root before the first and after the last process of an attempt.

What to run comes from the node's configuration. It must belong to root (to us, without root), and neither it nor a
directory above it may be open to others. It gets an environment made from nothing, of which what a user wrote is only
in variables that begin with HAL_USER_; no argument, no input, and no shell.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import time

from . import tree
from .fields import Order

ENVIRONMENT = {b"PATH": b"/usr/sbin:/usr/bin:/sbin:/bin", b"HOME": b"/", b"LANG": b"C"}
VARIABLE = re.compile(rb"(HAL_USER_\w+)=(.*)|(HAL_[A-Z_]+)=([\w.,:@+-]*)", re.ASCII | re.DOTALL)


def run(path: bytes, order: Order) -> str:
    """Run it to its end. Why it failed, in words that begin with its name; empty if it did not, or if there is none."""
    if not path:
        return ""
    shown = path.decode("utf-8", "backslashreplace")
    if wrong := why_unsafe(path):
        return f"{shown}: {wrong}"
    found = [match.groups() for match in map(VARIABLE.fullmatch, order.hook_environment) if match]
    environment = ENVIRONMENT | {name or own_name: value or own or b"" for name, value, own_name, own in found}
    nothing = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    output = (os.POSIX_SPAWN_DUP2, 2, 1)  # The spawner's log.
    os.chdir("/")
    try:
        pid = os.posix_spawn(
            path, [path], environment, file_actions=[nothing, output], setsid=True, setsigmask=(), setsigdef=(13, 25)
        )
    except OSError as error:
        return f"{shown}: {error.strerror}"
    deadline_s = time.monotonic() + order.hook_timeout_s
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            tree.kill_children(frozenset(), deadline_s + order.hook_timeout_s)
            return f"{shown}: did not end within {order.hook_timeout_s:g} s"
        signal.sigtimedwait({signal.SIGCHLD}, left_s)
    code = os.waitstatus_to_exitcode(ended[1])
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{shown}: {how}" if code else ""


def why_unsafe(path: bytes) -> str:
    """Why this program must not be run with our rights; empty if it may be."""
    if not path.startswith(b"/") or path != os.path.realpath(path):
        return "is not an absolute path without symbolic links"
    while True:
        try:
            found = os.lstat(path)
        except OSError as error:
            return str(error.strerror)
        shown = path.decode("utf-8", "backslashreplace")
        if found.st_uid not in (0, os.geteuid()):
            return f"{shown} belongs to uid {found.st_uid}, not to root"
        # What is in a sticky directory (/tmp) can be replaced by its owner only.
        if found.st_mode & 0o022 and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
            return f"{shown} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
        if path == b"/":
            return ""
        path = os.path.dirname(path)
