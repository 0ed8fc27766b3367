"""Mails owners of jobs what their `--mail-type` asks for. One task for all of them, with a place of its own in the log.

What gathers while a mail is on its way, or within the pause after it, is in one mail to each address. An address at
which the relay takes nothing now is set aside (late.py): nobody else's mail waits for it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable
from typing import Final

import trio

from hal_core import Event, EventLog, JobId, job_of
from hal_observer_mail.jobs import MailedJob, Told
from hal_observer_mail.late import LateAddresses
from hal_observer_mail.letters import Line, letter
from hal_observer_mail.options import MailOptions, is_address
from hal_observer_mail.post import Outcome, Post

logger = logging.getLogger("hal.mail")

READER: Final = "mail"
BATCH: Final = 500
KEEP_EVERY: Final = 1_000


class Owners:
    """`now_s` gives seconds since the epoch."""

    def __init__(self, options: MailOptions, post: Post, log: EventLog, now_s: Callable[[], float]) -> None:
        self._options = options
        self._post = post
        self._log = log
        self._now_s = now_s
        self._jobs: dict[JobId, MailedJob] = {}
        self._next_s = math.inf
        """When some job nears its time limit, at the earliest."""
        self._after = 0

    async def run(self, active: Collection[JobId]) -> None:
        """Until cancelled. `active` are the jobs of which something runs."""
        self._after = kept = await self._log.place(READER)
        await self._recall(active)
        async with trio.open_nursery() as nursery:
            late = LateAddresses(self._options, Post(self._options, self._post.first_pause_s), self._log, self._now_s)
            await late.go_on(nursery, self._missed)
            while True:
                lines = await self._gather()
                for address in sorted(lines):
                    if late.take(address, lines[address]):
                        continue
                    if await self._post.send(letter(self._options.sender, address, lines[address])) is Outcome.LATER:
                        await late.set_aside(nursery, address, lines[address])
                if lines or self._after - kept >= KEEP_EVERY:
                    await self._log.keep(READER, self._after)
                    kept = self._after
                if lines:
                    await trio.sleep(self._options.pause_s)

    async def _recall(self, active: Collection[JobId]) -> None:
        """What runs, as it was when we were here last; its moments until then were told."""
        if not self._after:
            return
        ((_, latest),) = await self._log.read(self._after - 1, 1)
        for job_id in active:
            job = await self._known(job_id, self._after)
            if job is not None:
                for _ in job.nears(latest.time_s):
                    pass
                self._expect(job)

    async def _missed(self, after: int) -> tuple[str, list[Line]]:
        """The address that was set aside after that event, and what it was not told since."""
        again = Owners(self._options, self._post, self._log, self._now_s)
        found, lines = "", dict[str, list[Line]]()
        place, limit = after, 1
        while place < self._after:
            for sequence, event in await self._log.read(place, min(limit, self._after - place)):
                await again._follow(sequence, event, lines)
                place = sequence
            found = found or next(iter(lines), "")
            if not found:
                break
            lines, limit = {found: lines[found]}, BATCH
        return found, lines.get(found, [])

    async def _gather(self) -> dict[str, list[Line]]:
        """By address, what is to be told now. Waits until something happens, or some job nears its limit."""
        lines: dict[str, list[Line]] = {}
        is_behind = False
        with trio.move_on_after(max(0.0, self._next_s - self._now_s())):
            rows = await self._log.read(self._after, BATCH)
            is_behind = len(rows) == BATCH
            for sequence, event in rows:
                await self._follow(sequence, event, lines)
                self._after = sequence
        now_s = self._now_s()
        if now_s >= self._next_s and not is_behind:  # else it may have ended long ago
            self._next_s = math.inf
            for job in self._jobs.values():
                self._add(job, job.nears(now_s), self._after, lines, is_event=False)
                self._expect(job)
        return lines

    async def _follow(self, sequence: int, event: Event, lines: dict[str, list[Line]]) -> None:
        job_id = job_of(event)
        job = None if job_id is None else await self._known(job_id, sequence - 1)
        if job is None:
            return
        self._add(job, job.follow(event), sequence, lines)
        self._expect(job)
        if job.left <= 0:
            self._jobs.pop(job.arrival.job_id, None)

    async def _known(self, job_id: JobId, last: int) -> MailedJob | None:
        """The job as it was after that event; None if its owner wants no mail."""
        found = self._jobs.get(job_id)
        if found is None:
            arrival = await self._log.arrival(job_id)
            if arrival is None or not arrival.spec.mail_types:
                return None
            found = self._jobs[job_id] = MailedJob(arrival)
            for event in await self._log.history(job_id, last):
                for _ in found.follow(event):
                    pass
        return found

    def _expect(self, job: MailedJob) -> None:
        at_s = job.next_s()
        if at_s is not None:
            self._next_s = min(self._next_s, at_s)

    def _add(
        self, job: MailedJob, told: Iterable[Told], sequence: int, lines: dict[str, list[Line]], is_event: bool = True
    ) -> None:
        address = self._address(job)
        for each in told:
            if is_address(address):
                lines.setdefault(address, []).append(Line(sequence, each.text, is_event, job.arrival.owner.user))
            else:  # of a job that was taken in when more was let through, or of a user with such a name
                logger.warning("nobody is told that %s: %r is no address", each.text, address)

    def _address(self, job: MailedJob) -> str:
        name = job.arrival.spec.mail_user or job.arrival.owner.user
        return name if "@" in name else f"{name}@{self._options.domain}"
