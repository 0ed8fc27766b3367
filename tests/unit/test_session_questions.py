"""A client that asks its broker how the session is waits for the answer, and takes nothing else for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from hal_core.client.session_link import SessionLink
from hal_core.wire.sessions import Ask, Figures, Inbox, encode, receive

ENDS_WITHIN_S = 60.0


class Broker:
    """Its end of the connection, held by the test."""

    session, is_recoverable, directory = "3f9a", False, Path("/nowhere")

    def __init__(self) -> None:
        self.far, self.near = socket.socketpair()
        self.near.settimeout(ENDS_WITHIN_S)
        self._inbox = Inbox()

    def start(self) -> socket.socket:
        return self.far

    def question(self) -> Ask:
        """The next that comes."""
        while (messages := receive(self.near, self._inbox)) is not None:
            for message in messages:
                if isinstance(message, Ask):
                    return message
        raise AssertionError("the client asked nothing")

    def tell(self, done_count: int, number: int = 0) -> None:
        counts = (0, 0, 0, done_count, 0, 0, 0, 0)
        self.near.sendall(encode(Figures("3f9a", *counts, 0.0, trouble="waits for its daemon", number=number)))


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.near.close()
    broker.far.close()


def test_what_nobody_asked_for_is_no_answer(broker: Broker) -> None:
    link = SessionLink(broker)  # type: ignore[arg-type]
    with ThreadPoolExecutor() as pool:
        for done_count in (5, 6):
            figures = pool.submit(link.figures)
            number = broker.question().number
            broker.tell(0)
            assert not wait([figures], 0.1).done, "what is told of its trouble answers nothing"
            broker.tell(done_count, number)
            assert figures.result(ENDS_WITHIN_S).done_count == done_count
        left = pool.submit(link.leave)
        broker.tell(7, broker.question().number)
        left.result(ENDS_WITHIN_S)
