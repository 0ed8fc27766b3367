"""The wall around the part of an executor that runs as long as the daemon does."""

from __future__ import annotations

import logging
from typing import Final

import attrs
import trio

from hal_core.errors import HalError, PluginError
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.step_watch import Charge
from hal_core.kernel.walls import passes, told
from hal_core.planes import Executor, Report

logger = logging.getLogger("hal.effects")

LATE_S: Final = 30.0
"""Each time so much has passed it is said that the daemon waits for an executor to begin."""
PAUSE_S_MIN: Final = 1.0
PAUSE_S_MAX: Final = 60.0


@attrs.frozen
class Walled:
    """An executor, and what it is called within."""

    name: str
    executor: Executor
    charge: Charge


class ExecutorRun:
    """One that fails to begin ends the daemon, which says why; one that fails later is begun again, after a pause that
    grows. Meanwhile its orders fail, and are repeated when its nodes report."""

    def __init__(self, walled: Walled, conducts: Conducts) -> None:
        self._walled = walled
        self._conducts = conducts

    async def begin(self, nursery: trio.Nursery, report: Report) -> None:
        """Start `run` in the nursery; returns when the executor can be given orders. While it waits, it says so."""
        async with trio.open_nursery() as meanwhile:
            meanwhile.start_soon(self._say_that_it_is_late)
            await nursery.start(self.run, report)
            meanwhile.cancel_scope.cancel()

    async def _say_that_it_is_late(self) -> None:
        begin_s = trio.current_time()
        while True:
            await trio.sleep(LATE_S)
            late_s = trio.current_time() - begin_s
            logger.warning("executor %s has not begun after %.0f s; HAL waits for it", self._walled.name, late_s)

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, or until it returns by itself.

        Raises PluginError if it fails to begin; errors of HAL's own as they are.
        """
        name, pause_s = self._walled.name, PAUSE_S_MIN
        status = _Status(task_status, self._walled.charge)
        while True:
            begin_s = trio.current_time()
            try:
                with self._walled.charge.calling():
                    await self._walled.executor.run(report, task_status=status)
                return
            except BaseException as error:  # the wall around a plugin
                if passes(error) or (not status.has_started and isinstance(error, HalError)):
                    raise
                if not status.has_started:
                    raise PluginError(f"executor {name!r} could not begin: {told(error)}") from error
                self._conducts.wrong("executor", name, told(error))
                logger.exception("executor %s failed and is begun again in %g s", name, pause_s)
            if trio.current_time() - begin_s > PAUSE_S_MAX:
                pause_s = PAUSE_S_MIN
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)


class _Status:
    """Implements trio.TaskStatus: hands on the first `started`, and remembers it. Until then a step may take longer:
    there is nobody yet whom it could hold up."""

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
