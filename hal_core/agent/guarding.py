"""Keeps a guard (guard.py) running beside the agent while anything is under the lease. It outlives the agent."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import trio

from hal_core.agent import guard
from hal_core.agent.lease import Lease

LOOK_PERIOD_S = 1.0
RESTART_PAUSE_S = 1.0

log = logging.getLogger(__name__)


async def keep_guarded(directory: Path, lease: Lease) -> None:
    """Until cancelled: start a guard when there is something to guard, and again if it is killed."""
    while True:
        while not lease.is_needed:  # noqa: ASYNC110 - what it looks at are files
            await trio.sleep(LOOK_PERIOD_S)
        async with await trio.open_file(directory / "guard.log", "ab") as errors:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-I", "-S", guard.__file__, str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors.fileno(),
                start_new_session=True,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            )
        code = await process.wait()
        if code:
            log.warning("the guard ended with code %d; starting another", code)
        await trio.sleep(RESTART_PAUSE_S)
