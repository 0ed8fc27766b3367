"""Mails owners of jobs what their `--mail-type` asks for. One task for all of them, with a place of its own in the log.

What gathers while a mail is on its way, or within the pause after it, is in one mail to each address.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable
from email.message import EmailMessage
from typing import Final

import trio

from hal_core import Event, EventLog, JobId, job_of
from hal_observer_mail.jobs import MailedJob, Told
from hal_observer_mail.letters import Line, letter
from hal_observer_mail.options import MailOptions

READER: Final = "mail"
BATCH: Final = 500
KEEP_EVERY: Final = 1_000


class Owners:
    """`deliver` returns when a mail is taken, or refused for good; `now_s` gives seconds since the epoch."""

    def __init__(
        self, options: MailOptions, deliver: Callable[[EmailMessage], Awaitable[None]], now_s: Callable[[], float]
    ) -> None:
        self._options = options
        self._deliver = deliver
        self._now_s = now_s
        self._jobs: dict[JobId, MailedJob] = {}
        self._next_s = math.inf
        """When some job nears its time limit, at the earliest."""
        self._after = 0

    async def run(self, log: EventLog, active: Collection[JobId]) -> None:
        """Until cancelled. `active` are the jobs of which something runs."""
        self._after = kept = await log.place(READER)
        await self._recall(log, active)
        while True:
            lines = await self._gather(log)
            for address in sorted(lines):
                await self._deliver(letter(self._options.sender, address, lines[address]))
            if lines or self._after - kept >= KEEP_EVERY:
                await log.keep(READER, self._after)
                kept = self._after
            if lines:
                await trio.sleep(self._options.pause_s)

    async def _recall(self, log: EventLog, active: Collection[JobId]) -> None:
        """What runs, as it was when we were here last; its moments until then were told."""
        if not self._after:
            return
        ((_, latest),) = await log.read(self._after - 1, 1)
        for job_id in active:
            job = await self._known(job_id, self._after, log)
            if job is not None:
                for _ in job.nears(latest.time_s):
                    pass
                self._expect(job)

    async def _gather(self, log: EventLog) -> dict[str, list[Line]]:
        """By address, what is to be told now. Waits until something happens, or some job nears its limit."""
        lines: dict[str, list[Line]] = {}
        is_behind = False
        with trio.move_on_after(max(0.0, self._next_s - self._now_s())):
            rows = await log.read(self._after, BATCH)
            is_behind = len(rows) == BATCH
            for sequence, event in rows:
                await self._follow(sequence, event, log, lines)
                self._after = sequence
        now_s = self._now_s()
        if now_s >= self._next_s and not is_behind:  # else it may have ended long ago
            self._next_s = math.inf
            for job in self._jobs.values():
                self._add(job, job.nears(now_s), self._after, lines)
                self._expect(job)
        return lines

    async def _follow(self, sequence: int, event: Event, log: EventLog, lines: dict[str, list[Line]]) -> None:
        job_id = job_of(event)
        job = None if job_id is None else await self._known(job_id, sequence - 1, log)
        if job is None:
            return
        self._add(job, job.follow(event), sequence, lines)
        self._expect(job)
        if job.left <= 0:
            self._jobs.pop(job.arrival.job_id, None)

    async def _known(self, job_id: JobId, last: int, log: EventLog) -> MailedJob | None:
        """The job as it was after that event; None if its owner wants no mail."""
        found = self._jobs.get(job_id)
        if found is None:
            arrival = await log.arrival(job_id)
            if arrival is None or not arrival.spec.mail_types:
                return None
            found = self._jobs[job_id] = MailedJob(arrival)
            for event in await log.history(job_id, last):
                for _ in found.follow(event):
                    pass
        return found

    def _expect(self, job: MailedJob) -> None:
        at_s = job.next_s()
        if at_s is not None:
            self._next_s = min(self._next_s, at_s)

    def _add(self, job: MailedJob, told: Iterable[Told], sequence: int, lines: dict[str, list[Line]]) -> None:
        address = self._address(job)
        for each in told:
            lines.setdefault(address, []).append(Line(sequence, each.text))

    def _address(self, job: MailedJob) -> str:
        name = job.arrival.spec.mail_user or job.arrival.owner.user
        return name if "@" in name else f"{name}@{self._options.domain}"
