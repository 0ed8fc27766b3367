"""A session inside of a job that has several tasks: the task of rank 0 has the session, the others are its workers.

    hal submit --nodes=4 --ntasks=64 --spread=task -- python sweep.py

All of them run the same program. In the first `session(server="allocation")` opens the session, in the others it never
returns: they work until the session is over, and end. What they must know is in a file that only the user can read, in
a directory that the nodes share; nothing is asked of the daemon.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import hal_core
from hal_core.client.session_directory import sessions_directory
from hal_core.client.session_start import ORDER_VARIABLE, WORKER_PROGRAM, BrokerProcess
from hal_core.errors import InvalidInput, Problem, SessionError
from hal_core.wire.private_files import make_private_directory, read_private

SERVER: Final = "allocation"
ORDER_S_MAX: Final = 60.0
"""For the first task to open its session."""
POLL_S: Final = 0.05
HOW: Final = "it needs a job whose program runs once for each task: hal submit --ntasks=8 --spread=task -- python ..."


def open_in_allocation(environ: Mapping[str, str], is_recoverable: bool) -> BrokerProcess:
    """The broker of the session, in the task of rank 0. In the others it does not return. Raises InvalidInput."""
    rank, count = environ.get("HAL_TASK_RANK", ""), environ.get("HAL_TASK_COUNT", "")
    if not (rank.isdigit() and count.isdigit()):
        raise InvalidInput([Problem("server", f"'{SERVER}' is for programs that run in a job of HAL; {HOW}")])
    if int(count) > 1 and "LOCAL_RANK" not in environ:
        raise InvalidInput([Problem("server", f"this job runs its program once, not once for each task; {HOW}")])
    if is_recoverable:
        raise InvalidInput([Problem("recoverable", f"a session with server='{SERVER}' ends with its job")])
    path = order_path(environ)
    if int(rank):
        work_for(path)
    make_private_directory(path.parent)
    path.unlink(missing_ok=True)  # Of a job with the same number, on a cluster that is no more.
    return BrokerProcess.new((1, 0), False, order=(str(path), int(count) - 1))


def order_path(environ: Mapping[str, str]) -> Path:
    job = "_".join(environ.get(each, "0") for each in ("HAL_JOB_ID", "HAL_ARRAY_INDEX", "HAL_ATTEMPT"))
    return sessions_directory(environ).parent / "allocations" / job


def work_for(path: Path) -> NoReturn:
    """Become a worker, as soon as the first task says of what. Raises SessionError if it does not."""
    deadline_s = time.monotonic() + ORDER_S_MAX
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise SessionError(f"the first task opened no session within {ORDER_S_MAX:g} s: {path} is not here")
        time.sleep(POLL_S)
    root = str(Path(hal_core.__file__).parents[1])
    words = [sys.executable, "-P", "-c", WORKER_PROGRAM, root]
    os.execve(sys.executable, words, {**os.environ, ORDER_VARIABLE: read_private(path).decode()})  # noqa: S606  it is ourselves again
