"""Tasks that stay where they are until the test lets them go: `tasks.wait_at(gate.address)`."""

from __future__ import annotations

import socket

WAIT_S_MAX = 60


class Gate:
    def __init__(self, directory):
        self.address = str(directory / "gate")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen()
        self._listener.settimeout(WAIT_S_MAX)
        self._inside = []

    def wait_for_one(self):
        """The process id of the next task that has come."""
        connection, _ = self._listener.accept()
        connection.settimeout(WAIT_S_MAX)
        self._inside.append(connection)
        return int.from_bytes(connection.recv(4), "big")

    def wait_until_left(self):
        """Whether the task that came last has ended."""
        return self._inside[-1].recv(1) == b""

    def open(self):
        for connection in self._inside:
            connection.close()
        self._listener.close()
