"""Objects of S3-compatible stores as datasets: s3://bucket/key. It gives bytes; the nodes' stores keep them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from hal_core import (
    NodeName,
    NotFound,
    Options,
    Refused,
    Replica,
    WebFile,
    WebFiles,
    structure_options,
)
from hal_plugin_aws.s3_addresses import parse_address
from hal_plugin_aws.s3_options import S3Options
from hal_plugin_aws.s3_signing import parse_credentials, signed_headers


class S3Locality:
    """LocalityProvider and DataSource."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._web = WebFiles(options, lambda url: False, self._sign, has_stored_encodings=True)

    @classmethod
    def from_options(cls, options: Options) -> S3Locality:
        return cls(structure_options(S3Options, options, "s3"))

    def recognises(self, dataset: str) -> bool:
        address = parse_address(dataset)
        return address is not None and address.bucket in self._options.buckets

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        """One replica, for every node, of what the store says that it has."""
        sizes = await self._web.sizes(self._file(each) for each in datasets if self.recognises(each))
        return [[Replica(each, each, sizes[each])] if each in sizes else [] for each in datasets]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """Make sure that it is there. Moves nothing: the nodes' stores do."""
        await self._web.check(self._file(dataset))
        return 0

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise Refused(f"{dataset!r} is in an object store: what {node} has of it is in the node's store")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        return self._web.cost(replica.size_bytes)

    def reading(self, address: str, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._web.reading(self._file(address), offset)

    def _file(self, dataset: str) -> WebFile:
        address = parse_address(dataset)
        if address is None or address.bucket not in self._options.buckets:
            raise NotFound(f"{dataset!r} is in none of the buckets {', '.join(self._options.buckets)}")
        return WebFile(address.url(self._options.base_url), dataset)

    async def _sign(self, method: str, url: str) -> Mapping[str, str]:
        """With what is in the file now: credentials for some hours are replaced there."""
        if self._options.credentials is None:
            return {}
        text = await trio.to_thread.run_sync(self._options.credentials.read, "s3.credentials", abandon_on_cancel=True)
        credentials = parse_credentials(text, self._options.profile)
        return signed_headers(method, url, self._options.region, credentials)
