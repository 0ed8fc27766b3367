"""The kernel and its journal as the REST room needs them (rest/port.py)."""

from __future__ import annotations

import time

import attrs

from hal_core.kernel.journal import Journal
from hal_core.kernel.loop import Kernel
from hal_core.models.job import Owner
from hal_core.models.message import Answer, Message
from hal_core.parsing.context import ParseContext
from hal_core.parsing.request import JobRequest, ParsedJob, parse_job
from hal_core.rules.state import State


class Port:
    """Implements rest.port.Kernel."""

    def __init__(self, kernel: Kernel, journal: Journal, parse_context: ParseContext) -> None:
        self._kernel = kernel
        self._parse_context = parse_context
        self.journal = journal

    @property
    def state(self) -> State:
        return self._kernel.state

    @property
    def durable_sequence(self) -> int:
        return self._kernel.durable_sequence

    @property
    def problem(self) -> str:
        return self._kernel.problem

    async def ask(self, message: Message) -> Answer:
        return await self._kernel.ask(message)

    async def settled(self) -> None:
        await self._kernel.settled()

    async def rested(self) -> None:
        await self._kernel.rested()

    async def wait_beyond(self, sequence: int) -> None:
        await self._kernel.wait_beyond(sequence)

    def parse_job(self, request: JobRequest, owner: Owner) -> ParsedJob:
        return parse_job(request, attrs.evolve(self._parse_context, now_s=time.time()))
