"""Reads what other nodes' stores have. Where they are, and with which ticket, the daemon's orders say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

from hal_core.errors import NotFound, WireError
from hal_core.models.dataset import PEER, Dataset, DatasetId
from hal_core.wire import loans, messages, tls
from hal_core.wire.frames import FrameStream

LOANS_KEPT: Final = 100_000


class Borrowing:
    """A `Reader` (pull.py) of addresses that begin with PEER."""

    def __init__(self, tls_directory: Path) -> None:
        self._tls_directory = tls_directory
        self._loans: OrderedDict[tuple[DatasetId, str], messages.Loan] = OrderedDict()

    def learn(self, some: Iterable[messages.Loan]) -> None:
        """From an order."""
        for loan in some:
            self._loans[loan.dataset, loan.node] = loan
            self._loans.move_to_end((loan.dataset, loan.node))
        while len(self._loans) > LOANS_KEPT:
            self._loans.popitem(last=False)

    @asynccontextmanager
    async def reading(self, dataset: Dataset, address: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Empty pieces say that the file is still on its way to the other node."""
        node, _, digest = address.removeprefix(PEER).partition("/")
        loan = self._loans.get((dataset.id, node))
        if loan is None:
            raise NotFound(f"this node has no ticket for {dataset.id} on node {node}")
        try:
            stream = await tls.dial_node(loan.address, tls.borrower_context(self._tls_directory), node)
            async with FrameStream(stream, loans.FROM_LENDER) as frames:
                await frames.send(
                    loans.Borrow(messages.PROTOCOL_VERSION, dataset.id, digest, offset, loan.ticket),
                )
                async with aclosing(_pieces(frames)) as pieces:
                    yield pieces
        except WireError as error:
            raise ConnectionError(str(error)) from error


async def _pieces(frames: FrameStream) -> AsyncGenerator[bytes, None]:
    while received := await frames.receive():
        for message in received:
            match message:
                case loans.Lent(data=data):
                    yield data
                case loans.Wait():
                    yield b""
                case messages.Refusal(text=text):
                    raise NotFound(text)
