"""Has the policies tried on the queue as it is, every so often, and says in a message which one should be in force.

The trials run elsewhere (`judge`), in a process of their own, so that the loop never waits for them: half a minute of a
processor at most. What cannot be judged this time stays as it is; it is tried again at the next.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from hal_core.errors import HalError
from hal_core.models.message import ChangePolicy
from hal_core.models.tuning import Verdict
from hal_core.planes import Report
from hal_core.rules.core import Core

logger = logging.getLogger("hal.tuning")

DEADLINE_S: Final = 300.0
"""For one judgement, on a machine that does much else."""


Judge = Callable[[str], Awaitable[Verdict]]
"""Which policy should be in force, instead of the one named? Raises errors.HalError and OSError."""


class Tuning:
    """`run` does the work. `core` says which policy is in force and how many jobs wait."""

    def __init__(self, core: Core, judge: Judge, every_s: float, queue_min: int) -> None:
        self._core = core
        self._judge = judge
        self._every_s = every_s
        self._queue_min = queue_min

    async def run(self, report: Report) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(self._every_s)
            await self.tune(report)

    async def tune(self, report: Report) -> None:
        """Ask once, and say what changes."""
        core = self._core
        if len(core.state.queue) < self._queue_min:
            return
        before = core.policy
        try:
            with trio.fail_after(DEADLINE_S):
                verdict = await self._judge(before)
        except (HalError, OSError, trio.TooSlowError) as error:
            logger.warning("the policies could not be tried: %s", str(error) or "it took too long")
            return
        if verdict.policy != before:
            await report(ChangePolicy(verdict, before))
