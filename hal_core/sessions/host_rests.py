"""Hosts that were blocked lately get nothing for a while, also if another broker comes meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import trio

from hal_core.models.session import SessionChangeKind
from hal_core.sessions.chronicle import Chronicle
from hal_core.sessions.hosts import Hosts
from hal_core.sessions.teller import Teller
from hal_core.wire.sessions import Blocked


class HostRests:
    """`on_probation` is called when one may be given something again."""

    def __init__(self, hosts: Hosts, teller: Teller, chronicle: Chronicle, on_probation: Callable[[], None]) -> None:
        self._hosts = hosts
        self._teller = teller
        self._chronicle = chronicle
        self._on_probation = on_probation
        self.nursery: trio.Nursery
        """Their rests are its tasks. Filled in by whoever runs the broker."""

    def look(self) -> None:
        """What has become of hosts since the last look."""
        blocked, forgiven = self._hosts.take_news(), self._hosts.take_forgiven()
        for host in (*blocked, *forgiven):
            self._teller.keep(Blocked(host.name, host.blocked_why))
        for host in forgiven:
            self._chronicle.note(SessionChangeKind.HOST_FORGIVEN, host.name)
        for host in blocked:
            self._chronicle.note(SessionChangeKind.HOST_BLOCKED, f"{host.name}, {host.blocked_why}")
            self.nursery.start_soon(self._rest, host.name, host.rest_s)

    async def _rest(self, name: str, rest_s: float) -> None:
        await trio.sleep(rest_s)
        if self._hosts.put_on_probation(name):
            self._chronicle.note(SessionChangeKind.HOST_TRIED, name)
        self._on_probation()
