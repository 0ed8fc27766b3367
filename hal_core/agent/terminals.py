"""The agent's side of terminals: takes the connections of the processes that have one, and passes them to the daemon.

Each terminal has a connection to the daemon of its own, so that a flood of output holds up nothing else, and bytes are
read only as fast as the other side takes them. While there is no daemon the terminal stands still. Who is at the other
end of the socket the kernel says; whether that is the job's owner, the daemon does.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from hal_core.agent.identity import Dial
from hal_core.errors import WireError
from hal_core.models.job import JobId
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream

TERMINAL_SOCKET: Final = "terminal.sock"
"""In the state directory. Everybody may connect: the process that has the terminal is the user's."""
READ_BYTES = 1 << 16
KEY_BYTES_MAX = 80
INTRODUCTION_S = 10.0
REDIAL_S = 1.0
TERMINALS_MAX, TERMINALS_OF_USER_MAX = 1000, 100

log = logging.getLogger(__name__)


class Terminals:
    """Serves the socket in the agent's state directory."""

    def __init__(self, state_directory: Path, node: NodeName, dial: Dial) -> None:
        self._path = state_directory / TERMINAL_SOCKET
        self._node = node
        self._dial = dial
        self._room = trio.Semaphore(TERMINALS_MAX)
        self._count_of_uid: Counter[int] = Counter()

    async def run(self) -> None:
        self._path.unlink(missing_ok=True)
        with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as listening:
            await listening.bind(str(self._path))
            self._path.chmod(0o666)
            listening.listen(64)
            await trio.serve_listeners(self._serve, [trio.SocketListener(listening)])

    async def _serve(self, terminal: trio.SocketStream) -> None:
        _, uid, _ = struct.unpack("3i", terminal.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        async with terminal:
            if self._count_of_uid[uid] >= TERMINALS_OF_USER_MAX:
                return
            self._count_of_uid[uid] += 1
            try:
                await self._serve_user(terminal, uid)
            finally:
                self._count_of_uid[uid] -= 1

    async def _serve_user(self, terminal: trio.SocketStream, uid: int) -> None:
        async with self._room:
            try:
                with trio.fail_after(INTRODUCTION_S):
                    key, begun = await _introduction(terminal)
                who = messages.TerminalOffer(messages.PROTOCOL_VERSION, self._node, key, uid)
                unsent: bytes | None = begun
                while unsent is not None:
                    unsent = await self._pass_on(terminal, who, unsent)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ValueError) as error:
                log.debug("a terminal of uid %d: %s", uid, error)

    async def _pass_on(self, terminal: trio.SocketStream, who: messages.TerminalOffer, output: bytes) -> bytes | None:
        """One connection to the daemon. If it breaks and the terminal is still there: what it did not take; else None.

        What goes wrong with either side is handled here: one user's terminal must not end the agent.
        """
        is_there = True
        try:
            async with FrameStream(await self._dial(), messages.FROM_DAEMON) as daemon:
                await daemon.send(who)
                with trio.fail_after(INTRODUCTION_S):
                    answer = await daemon.receive()
                if answer and isinstance(answer[0], messages.Welcome):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_from_daemon, daemon, terminal, answer[1:], nursery.cancel_scope)
                        with suppress(WireError):
                            while output or (output := await _read(terminal)):
                                await daemon.send(messages.TerminalBytes(output))
                                output = b""
                            is_there = False
                        nursery.cancel_scope.cancel()
        except (OSError, WireError, trio.TooSlowError) as error:
            log.info("no daemon for the terminal of %s: %s", who.key, error)
        if not is_there:
            return None
        await trio.sleep(REDIAL_S)
        return output


async def _read(terminal: trio.SocketStream) -> bytes:
    """What the terminal shows; empty when it is gone."""
    try:
        return bytes(await terminal.receive_some(READ_BYTES))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


async def _from_daemon(
    daemon: FrameStream, terminal: trio.SocketStream, received: list[object], scope: trio.CancelScope
) -> None:
    """Until the daemon's end of the connection is gone, which ends the scope."""
    try:
        while True:
            for message in received:
                if isinstance(message, messages.TerminalBytes):
                    await terminal.send_all(message.data)
            if not (received := await daemon.receive()):
                break
    except (WireError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        log.debug("terminal: %s", error)
    scope.cancel()


async def _introduction(terminal: trio.SocketStream) -> tuple[AttemptKey, bytes]:
    """The key, and what was sent after it. Raises ValueError if it does not begin with one."""
    data = b""
    while b"\n" not in data:
        if len(data) > KEY_BYTES_MAX or not (more := await terminal.receive_some(KEY_BYTES_MAX)):
            raise ValueError("it did not say which attempt it belongs to")
        data += more
    line, _, output = data.partition(b"\n")
    job_id, index, attempt = map(int, line.split(b"."))
    return AttemptKey(JobId(job_id), index, attempt), output
