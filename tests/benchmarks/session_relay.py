"""The floor for the round trip of one task: a bare relay in trio between a blocking client and a blocking worker.

Nothing but frames over Unix sockets: no queue, no ledger, no futures. It is started as
`python -m tests.benchmarks.session_relay relay|worker DESCRIPTOR...` by `Relay`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from types import TracebackType
from typing import Self

import msgspec
import trio

READ_BYTES = 1 << 18
ENCODER, DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[tuple[int, bytes]])


def framed(tasks: list[tuple[int, bytes]]) -> bytes:
    body = ENCODER.encode(tasks)
    return len(body).to_bytes(4, "big") + body


class Relay:
    """A context manager. `round_trip` sends one task and waits for its result."""

    def __enter__(self) -> Self:
        self._client, client_end = socket.socketpair()
        worker_end, worker = socket.socketpair()
        ends = {"relay": (client_end, worker_end), "worker": (worker,)}
        self._processes = []
        for role, sockets in ends.items():
            numbers = [each.fileno() for each in sockets]
            words = [sys.executable, "-m", "tests.benchmarks.session_relay", role, *map(str, numbers)]
            self._processes.append(subprocess.Popen(words, pass_fds=numbers))
        for each in (client_end, worker_end, worker):
            each.close()
        self.round_trip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        for process in self._processes:
            process.wait()

    def round_trip(self) -> None:
        self._client.sendall(framed([(1, b"1234")]))
        DECODER.decode(self._client.recv(READ_BYTES)[4:])


async def relay(client: socket.socket, worker: socket.socket) -> None:
    async def pass_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
        while data := await source.receive_some(READ_BYTES):
            await target.send_all(framed(DECODER.decode(bytes(data[4:]))))
        await target.send_eof()

    streams = [trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (client, worker)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on, streams[0], streams[1])
        nursery.start_soon(pass_on, streams[1], streams[0])


def work(connection: socket.socket) -> None:
    while data := connection.recv(READ_BYTES):
        connection.sendall(framed(DECODER.decode(data[4:])))


def main() -> None:
    role, *numbers = sys.argv[1:]
    sockets = [socket.socket(fileno=int(number)) for number in numbers]
    if role == "relay":
        trio.run(relay, *sockets)
    else:
        work(*sockets)


if __name__ == "__main__":
    main()
