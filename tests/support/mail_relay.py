"""A mail relay for tests: a real, small SMTP server on a port of this machine, in a thread."""

from __future__ import annotations

import email
import email.policy
import queue
import socketserver
import threading
from email.message import EmailMessage
from typing import Self

import trio

WITHIN_S = 60.0


class Relay:
    """A real SMTP server. `answers` is what it says next to a whole mail, then 250; `mails` is what it was given.

    `refused` is what it says of recipients, by address.
    """

    def __init__(self) -> None:
        self.mails: queue.Queue[tuple[str, EmailMessage]] = queue.Queue()
        self.answers: list[bytes] = []
        self.refused: dict[str, bytes] = {}
        relay = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 test\r\n")
                recipient = ""
                for line in iter(self.rfile.readline, b""):
                    verb = line[:4].upper()
                    if verb == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    if verb == b"RCPT":
                        recipient = line.decode().partition("<")[2].partition(">")[0]
                    if verb != b"DATA":
                        self.wfile.write((relay.refused.get(recipient) if verb == b"RCPT" else None) or b"250 ok\r\n")
                        continue
                    self.wfile.write(b"354 go on\r\n")
                    lines = list(iter(self.rfile.readline, b".\r\n"))
                    mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    assert isinstance(mail, EmailMessage)
                    relay.mails.put((recipient, mail))
                    self.wfile.write(relay.answers.pop(0) if relay.answers else b"250 taken\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    async def next(self) -> tuple[str, EmailMessage]:
        return await trio.to_thread.run_sync(lambda: self.mails.get(timeout=WITHIN_S))
