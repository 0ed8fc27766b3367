"""Interactive jobs that wait for whoever submitted them: one that nobody attends to in time is cancelled.

A client that is killed between its submission and its attending is never heard of again, and its job may not even have
begun. After a restart of the daemon every interactive job waits anew, for the client that comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import trio

from hal_core.errors import HalError
from hal_core.models.job import TERMINAL, JobId
from hal_core.models.message import Answer, Cancel, JobSelection, Message
from hal_core.rules.state import State
from hal_core.wire.terminals import UNATTENDED_S

BY: Final = "hal"


class Asked(Protocol):
    """The kernel, as far as it is needed here."""

    @property
    def state(self) -> State: ...

    async def ask(self, message: Message) -> Answer: ...


class Attendances:
    """`run` it while clients are served. Times are trio's."""

    def __init__(self) -> None:
        self._due_s: dict[JobId, float] = {}  # In the order of their times: all wait equally long.
        self._attending: dict[JobId, int] = {}
        self._has_some = trio.Event()

    def expect(self, job_ids: Iterable[JobId]) -> None:
        """Somebody should come to these jobs, from now on."""
        due_s = trio.current_time() + UNATTENDED_S
        for job_id in job_ids:
            if job_id not in self._attending:
                self._due_s.setdefault(job_id, due_s)
        self._has_some.set()

    @contextmanager
    def attending(self, job_id: JobId) -> Iterator[None]:
        """Somebody is there."""
        self._due_s.pop(job_id, None)
        self._attending[job_id] = self._attending.get(job_id, 0) + 1
        try:
            yield
        finally:
            self._attending[job_id] -= 1
            if not self._attending[job_id]:
                del self._attending[job_id]

    async def run(self, kernel: Asked) -> None:
        """Cancel those to whom nobody came, for ever."""
        self.expect(interactive(kernel.state))
        while True:
            await self._has_some.wait()
            while self._due_s:
                job_id, due_s = next(iter(self._due_s.items()))
                await trio.sleep_until(due_s)
                if self._due_s.pop(job_id, None) is not None:
                    with suppress(HalError):  # It has ended meanwhile; or nothing can be written, and then it is kept.
                        await kernel.ask(Cancel(JobSelection(job_id), BY))
            self._has_some = trio.Event()


def interactive(state: State) -> list[JobId]:
    """The jobs with a terminal that have not ended."""
    return [job_id for job_id, job in state.jobs.items() if job.spec.input_path == TERMINAL and not job.is_finished]
