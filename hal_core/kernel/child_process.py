"""What the processes have in common that work for the daemon, whose loop must not wait for so much.

They give way to everybody, keep all that they read, and say the answer on stdout. Exit code 1: not possible, with the
reason on stderr.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from hal_core.errors import HalError

_NICENESS: Final = 10


def run_child(work: Callable[[], bytes], trouble: str = "") -> int:
    """Do the work in this process, which does nothing else, and print what it returns. The result is the exit code."""
    os.nice(_NICENESS)
    gc.disable()  # for there is nothing to find: what is read is kept to the end
    try:
        answer = work()
    except (HalError, OSError, msgspec.DecodeError) as error:
        sys.stderr.write(f"{trouble}{error}\n")
        return 1
    sys.stdout.buffer.write(answer)
    return 0
