"""The provider: files below listed URLs. It gives bytes; the nodes' stores keep and check them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from hal_core import NodeName, NotFound, Options, Refused, Replica, WebFile, WebFiles, structure_options
from hal_locality_http.options import HttpOptions
from hal_locality_http.prefixes import is_below, prefixes_of


class HttpLocality:
    """LocalityProvider and DataSource."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._prefixes = prefixes_of(options.url_prefixes)
        reachable = self._prefixes + prefixes_of(options.redirect_prefixes)
        self._web = WebFiles(options, partial(is_below, prefixes=reachable))

    @classmethod
    def from_options(cls, options: Options) -> HttpLocality:
        return cls(structure_options(HttpOptions, options, "http"))

    def recognises(self, dataset: str) -> bool:
        return is_below(dataset, self._prefixes)

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        """One replica, for every node, of what a server says that it has. One that does not answer has nothing now."""
        sizes = await self._web.sizes(self._file(each) for each in datasets if self.recognises(each))
        return [[Replica(each, each, sizes[each])] if each in sizes else [] for each in datasets]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """Make sure that it is there. Moves nothing: the nodes' stores do."""
        await self._web.check(self._file(dataset))
        return 0

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise Refused(f"{dataset!r} is on a web server: what {node} has of it is in the node's store")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        return self._web.cost(replica.size_bytes)

    def reading(self, address: str, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._web.reading(self._file(address), offset)

    def _file(self, dataset: str) -> WebFile:
        if not self.recognises(dataset):
            raise NotFound(f"{dataset!r} is below none of {', '.join(self._options.url_prefixes)}")
        return WebFile(dataset, dataset)
