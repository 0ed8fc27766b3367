"""The provider: where a URL's file is, how large it is, and its bytes from any offset on.

It keeps nothing on disk. A file that changes while it is read is an error, as far as the server tells versions apart.
"""

from __future__ import annotations

import hashlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import cached_property

import httpx
import trio

from hal_core import (
    HalError,
    NodeName,
    NotFound,
    Options,
    Refused,
    Replica,
    Unavailable,
    UserError,
    structure_options,
)
from hal_locality_http.answers import check_status, digest_of, extent_of, total_of, version_of
from hal_locality_http.options import HttpOptions
from hal_locality_http.prefixes import is_below, prefixes_of

PIECE_BYTES = 1 << 20
ASKED_AT_ONCE = 16
"""Files whose size is asked for at the same time."""

VERSIONS_KEPT = 10_000


class HttpLocality:
    """LocalityProvider and DataSource. A connection for each file: they are long, and a cancelled one is closed."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._prefixes = prefixes_of(options.url_prefixes)
        self._reachable = self._prefixes + prefixes_of(options.redirect_prefixes)
        self._versions: OrderedDict[str, str] = OrderedDict()

    @classmethod
    def from_options(cls, options: Options) -> HttpLocality:
        return cls(structure_options(HttpOptions, options, "http"))

    def recognises(self, dataset: str) -> bool:
        return is_below(dataset, self._prefixes)

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        """One replica, for every node, of what a server says that it has. One that does not answer has nothing now."""
        sizes: dict[str, int] = {}
        limit = trio.CapacityLimiter(ASKED_AT_ONCE)

        async def ask(url: str) -> None:
            async with limit:
                try:
                    sizes[url] = await self._size(url)
                except (HalError, OSError):
                    return

        async with trio.open_nursery() as nursery:
            for url in dict.fromkeys(datasets):
                if self.recognises(url):
                    nursery.start_soon(ask, url)
        return [[Replica(url, url, sizes[url])] if url in sizes else [] for url in datasets]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """Make sure that it is there. Moves nothing: the nodes' stores do."""
        if not self.recognises(dataset):
            raise NotFound(f"{dataset!r} is below none of {', '.join(self._options.url_prefixes)}")
        try:
            await self._size(dataset)
        except OSError as error:
            raise Unavailable(f"input {dataset!r}: {error}") from error
        return 0

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise Refused(f"{dataset!r} is on a web server: what {node} has of it is in the node's store")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        seconds = replica.size_bytes / self._options.bytes_per_s
        return seconds, replica.size_bytes / 1e9 * self._options.price_per_gb

    @asynccontextmanager
    async def reading(self, address: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if not self.recognises(address):
            raise NotFound(f"{address!r} is below none of {', '.join(self._options.url_prefixes)}")
        with _as_os_error(address):
            async with self._answer("GET", address, self._range_from(address, offset)) as answer:
                check_status(answer.status_code, address)
                async with aclosing(self._pieces(answer, address, offset)) as pieces:
                    yield pieces

    async def _pieces(self, answer: httpx.Response, url: str, offset: int) -> AsyncGenerator[bytes]:
        extent = extent_of(answer.status_code, answer.headers, url)
        self._check_version(answer.headers, url, offset)
        if answer.status_code == 416:
            if extent.begin > offset:
                raise ConnectionError(f"the server has {extent.begin} bytes of {url}, and not those from {offset} on")
            return
        if extent.begin not in (0, offset):
            raise ConnectionError(f"the server sends {url} from byte {extent.begin} on, not from {offset}")
        if extent.count is None and "chunked" not in answer.headers.get("transfer-encoding", ""):
            raise Refused(f"the server does not say where {url} ends: half of it would pass for all")
        self._check_size(extent.begin + (extent.count or 0), url)
        digest, told = hashlib.sha256(), digest_of(answer.headers) if extent.begin == 0 else None
        at = extent.begin
        async with _unwound(answer.aiter_raw(PIECE_BYTES)) as raw:
            while (piece := await self._next(raw, url)) is not None:
                if told is not None:
                    digest.update(piece)
                skipped = max(0, offset - at)  # A server without ranges sends all from the beginning.
                at += len(piece)
                self._check_size(at, url)
                if piece := piece[skipped:]:
                    yield piece
        if told is not None and told != digest.digest():
            raise Refused(f"what came of {url} is not what the server's digest says")

    async def _next(self, raw: AsyncIterator[bytes], url: str) -> bytes | None:
        with trio.move_on_after(self._options.timeout_s):
            return await anext(raw, None)
        raise TimeoutError(f"the server sent less than a MiB of {url} in {self._options.timeout_s:g} s")

    async def _size(self, url: str) -> int:
        """Of the whole file, in bytes. Asked with HEAD, or for the first byte where the server has no HEAD."""
        with _as_os_error(url):
            async with self._answer("HEAD", url, {}) as answer:
                if answer.status_code not in (405, 501):
                    check_status(answer.status_code, url)
                    count = extent_of(answer.status_code, answer.headers, url).count
                    if count is not None:
                        return self._check_size(count, url)
            async with self._answer("GET", url, {"Range": "bytes=0-0"}) as answer:
                check_status(answer.status_code, url)
                size = total_of(answer.headers)
                if size is None and answer.status_code == 200:
                    size = extent_of(200, answer.headers, url).count
                if size is None:
                    raise Refused(f"the server does not say how large {url} is")
                return self._check_size(size, url)

    @asynccontextmanager
    async def _answer(self, method: str, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The first answer that is no redirect. Each place that we are sent to must be one that is listed."""
        options, target = self._options, url
        async with httpx.AsyncClient(
            timeout=options.timeout_s, verify=self._tls, trust_env=False, proxy=options.proxy or None
        ) as client:
            for _ in range(options.redirect_count_max + 1):
                request = client.build_request(method, target, headers={"Accept-Encoding": "identity", **headers})
                answer = await client.send(request, stream=True)
                try:
                    if answer.next_request is None:
                        yield answer
                        return
                    target = str(answer.next_request.url)
                finally:
                    await answer.aclose()
                if not is_below(target, self._reachable):
                    raise Refused(f"the server of {url} sends us to {target}, which is not below a listed prefix")
        raise Refused(f"the server of {url} sends us on more than {options.redirect_count_max} times")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._options.ca_file or None)

    def _range_from(self, url: str, offset: int) -> dict[str, str]:
        if not offset:
            return {}
        version = self._versions.get(url, "")
        return {"Range": f"bytes={offset}-", **({"If-Range": version} if version else {})}

    def _check_version(self, headers: httpx.Headers, url: str, offset: int) -> None:
        """Who goes on must go on with the version that was begun."""
        version = version_of(headers)
        begun = self._versions.get(url, "")
        if offset and begun and version and version != begun:
            del self._versions[url]
            raise Refused(f"{url} changed while it was being read")
        if version:
            self._versions[url] = version
            self._versions.move_to_end(url)
            while len(self._versions) > VERSIONS_KEPT:
                self._versions.popitem(last=False)

    def _check_size(self, size_bytes: int, url: str) -> int:
        if size_bytes > self._options.size_bytes_max:
            raise Refused(f"{url} has {size_bytes} bytes; size_bytes_max is {self._options.size_bytes_max}")
        return size_bytes


@asynccontextmanager
async def _unwound(raw: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """httpx reads through nested generators, of which closing the outer one leaves the inner ones to the garbage
    collector. So who stops early goes on, cancelled: that ends all of them, from inside, where the network is awaited.
    """
    try:
        yield raw
    finally:
        with trio.CancelScope() as scope, suppress(httpx.TransportError):
            scope.cancel()
            async for _ in raw:
                pass


@contextmanager
def _as_os_error(url: str) -> Iterator[None]:
    """What a network does is an OSError; what was asked of httpx and cannot be is a mistake in the URL."""
    try:
        yield
    except httpx.TransportError as error:
        raise ConnectionError(f"no whole answer for {url}: {str(error) or type(error).__name__}") from error
    except httpx.InvalidURL as error:
        raise UserError(f"{url} is no URL that can be asked for: {error}") from None
