"""Named failpoints: places where a test makes a process die as by `kill -9`, to see that nothing is lost or doubled.

`HAL_FAILPOINT=name` in the environment of a test's process: it dies when it first comes to `reach("name")`; with
`name:3` when it comes there the third time. `HAL_FAILPOINT_SIGNAL=STOP` stops it instead. With
`HAL_FAILPOINT_ONCE=FILE` this happens to the first process only, and the file then holds its id. Without the variable
`reach` is an empty function. A name is marked in one place of the code only; tests/tidy holds the list here complete,
and the crash campaign visits every name on it.

The launcher, which may run as root, has none of this but the places. Run as a program, with the launcher's command
line for arguments, this is the launcher with failpoints. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

JOURNAL: Final = (
    "journal.locked",
    "journal.position_found",
    "journal.epoch_marked",
    "journal.tables_written",
    "journal.opened",
    "journal.before_transaction",
    "journal.before_commit",
    "journal.after_commit",
    "journal.after_mark",
    "journal.before_checkpoint",
    "journal.after_checkpoint",
    "snapshot.begun",
    "snapshot.folded",
    "snapshot.written",
    "file.written",
    "file.synced",
    "file.renamed",
)
"""Of the journal and its files: kernel/journal.py, journal_files.py, snapshot.py."""

DAEMON: Final = (
    "kernel.recovered",
    "kernel.defined",
    "kernel.before_append",
    "kernel.after_append",
    "kernel.answered",
    "kernel.report_journalled",
    "order.before_launch",
    "order.after_launch",
    "order.before_cancel",
    "order.after_cancel",
    "order.before_forget",
    "order.after_forget",
)
"""From a decision to the orders for the nodes: kernel/loop.py, kernel/effects.py."""

AGENT: Final = (
    "agent.order_received",
    "agent.epoch_written",
    "agent.epoch_durable",
    "agent.launch_ordered",
    "agent.cancel_ordered",
    "agent.before_report",
    "agent.after_report",
    "agent.before_forget",
    "agent.after_forget",
)
"""agent/agent.py, agent/book.py."""

SPAWNER: Final = (
    "spawner.recovered",
    "spawner.launch_received",
    "records.claim_prepared",
    "spawner.claim_written",
    "spawner.claims_durable",
    "spawner.handed_over",
    "spawner.cancel_received",
    "spawner.cancel_recorded",
    "spawner.lost_noticed",
    "spawner.lost_recorded",
)
"""agent/launcher/spawner.py."""

SUPERVISOR: Final = (
    "supervisor.begun",
    "supervisor.run_recorded",
    "supervisor.executed",
    "supervisor.start_recorded",
    "supervisor.tree_ended",
    "supervisor.end_written",
    "supervisor.end_durable",
    "supervisor.poked",
)
"""agent/launcher/supervisor.py. Every supervisor counts for itself."""

NAMES: Final = (*JOURNAL, *DAEMON, *AGENT, *SPAWNER, *SUPERVISOR)

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


def command(launcher: list[str]) -> list[str]:
    """How the launcher is started here: as it is, unless a test wants failpoints."""
    return [__file__, *launcher] if _name else launcher


def _run_launcher(path: str, arguments: list[str]) -> None:
    sys.path.append(os.path.dirname(os.path.dirname(path)))
    from launcher import failpoints  # type: ignore[import-not-found]

    failpoints.reach = reach  # Before others import it from there.
    from launcher.spawner import main  # type: ignore[import-not-found]

    main(arguments)


if _name:
    reach = _reach

if __name__ == "__main__":
    _run_launcher(sys.argv[1], sys.argv[2:])
