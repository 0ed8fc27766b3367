"""Command lines as tasks: each is a process that its worker starts and waits for.

`posix_spawn` and one file for the output that is used again: what is left is the price of the process itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import cache
from typing import IO, Final

import attrs

from hal_core.errors import TaskFailed

OUTPUT_BYTES_MAX: Final = 1 << 20


@attrs.frozen
class CommandEnd:
    """How a command ended. `exit_code` is 128 + its number if a signal ended it, as in a shell.

    `output` is what it wrote to stdout and stderr, in the order in which it wrote; at most the last MiB of it.
    """

    exit_code: int
    output: bytes


def run_command(words: Sequence[str]) -> CommandEnd:
    """Run it and wait. Raises TaskFailed if it cannot be started."""
    file = _output_file()
    file.seek(0)
    file.truncate()
    number = file.fileno()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, number, 1),
        (os.POSIX_SPAWN_DUP2, number, 2),
    ]
    try:
        pid = os.posix_spawnp(words[0], list(words), os.environ, file_actions=actions)
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise TaskFailed(f"{words!r} cannot be started: {error}") from None
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    size = os.fstat(number).st_size
    output = os.pread(number, OUTPUT_BYTES_MAX, max(size - OUTPUT_BYTES_MAX, 0)) if size else b""
    return CommandEnd(128 - code if code < 0 else code, output)


@cache
def _output_file() -> IO[bytes]:
    """One for each process; open for appending, so that stdout and stderr do not overwrite one another."""
    name, path = tempfile.mkstemp(prefix="hal-session-")
    os.close(name)
    file = open(path, "a+b", buffering=0)  # noqa: SIM115  open as long as the worker
    os.unlink(path)
    return file
