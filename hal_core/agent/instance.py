"""A rented machine ends by itself when its lease is over, and tells the daemon when its cloud wants it back.

The daemon says with every answer how long the machine is paid for (`extend`). Without a word, for the daemon is dead
or the network is cut, the last lease runs out: jobs are told to end, and then the machine is ended by a program of the
site's. A cloud that takes the machine back earlier does the same to it. What decides is in instance_lease.py.
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import attrs
import trio

from hal_core.agent.instance_lease import FILE, MARGIN_S, InstanceLease, Moment, Phase
from hal_core.errors import HalError
from hal_core.models.notice import Notice

PERIOD_S: Final = 1.0
WRITE_PERIOD_S: Final = 30.0
"""So much more may be left after a reboot whose clock is wrong."""
COMMAND_PAUSE_S: Final = 30.0
NOTICE_PERIOD_S: Final = 5.0
"""As often as AWS advises to look."""
LOOK_S_MAX: Final = 10.0

log = logging.getLogger(__name__)


class NoticeSource(Protocol):
    """What is needed of planes.NoticeSource."""

    async def look(self) -> Notice | None: ...


@attrs.frozen
class InstanceOptions:
    """`lease_s` is that of a machine which has none on its disk yet. `end_command` ends the machine."""

    lease_s: float
    end_command: tuple[str, ...] = ("shutdown", "-h", "now")
    notices: NoticeSource | None = None
    end: Callable[[Sequence[str]], Awaitable[None]] = attrs.field(default=lambda command: end_machine(command))


class Instance:
    """This machine, as something that is rented. `end_jobs(grace_s)` tells all that runs to end."""

    def __init__(self, directory: Path, options: InstanceOptions, clock: Callable[[], Moment] = Moment.now) -> None:
        self._path = directory / FILE
        self._options = options
        self._clock = clock
        now = clock()
        self._lease = self._read() or InstanceLease.of(options.lease_s, now)
        self._written_s = -math.inf
        self.notice: Notice | None = None
        """The cloud's last word."""

    def extend(self, left_s: float, heard_s: float) -> None:
        """It is paid for so long from `heard_s` on, on the clock of this boot. Less than before is taken, too."""
        now = self._clock()
        before, self._lease = self._lease, InstanceLease.of(left_s - (now.boot_s - heard_s), now)
        if abs(self._lease.deadline_s - before.deadline_s) > 1.0:
            self._write(now)

    async def run(self, end_jobs: Callable[[float], Awaitable[None]]) -> None:
        """Until cancelled."""
        while True:
            lease = self._now()
            if lease.phase is not Phase.GOING:
                await end_jobs(max(0.0, lease.left_s - MARGIN_S))
            if lease.phase is Phase.OVER:
                log.warning("the lease of this machine is over: %s", " ".join(self._options.end_command))
                await self._options.end(self._options.end_command)
            await trio.sleep(PERIOD_S if lease.phase is not Phase.OVER else COMMAND_PAUSE_S)

    async def watch(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled: look for notices, and have each that is new told."""
        while self._options.notices is not None:
            try:
                with trio.fail_after(LOOK_S_MAX):
                    found = await self._options.notices.look()
            except (HalError, OSError, trio.TooSlowError) as error:
                log.warning("no word on whether this machine is taken back: %s", error or "no answer in time")
            else:
                if found is not None and found != self.notice:
                    log.warning("this machine is to go: %s", found.detail)
                    self.notice = found
                    await tell()
            await trio.sleep(NOTICE_PERIOD_S)

    def _now(self) -> InstanceLease:
        """The lease, or what the cloud leaves of it."""
        now = self._clock()
        self._lease = self._lease.at(now)
        if now.boot_s >= self._written_s + WRITE_PERIOD_S:
            self._write(now)
        taken_s = None if self.notice is None else self.notice.left_s(now.time_s)
        return self._lease if taken_s is None else InstanceLease.of(min(taken_s, self._lease.left_s), now)

    def _read(self) -> InstanceLease | None:
        try:
            return InstanceLease.parse(self._path.read_text(encoding="ascii"))
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def _write(self, now: Moment) -> None:
        """Whole or not at all, and on disk: a reboot does not forget it."""
        self._written_s = now.boot_s
        fresh = self._path.with_name(f"{FILE}.new")
        with fresh.open("w", encoding="ascii") as file:
            file.write(self._lease.line())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


async def end_machine(command: Sequence[str]) -> None:
    """Run the program that ends it. It is not ended with us: it may well be what ends us."""
    try:
        process = await trio.lowlevel.open_process(list(command), stdin=subprocess.DEVNULL)
    except OSError as error:
        log.error("this machine cannot be ended: %s", error)
        return
    if code := await process.wait():
        log.error("this machine was not ended: %s, exit code %d", command[0], code)
