"""The agent's connection to its spawner: starts one if there is none, finds it again after a restart of either.

What was ordered and is not yet seen in a record is kept and sent again to the next spawner: orders are idempotent by
key, as long as the record is there. A record goes when the daemon has the end, and an order that waits in the socket
until after that would be a second run. So to one spawner each order is sent once, however often the daemon repeats it.
"""

from __future__ import annotations

import fcntl
import logging
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from hal_core import failpoints
from hal_core.agent import suspending
from hal_core.agent.launcher import records
from hal_core.agent.orders import Order, cancel_frame, launch_frame, stop_frame
from hal_core.models.message import PartStatus

CONNECT_PAUSE_S_MIN, CONNECT_PAUSE_S_MAX = 0.005, 0.25
RESTART_PAUSE_S = 0.5
READ_PAUSE_S = 0.02
ORDERS_PER_FRAME = 32
"""Claims of one frame are made durable by one sync before the first starts: few enough for a short wait."""

log = logging.getLogger(__name__)


class SpawnerLink:
    """`pending` and `cancels` are what the spawner was told and no record shows yet."""

    def __init__(self, directory: Path, cgroups: Mapping[str, str]) -> None:
        self._directory = directory
        self._cgroups = cgroups
        self._stream: trio.SocketStream | None = None
        self._sending = trio.Lock()
        self.pending: dict[str, Order] = {}
        self.cancels: dict[str, float] = {}
        self._overdue: set[str] = set()
        self._is_starting = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connected to a living spawner until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._stream = stream = await self._connect(nursery)
                self._overdue = {*self.pending, *self.cancels}
                await self.resend()
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await _until_closed(stream)
                self._stream = None
                await stream.aclose()
                log.warning("the spawner is gone; starting another, running jobs are not touched")

    async def launch(self, orders: Sequence[Order]) -> None:
        """What is pending was sent already, or will be when a spawner is there."""
        new = [order for order in orders if order.key not in self.pending]
        self.pending.update((order.key, order) for order in orders)
        if new:
            await self._send(_launch_data(new))

    async def cancel(self, key: str, grace_s: float) -> None:
        self.cancels[key] = grace_s
        await self.suspend(key, does_resume=True)  # Who stands still cannot end in good order.
        await self._send(cancel_frame(key, grace_s))

    async def suspend(self, key: str, does_resume: bool) -> None:
        """Let it stand still, or go on. Done when this returns; the spawner has no part in it."""
        act = suspending.resume if does_resume else suspending.suspend
        await trio.to_thread.run_sync(act, self._directory, key, self._cgroups)

    def see(self, status: PartStatus) -> None:
        """What the record of an attempt shows need not be ordered again."""
        if self.pending or self.cancels:
            name = str(status.key)
            if status.start_time_s or status.end:  # Until then it may still need to be ordered.
                self.pending.pop(name, None)
            if status.end is not None:
                self.cancels.pop(name, None)

    async def stop(self) -> None:
        """The spawner ends when its last supervisor has."""
        await self._send(stop_frame())

    async def until_read(self) -> None:
        """Until the spawner has carried out all that it was sent; it takes an order out of the socket only then.
        Without a spawner there is nothing that it could read."""
        while not self._is_read():  # noqa: ASYNC110 - only the kernel knows, and it tells nobody
            await trio.sleep(READ_PAUSE_S)

    def _is_read(self) -> bool:
        if (stream := self._stream) is None:
            return True
        if self._sending.locked():
            return False  # Of what is being sent, a part may be there and the rest not.
        unread = fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(unread, sys.byteorder) == 0

    async def resend(self) -> None:
        """Order again what no record shows since the last call, for instance because the disk was full."""
        if not self._is_read():
            return  # It has yet to see the first.
        data = _launch_data([order for key, order in self.pending.items() if key in self._overdue])
        data += b"".join(cancel_frame(key, grace_s) for key, grace_s in self.cancels.items() if key in self._overdue)
        self._overdue = {*self.pending, *self.cancels}
        if data:
            await self._send(data)

    async def until_gone(self) -> None:
        if self._stream is not None:
            await _until_closed(self._stream)

    async def _send(self, data: bytes) -> None:
        if (stream := self._stream) is None:
            return  # Sent when a spawner is there.
        try:
            async with self._sending:
                await stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # `run` notices as well, and sends everything again to the next spawner.

    async def _connect(self, nursery: trio.Nursery) -> trio.SocketStream:
        """To the spawner that is there, or to one that is started as often as it takes."""
        path = str(self._directory / "spawner.sock")
        pause_s = CONNECT_PAUSE_S_MIN
        while True:
            try:
                return await trio.open_unix_socket(path)
            except OSError:
                if not self._is_starting:
                    self._is_starting = True
                    nursery.start_soon(self._start)
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, CONNECT_PAUSE_S_MAX)

    async def _start(self) -> None:
        """Start a spawner that outlives us, and reap it if it ends: at once, if one is running already."""
        program = str(Path(records.__file__).with_name("__main__.py"))
        launcher = [program, str(self._directory), *(f"{name}={base}" for name, base in self._cgroups.items())]
        async with await trio.open_file(self._directory / "spawner.log", "ab") as errors:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-I", "-S", *failpoints.command(launcher)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors.fileno(),
                start_new_session=True,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **failpoints.environment()},
            )
        if code := await process.wait():
            log.error("the spawner ended with code %d; see %s", code, self._directory / "spawner.log")
        await trio.sleep(RESTART_PAUSE_S)
        self._is_starting = False


def _launch_data(orders: Sequence[Order]) -> bytes:
    batches = (orders[at : at + ORDERS_PER_FRAME] for at in range(0, len(orders), ORDERS_PER_FRAME))
    return b"".join(launch_frame(batch) for batch in batches)


async def _until_closed(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some(1024):
            pass
    except trio.BrokenResourceError:
        pass
