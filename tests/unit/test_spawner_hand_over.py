"""An order goes to one supervisor: who has all of it may have begun, however soon it is killed after that."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from hal_core.agent.book import Book
from hal_core.agent.launcher import fields
from hal_core.agent.launcher.spawner import Child, Spawner

KEY = "1.0.1"


class Killed(socket.socket):
    """Our end of a channel. The other is killed when it has what the first message brought."""

    def __init__(self, other: socket.socket, ours: socket.socket, has_read: bool) -> None:
        super().__init__(fileno=ours.detach())
        self._other = other
        self._has_read = has_read

    def sendmsg(self, *arguments: Any) -> int:
        sent = super().sendmsg(*arguments)
        if self._has_read:
            assert fields.take_frame(bytearray(self._other.recv(1 << 16))) is not None, "it has the whole order"
        self._other.close()
        return sent


@pytest.mark.parametrize("has_read", [True, False])
def test_who_was_killed_when_it_had_the_whole_order_is_the_only_one_who_got_it(tmp_path: Path, has_read: bool) -> None:
    """A second supervisor got it as well, and the attempt ran twice, of 28,455 jobs one (crash --seed 1638139530)."""
    Book(tmp_path)
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    spawner = Spawner(os.fspath(tmp_path), {}, lock)
    (ours, other), (spare, unasked) = socket.socketpair(), socket.socketpair()
    chosen = Child(0, Killed(other, ours, has_read))
    spawner._idle = [Child(0, spare), chosen]
    spawner._hand_over(KEY, [b"an order"], lock, [])
    assert spawner._busy == {KEY: chosen}
    unasked.setblocking(False)
    with pytest.raises(BlockingIOError):
        unasked.recv(1)
    for each in (chosen.channel, spare, unasked):
        each.close()
    os.close(lock)
