"""What the agent says to its spawner, and how often: an order that waits in the socket must not outlive its record."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import termios
from contextlib import suppress
from pathlib import Path

import trio
import trio.testing

from hal_core.agent.book import Book
from hal_core.agent.launcher import fields, records
from hal_core.agent.launcher.spawner import Spawner
from hal_core.agent.orders import Order, Program, cancel_frame
from hal_core.agent.spawner_link import SpawnerLink


async def read_keys(stream: trio.SocketStream, count: int) -> list[str]:
    """The keys of the next `count` launches."""
    buffer, keys = bytearray(), list[str]()
    while len(keys) < count:
        while (frame := fields.take_frame(buffer)) is not None:
            assert frame.raw() == b"launch"
            keys += [key for key, _ in fields.split_launch(frame)]
        if len(keys) < count:
            buffer += await stream.receive_some()
    return keys


def unread(sender: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(sender.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_an_order_stays_in_the_socket_until_it_is_carried_out(tmp_path: Path) -> None:
    """By that the agent knows when a record may go: an order that begins after it would run a second time."""
    Book(tmp_path)
    left: list[int] = []

    class Watched(Spawner):
        def _cancel(self, key: str, grace_s: float) -> None:
            left.append(unread(agent))
            super()._cancel(key, grace_s)

    with (tmp_path / "lock").open("w") as lock, socket.socket(socket.AF_UNIX) as agent:
        spawner = Watched(str(tmp_path), {}, lock.fileno())
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "spawner.sock"))
            listener.listen()
            agent.connect(str(tmp_path / "spawner.sock"))
            spawner._accept(listener)
        first, second = cancel_frame("1.0.1", 1.0), cancel_frame("2.0.1", 1.0)
        accepted = spawner._agent
        assert accepted is not None
        for data in (first + second[:7], second[7:]):
            agent.sendall(data)
            spawner._listen(accepted)
            assert unread(agent) == 0
        assert len(left) == 2
        assert all(left), "it was carried out after it had left the socket"
        assert sorted(os.listdir(tmp_path / records.CLAIMS)) == ["1.0.1", "2.0.1"]
        spawner._drop_agent()


async def test_an_order_that_is_sent_in_part_is_not_read(tmp_path: Path) -> None:
    large = Program(0, 0)
    large.script = bytes(range(1, 256)) * 20_000
    link = SpawnerLink(tmp_path, {})
    with trio.fail_after(60):
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(str(tmp_path / "spawner.sock"))
        listening.listen()
        async with trio.SocketListener(listening) as spawner, trio.open_nursery() as nursery:
            await nursery.start(link.run)
            async with await spawner.accept() as stream:
                nursery.start_soon(link.launch, [Order("1.0.1", large)])
                await trio.lowlevel.wait_readable(stream.socket)
                await trio.testing.wait_all_tasks_blocked()
                with suppress(BlockingIOError):
                    while os.read(stream.socket.fileno(), 1 << 20):
                        pass
                assert not link._is_read(), "the rest of it is still to come"
            nursery.cancel_scope.cancel()


async def test_one_spawner_hears_an_order_once_and_the_next_one_again(tmp_path: Path) -> None:
    first, second, third = (Order(f"{number}.0.1", Program(0, 0)) for number in (1, 2, 3))
    link = SpawnerLink(tmp_path, {})
    with trio.fail_after(60):
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(str(tmp_path / "spawner.sock"))
        listening.listen()
        async with trio.SocketListener(listening) as spawner, trio.open_nursery() as nursery:
            await nursery.start(link.run)
            async with await spawner.accept() as stream:
                await link.launch([first, second])
                for _ in range(10):  # As a daemon does that comes back: it repeats what has not begun.
                    await link.launch([first, second])
                await link.launch([second, third])
                assert await read_keys(stream, 3) == ["1.0.1", "2.0.1", "3.0.1"]
                del link.pending["1.0.1"]  # Its record shows that it has begun.
            async with await spawner.accept() as stream:
                await trio.lowlevel.wait_readable(stream.socket)
                await link.resend()  # Not while the first of them waits there.
                with trio.move_on_after(0.2) as waiting:
                    await link.until_read()
                assert waiting.cancelled_caught, "nothing was read yet"
                assert await read_keys(stream, 2) == ["2.0.1", "3.0.1"]
                await link.until_read()
                await link.resend()
                assert await read_keys(stream, 2) == ["2.0.1", "3.0.1"]
            nursery.cancel_scope.cancel()
