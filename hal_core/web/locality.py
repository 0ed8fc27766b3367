"""What providers do whose datasets are files of servers: they ask for sizes and give bytes, and move nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from hal_core.errors import HalError, Refused
from hal_core.models.dataset import Measured
from hal_core.models.node import NodeName
from hal_core.planes import Replica
from hal_core.web.files import WebFile, WebFiles


class WebLocality(ABC):
    """Most of a LocalityProvider and a DataSource. `where` completes "the dataset is ..." in what users are told."""

    def __init__(self, web: WebFiles, where: str) -> None:
        self._web = web
        self._where = where

    @abstractmethod
    def recognises(self, dataset: str) -> bool:
        """As planes.LocalityProvider says."""

    @abstractmethod
    def file_of(self, dataset: str) -> WebFile:
        """Raises UserError for what this provider does not recognise."""

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        """One replica, for every node, of what a server says that it has. One that does not answer has nothing now."""
        sizes = await self._web.sizes(self.file_of(each) for each in datasets if self.recognises(each))
        return [[Replica(each, each, sizes[each])] if each in sizes else [] for each in datasets]

    async def measure(self, addresses: Sequence[str]) -> Sequence[Measured | HalError | None]:
        """What the servers say now. A query may hold a signature that is for one person only, and a copy is for all: so
        such files are left where they are, and so are those that nothing tells from their next version."""
        asked = [each for each in addresses if "?" not in each and self.recognises(each)]
        found = await self._web.measurements(map(self.file_of, asked))
        return [_keepable(found.get(each)) for each in addresses]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """Make sure that it is there. Moves nothing: the nodes' stores do."""
        await self._web.check(self.file_of(dataset))
        return 0

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise Refused(f"{dataset!r} is {self._where}: what {node} has of it is in the node's store")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        return self._web.cost(replica.size_bytes)

    def reading(self, address: str, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._web.reading(self.file_of(address), offset)


def _keepable(found: Measured | HalError | None) -> Measured | HalError | None:
    return None if isinstance(found, Measured) and not (found.sha256 or found.version) else found
