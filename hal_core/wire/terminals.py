"""Terminals of interactive jobs as the daemon has them: offered by agents, taken by whoever attends to the job.

A terminal that nobody takes in time is told to hang up. The bytes pass through and are kept nowhere.
"""

from __future__ import annotations

import struct
from typing import Final

import trio

from hal_core.errors import WireError
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream

UNATTENDED_S: Final = 15.0
"""A terminal waits so long for its client: one that is there attends before the job begins, or, after a restart of the
daemon, asks ten times a second. Whoever was killed between submitting and attending never comes."""
_HEAD = struct.Struct(">cI")


def typed(data: bytes) -> bytes:
    """A message to the terminal: input."""
    return _HEAD.pack(b"i", len(data)) + data


def resized(rows: int, columns: int) -> bytes:
    """A message to the terminal: the size of its window."""
    text = b"%d %d" % (rows, columns)
    return _HEAD.pack(b"w", len(text)) + text


HANG_UP: Final = _HEAD.pack(b"h", 0)


class Terminal:
    """One that an agent has offered. `uid` is the user that its process runs as, as the node's kernel says."""

    def __init__(self, frames: FrameStream, uid: int) -> None:
        self.uid = uid
        self.is_taken = False
        self._frames = frames
        self._changed = trio.Event()
        self.is_gone = False

    async def send(self, message: bytes) -> None:
        """To the terminal. Raises WireError if it is gone."""
        await self._frames.send(messages.TerminalBytes(message))

    async def receive(self) -> bytes:
        """What the program wrote; empty when the terminal is gone. Called by whoever took it, and nobody else."""
        try:
            received = await self._frames.receive()
        except WireError:
            received = []
        data = b"".join(each.data for each in received if isinstance(each, messages.TerminalBytes))
        if not received:
            self.is_gone = True
            self.release()
        return data

    def release(self) -> None:
        self.is_taken = False
        self._changed.set()
        self._changed = trio.Event()

    async def serve(self) -> None:
        """Until it is gone. With nobody to attend to it for too long, it hangs up."""
        while not self.is_gone:
            with trio.move_on_after(UNATTENDED_S) as alone:
                await self._changed.wait()
            if alone.cancelled_caught and not self.is_taken:
                with trio.move_on_after(UNATTENDED_S):
                    await self.send(HANG_UP)
                    while await self.receive():
                        pass
                return


class Terminals:
    """Those that are there, by attempt."""

    def __init__(self) -> None:
        self._offered: dict[AttemptKey, Terminal] = {}
        self._came = trio.Event()

    async def offer(self, frames: FrameStream, said: messages.TerminalOffer) -> None:
        """Serve an agent's connection to its end. The first terminal of an attempt counts."""
        if said.protocol != messages.PROTOCOL_VERSION or said.key in self._offered:
            raise WireError(f"a second terminal of {said.key}, or of another version")
        self._offered[said.key] = terminal = Terminal(frames, said.uid)
        try:
            await frames.send(messages.Welcome(messages.PROTOCOL_VERSION, 0, 0.0))
            self._came.set()
            self._came = trio.Event()
            await terminal.serve()
        finally:
            terminal.is_gone = True
            del self._offered[said.key]

    def find(self, job_id: int, uid: int) -> Terminal | None:
        """That of the job's latest attempt, if its process is that user's."""
        found = [key for key, terminal in self._offered.items() if key.job_id == job_id and terminal.uid == uid]
        return self._offered[max(found, key=lambda key: key.attempt)] if found else None

    def take(self, job_id: int, uid: int) -> Terminal | None:
        """The same, for one who attends to it from now on; `release` gives it back. None if somebody does."""
        terminal = self.find(job_id, uid)
        if terminal is None or terminal.is_taken or terminal.is_gone:
            return None
        terminal.is_taken = True
        return terminal

    async def wait_for_another(self) -> None:
        """Until one more has been offered."""
        await self._came.wait()
