"""The wall around the part of an executor that runs as long as the daemon does."""

from __future__ import annotations

import logging
from typing import Final

import trio

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.step_watch import Charge
from hal_core.kernel.walls import passes, told
from hal_core.planes import Executor, Report

logger = logging.getLogger("hal.effects")

PAUSE_S_MIN: Final = 1.0
PAUSE_S_MAX: Final = 60.0


class ExecutorRun:
    """One that fails to begin ends the daemon, which says why; one that fails later is begun again, after a pause that
    grows. Meanwhile its orders fail, and are repeated when its nodes report."""

    def __init__(self, name: str, executor: Executor, charge: Charge, conducts: Conducts) -> None:
        self._name = name
        self._executor = executor
        self._charge = charge
        self._conducts = conducts

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, or until it returns by itself."""
        status = _Status(task_status, self._charge)
        pause_s = PAUSE_S_MIN
        while True:
            begin_s = trio.current_time()
            try:
                with self._charge.calling():
                    await self._executor.run(report, task_status=status)
                return
            except BaseException as error:  # the wall around a plugin
                if passes(error) or not status.has_started:
                    raise
                self._conducts.wrong("executor", self._name, told(error))
                logger.exception("executor %s failed and is begun again in %g s", self._name, pause_s)
            if trio.current_time() - begin_s > PAUSE_S_MAX:
                pause_s = PAUSE_S_MIN
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)


class _Status:
    """Implements trio.TaskStatus: hands on the first `started`, and remembers it. Until then nothing is broken off: the
    daemon would end, and the next one would take as long."""

    def __init__(self, status: trio.TaskStatus[None], charge: Charge) -> None:
        self._status = status
        self._charge = charge
        charge.is_beginning = True
        self.has_started = False

    def started(self, value: None = None) -> None:
        if not self.has_started:
            self.has_started = True
            self._charge.is_beginning = False
            self._status.started()
