"""Addresses at which the relay takes nothing now (4xx), such as of a domain that nobody can look up.

Each has one of a few places in the log, just before the first thing that it was not told, so a restarted daemon goes on
with it there; the address itself follows from that event. What it is told meanwhile gathers, and is one mail.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from hal_core import EventLog
from hal_observer_mail.letters import Line, letter
from hal_observer_mail.options import MailOptions
from hal_observer_mail.post import PAUSE_S_MAX, Outcome, Post

logger = logging.getLogger("hal.mail")

PLACES: Final = tuple(f"mail-late-{number}" for number in range(1, 17))
"""Where all are taken, the oldest makes room: its mail is lost, for otherwise everybody's would wait."""
PLACES_OF_ONE: Final = 4
"""Of one owner of jobs: the next takes the place of that owner's oldest, not of somebody else's."""
FREE: Final = 0
PATIENCE_S: Final = 4 * 3600.0
"""A relay that does not know a sender yet asks for minutes; who cannot be reached for hours is mistyped."""


@attrs.define
class _Late:
    place: str
    user: str
    """Whose job asked for it first."""
    lines: list[Line]
    since_s: float
    trying: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class LateAddresses:
    """`post` is theirs alone: what the relay takes its time to refuse holds up nobody else."""

    def __init__(self, options: MailOptions, post: Post, log: EventLog, now_s: Callable[[], float]) -> None:
        self._options = options
        self._post = post
        self._log = log
        self._now_s = now_s
        self._late: dict[str, _Late] = {}
        self._free = list(PLACES)
        self._was_freed = trio.Event()

    async def go_on(self, nursery: trio.Nursery, missed: Callable[[int], Awaitable[tuple[str, list[Line]]]]) -> None:
        """With what a former daemon set aside. `missed` gives, by place, the address and what it was not told."""
        for place in PLACES:
            after = await self._log.place(place)
            address, lines = await missed(after) if after != FREE else ("", [])
            if not lines or address in self._late:
                await self._log.keep(place, FREE)
                continue
            self._free.remove(place)
            self._begin(nursery, address, _Late(place, lines[0].user, lines, self._now_s()))

    def take(self, address: str, lines: list[Line]) -> bool:
        """Whether the address is late; then it is told this as well when its time comes."""
        late = self._late.get(address)
        if late is not None:
            late.lines += lines
        return late is not None

    async def set_aside(self, nursery: trio.Nursery, address: str, lines: list[Line]) -> None:
        """Waits for no relay: only until who makes room has left its place in the log."""
        own = [other for other, late in self._late.items() if late.user == lines[0].user]
        if len(own) >= PLACES_OF_ONE:
            self._pass_over(own[0], f"user {lines[0].user} has {PLACES_OF_ONE} newer ones")
        elif not self._free and self._late:
            self._pass_over(next(iter(self._late)), f"{len(PLACES)} newer ones wait")
        while not self._free:
            self._was_freed = trio.Event()
            await self._was_freed.wait()
        place = self._free.pop(0)
        await self._keep(place, lines)
        logger.warning("the relay takes no mail to %s now; it is tried for %g hours", address, PATIENCE_S / 3600)
        self._begin(nursery, address, _Late(place, lines[0].user, lines, self._now_s()))

    def _pass_over(self, address: str, why: str) -> None:
        late = self._late.pop(address)
        late.trying.cancel()
        _tell_lost(address, len(late.lines), why)

    def _begin(self, nursery: trio.Nursery, address: str, late: _Late) -> None:
        self._late[address] = late
        nursery.start_soon(self._try, address, late)

    async def _try(self, address: str, late: _Late) -> None:
        with late.trying:
            await self._send_all(address, late)
        if self._late.get(address) is late:
            del self._late[address]
        await self._log.keep(late.place, FREE)
        self._free.append(late.place)
        self._was_freed.set()

    async def _send_all(self, address: str, late: _Late) -> None:
        pause_s = self._post.first_pause_s
        while late.lines:
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
            count = len(late.lines)
            outcome = await self._post.send(letter(self._options.sender, address, late.lines))
            if outcome is Outcome.LATER and self._now_s() - late.since_s < PATIENCE_S:
                continue
            if outcome is Outcome.LATER:
                _tell_lost(address, count, f"it was tried for {PATIENCE_S / 3600:g} hours")
            del late.lines[:count]
            if late.lines:
                await self._keep(late.place, late.lines)

    async def _keep(self, place: str, lines: list[Line]) -> None:
        """A time limit that neared is no event, and alone is not known to a restarted daemon."""
        first = next((line.sequence - 1 for line in lines if line.is_event), FREE)
        await self._log.keep(place, first)


def _tell_lost(address: str, count: int, why: str) -> None:
    logger.warning("mail to %s could not be delivered: %d lines are passed over, for %s", address, count, why)
