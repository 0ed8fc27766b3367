"""Who this node is to a daemon on another machine: its key, its certificate, whom it trusts and where to dial.

    <state>/tls/agent.key, agent.pem, authority.pem, server

The key is made here and never leaves the machine. A renewed certificate is used from the next connection on.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from hal_core.errors import Refused, WireError
from hal_core.wire import messages, tls
from hal_core.wire.frames import FrameStream
from hal_core.wire.private_files import make_private_directory, read_private, write_private

DIRECTORY: Final = "tls"
ANSWER_TIMEOUT_S: Final = 30.0
RENEWAL_CHECK_S: Final = 3600.0

Dial = Callable[[], Awaitable[trio.abc.Stream]]


class Identity:
    """What is kept in the directory. Raises Refused if its files are open to others."""

    def __init__(self, directory: Path, server: str = "") -> None:
        self.directory = directory
        self.server = server or read_private(directory / "server").decode()
        tls.agent_context(directory)

    @classmethod
    def find(cls, state_directory: Path, server: str = "") -> Identity | None:
        """That of an agent that was enrolled; None if it never was."""
        directory = state_directory / DIRECTORY
        return cls(directory, server) if (directory / "agent.pem").exists() else None

    async def dial(self) -> trio.abc.Stream:
        return await tls.dial(self.server, tls.agent_context(self.directory))

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for another certificate."""
        from hal_core.wire.certificates import can_lend, is_due

        pem = read_private(self.directory / "agent.pem")
        return is_due(pem, now_s) or not can_lend(pem)

    def request(self, node: str) -> bytes:
        from hal_core.wire.certificates import make_request

        return make_request(read_private(self.directory / "agent.key"), node)

    def store(self, pem: bytes) -> None:
        write_private(self.directory / "agent.pem", pem)

    async def keep_fresh(self, frames: FrameStream, node: str) -> None:
        """Until cancelled: ask for another certificate when it is time. The answer comes as a Certificate."""
        while True:
            if self.is_due(time.time()):
                await frames.send(messages.Renew(self.request(node)))
            await trio.sleep(RENEWAL_CHECK_S)


async def enrol(server: str, node: str, token_text: str, state_directory: Path) -> None:
    """Make a key and have it certified with a join token. After Refused, WireError or OSError nothing is kept."""
    from hal_core.wire.authority import JoinToken
    from hal_core.wire.certificates import make_key, make_request

    token = JoinToken.parse(token_text)
    if token.node != node:
        raise Refused(f"this join token is for node {token.node}, not for {node}")
    key = make_key()
    enrolment = messages.Enrol(messages.PROTOCOL_VERSION, token.secret, make_request(key, node))
    stream = await tls.dial(server, tls.enrolment_context(token.authority_pem))
    async with FrameStream(stream, messages.FROM_DAEMON) as frames:
        await frames.send(enrolment)
        with trio.fail_after(ANSWER_TIMEOUT_S):
            received = await frames.receive()
    match received:
        case [messages.Certificate(pem=pem)]:
            directory = state_directory / DIRECTORY
            make_private_directory(directory)
            write_private(directory / "agent.key", key)
            write_private(directory / "authority.pem", token.authority_pem.encode())
            write_private(directory / "server", server.encode())
            write_private(directory / "agent.pem", pem)  # last: it says that all the rest is there
        case [messages.Refusal(text=text)]:
            raise Refused(text)
        case _:
            raise WireError("the daemon closed the connection without an answer")
