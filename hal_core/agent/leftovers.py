"""What an attempt may leave behind when its supervisor and the spawner were killed and it had no cgroup.

Every process of an attempt begins with a mark in its environment, and the agent goes by that. For jobs of other users
there is always a cgroup where the machine has any, so this needs no more rights than the agent has.
"""

from __future__ import annotations

import os
import signal
import zlib
from contextlib import suppress
from pathlib import Path

from hal_core.models.placement import AttemptKey


def mark(state_directory: Path, key: AttemptKey) -> bytes:
    """The environment string of that attempt and of no other, although clusters on one machine may share job ids."""
    return b"HAL_ATTEMPT_ID=%08x.%s" % (zlib.crc32(os.fsencode(state_directory)), str(key).encode())


def kill_marked(string: bytes) -> None:
    """SIGKILL to whatever has this in its environment, as far as we may."""
    for name in os.listdir("/proc"):
        if name.isdigit() and _has(name, string):
            with suppress(ProcessLookupError, PermissionError):
                pidfd = os.pidfd_open(int(name))
                # Looked at again after the process is pinned: the number may by now be that of somebody else.
                if _has(name, string):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)


def _has(name: str, string: bytes) -> bool:
    try:
        return string in Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
