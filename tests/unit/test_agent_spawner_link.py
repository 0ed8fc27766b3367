"""What the agent says to its spawner, and how often: an order that waits in the socket must not outlive its record."""

from __future__ import annotations

from pathlib import Path

import trio

from hal_core.agent.launcher import fields
from hal_core.agent.orders import Order, Program
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
