"""A man in the middle: passes TCP connections on, keeps what clients sent, and can change a byte on the way."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

MIDDLE = "127.0.0.2"
"""Another address of this machine."""
APPLICATION_DATA = 0x17
"""The type of the TLS records that carry what was said, and the client's last word of the handshake."""


class Recorder:
    """`with Recorder(port) as middle:` clients connect to the same port of MIDDLE. `said` is what each of them sent.

    `spoiled`: the number of the application record of each connection of which the last byte is changed; 0 is none.
    """

    def __init__(self, port: int, spoiled: int = 0) -> None:
        self._port = port
        self._spoiled = spoiled
        self._listener = socket.create_server((MIDDLE, port))
        self.said: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            self.said.append(b"")
            for target, ends in ((self._listen_to, (client, server, len(self.said) - 1)), (_answer, (server, client))):
                self._threads.append(threading.Thread(target=target, args=ends))
                self._threads[-1].start()

    def _listen_to(self, client: socket.socket, server: socket.socket, number: int) -> None:
        """One record of TLS after the other."""
        with client, server:
            with suppress(OSError):
                self._pass_on(client, server, number)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes who waits for its answer

    def _pass_on(self, client: socket.socket, server: socket.socket, number: int) -> None:
        count = 0
        with client.makefile("rb") as stream:
            while len(head := stream.read(5)) == 5:
                record = head + stream.read(int.from_bytes(head[3:], "big"))
                count += record[0] == APPLICATION_DATA
                if record[0] == APPLICATION_DATA and count == self._spoiled:
                    record = record[:-1] + bytes([record[-1] ^ 1])
                self.said[number] += record
                server.sendall(record)


def _answer(server: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):  # one of them has closed
        while data := server.recv(65_536):
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


def answer_to(port: int, said: bytes) -> bytes:
    """What a server says to these bytes until it closes, or has nothing more to say for a second."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.settimeout(1.0)
        answer = b""
        try:
            stream.sendall(said)
            while piece := stream.recv(65_536):
                answer += piece
        except OSError:
            return answer
    return answer
