"""The provider: which caches have a key, and its value in pieces. By agreement a value never changes, as a dataset."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from urllib.parse import quote, unquote

import attrs
import trio

from hal_core import NodeName, NotFound, Options, Refused, Replica, Unavailable, structure_options
from hal_locality_redis.cache import Cache, Piece
from hal_locality_redis.inventory import Inventory
from hal_locality_redis.options import RedisOptions

SCHEME = "redis://"
PIECE_BYTES = 1 << 20


@attrs.frozen
class Place:
    """A key, and the caches that may have it."""

    key: str
    caches: tuple[Cache, ...]


class RedisLocality:
    """LocalityProvider and DataSource. Inventories are made where data is looked for: not on nodes that only read."""

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._caches = {server.address: Cache(server, options) for server in options.servers}
        self._inventories = {address: Inventory(cache, options) for address, cache in self._caches.items()}

    @classmethod
    def from_options(cls, options: Options) -> RedisLocality:
        return cls(structure_options(RedisOptions, options, "redis"))

    def recognises(self, dataset: str) -> bool:
        return self._place(dataset) is not None

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        """One replica for each cache that has it, for every node. A cache that does not answer has nothing now."""
        await trio.to_thread.run_sync(self._wait, abandon_on_cancel=True)
        return [self._replicas(dataset) for dataset in datasets]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """Make sure that it is there. Moves nothing: the nodes' stores do."""
        try:
            await self._first_piece(dataset, 0, 1)
        except OSError as error:
            raise Unavailable(f"input {dataset!r}: {error}") from error
        return 0

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise Refused(f"{dataset!r} is in a cache that belongs to others: what {node} has of it is in the node's store")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        place = self._place(replica.path)
        is_here = place is not None and any(cache.server.node == node for cache in place.caches)
        return replica.size_bytes / (self._options.local_bytes_per_s if is_here else self._options.bytes_per_s), 0.0

    @asynccontextmanager
    async def reading(self, address: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with aclosing(self._pieces(address, offset)) as pieces:
            yield pieces

    def close(self) -> None:
        for inventory in self._inventories.values():
            inventory.close()
        for cache in self._caches.values():
            cache.close()

    async def _pieces(self, address: str, offset: int) -> AsyncGenerator[bytes]:
        place, cache, piece = await self._first_piece(address, offset, PIECE_BYTES)
        size_bytes = piece.size_bytes
        while piece.content:
            yield piece.content
            offset += len(piece.content)
            piece = await _in_thread(partial(cache.piece, place.key, offset, PIECE_BYTES))
            if piece.size_bytes != size_bytes:
                raise Refused(f"{address!r} changed while it was being read")

    async def _first_piece(self, address: str, offset: int, count: int) -> tuple[Place, Cache, Piece]:
        """From the first cache that has it. Raises OSError if one that has not answered might."""
        place = self._place(address)
        if place is None:
            raise NotFound(f"{address!r} is in none of the caches {', '.join(self._caches)}")
        unreachable: OSError | None = None
        for cache in place.caches:
            try:
                return place, cache, await _in_thread(partial(cache.piece, place.key, offset, count))
            except NotFound:
                continue
            except OSError as error:
                unreachable = error
        if unreachable is not None:
            raise unreachable
        raise NotFound(f"there is no {address!r} in {', '.join(cache.server.address for cache in place.caches)}")

    def _wait(self) -> None:
        for inventory in self._inventories.values():
            inventory.wait(self._options.timeout_s)

    def _replicas(self, dataset: str) -> list[Replica]:
        place = self._place(dataset)
        found = []
        for cache in place.caches if place else ():
            address = cache.server.address
            if place and (size_bytes := self._inventories[address].size(place.key)) is not None:
                found.append(Replica(dataset, f"{SCHEME}{address}/{quote(place.key, safe='/:')}", size_bytes))
        return found

    def _place(self, dataset: str) -> Place | None:
        """None: it is no address, or of a cache or a key that is not ours."""
        if not dataset.startswith(SCHEME):
            return None
        address, slash, rest = dataset.removeprefix(SCHEME).partition("/")
        key = unquote(rest)
        if not slash or not key or not key.startswith(self._options.key_prefix) or not key.isprintable():
            return None
        if address and address not in self._caches:
            return None
        return Place(key, (self._caches[address],) if address else tuple(self._caches.values()))


async def _in_thread(call: Callable[[], Piece]) -> Piece:
    """Left behind when it is cancelled: it ends by its own timeout, and nobody waits for it."""
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
