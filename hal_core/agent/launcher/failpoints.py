"""Named failpoints: places where a test makes a process die as by `kill -9`, to see that nothing is lost or doubled.

`HAL_FAILPOINT=name` in the environment of a test's process: it dies when it first comes to `reach("name")`; with
`name:3` when it comes there the third time. `HAL_FAILPOINT_SIGNAL=STOP` stops it instead. With
`HAL_FAILPOINT_ONCE=FILE` this happens to the first process only, and the file then holds its id. Without the variable
`reach` is an empty function. The names are in hal_core/failpoints.py.
"""

from __future__ import annotations

import os
import signal

VARIABLES = ("HAL_FAILPOINT", "HAL_FAILPOINT_ONCE", "HAL_FAILPOINT_SIGNAL")

_name, _, _count = os.environ.get(VARIABLES[0], "").partition(":")
_left = int(_count or 1)


def reach(name: str) -> None:
    """Here a test may want this process to die."""


def environment() -> dict[str, str]:
    """What a child process must have in its environment to have the same failpoint."""
    return {variable: os.environ[variable] for variable in VARIABLES if variable in os.environ}


def _reach(name: str) -> None:
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0 and _is_first():
        os.kill(os.getpid(), signal.Signals[f"SIG{os.environ.get(VARIABLES[2], 'KILL')}"])


def _is_first() -> bool:
    path = os.environ.get(VARIABLES[1])
    if path is None:
        return True
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    os.write(descriptor, b"%d" % os.getpid())
    os.close(descriptor)
    return True


if _name:
    reach = _reach
