"""Files of web servers: how large one is, and its bytes from any offset on.

It keeps nothing on disk. A file that changes while it is read is an error, as far as the server tells versions apart.
"""

from __future__ import annotations

import hashlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import cached_property

import attrs
import httpx
import trio

from hal_core.errors import HalError, Refused, Unavailable, UserError
from hal_core.models.dataset import Measured
from hal_core.web.answers import check_status, digest_of, extent_of, total_of, version_of
from hal_core.web.reach import looked_up

PIECE_BYTES = 1 << 20
ASKED_AT_ONCE = 16
"""Files whose size is asked for at the same time."""

REDIRECT_COUNT_MAX = 5
HEADLESS = (400, 403, 405, 501)
"""Answers to HEAD that say nothing about GET: not every server has HEAD, and a URL signed for GET is for GET only."""

VERSIONS_KEPT = 10_000

Sign = Callable[[str, str], Awaitable[Mapping[str, str]]]
"""(method, URL) -> the headers that say who asks."""


async def unsigned(method: str, url: str) -> Mapping[str, str]:
    return {}


@attrs.frozen
class WebFile:
    """`name` is what users call it, and what errors say."""

    url: str
    name: str


@attrs.frozen
class WebOptions:
    """What can be set of every provider that reads so. `timeout_s`: for a connection, an answer, and each MiB of it.
    `bytes_per_s` and `price_per_gb`: what bringing a file is expected to take."""

    size_bytes_max: int = attrs.field(default=1 << 40, validator=attrs.validators.ge(1))
    timeout_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    bytes_per_s: float = attrs.field(default=1e8, validator=attrs.validators.gt(0))
    price_per_gb: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    ca_file: str = ""
    proxy: str = ""


class WebFiles:
    """A connection for each file: transfers are long, and a cancelled one is closed.

    `may_follow` says of a URL whether a server may send us there, `is_strange` whether the site did not list its server
    by name (reach.py). Where `has_stored_encodings`, size and offsets are those of the form in which a file is stored,
    also when that is called an encoding (object stores). Errors are UserError where another try would not help, OSError
    where it may; both name the file.
    """

    def __init__(
        self,
        options: WebOptions,
        may_follow: Callable[[str], bool],
        sign: Sign = unsigned,
        has_stored_encodings: bool = False,
        is_strange: Callable[[str], bool] = lambda url: False,
    ) -> None:
        self._options = options
        self._may_follow = may_follow
        self._sign = sign
        self._has_stored_encodings = has_stored_encodings
        self._is_strange = is_strange
        self._versions: OrderedDict[str, str] = OrderedDict()

    def cost(self, size_bytes: int) -> tuple[float, float]:
        """(seconds, money) of bringing so much."""
        return size_bytes / self._options.bytes_per_s, size_bytes / 1e9 * self._options.price_per_gb

    async def check(self, file: WebFile) -> None:
        """Make sure that it is there. Raises HalError."""
        try:
            await self.size(file)
        except OSError as error:
            raise Unavailable(f"input {file.name!r}: {error}") from error

    async def size(self, file: WebFile) -> int:
        """Of the whole file, in bytes."""
        return (await self.measured(file)).size_bytes

    async def measured(self, file: WebFile) -> Measured:
        """What the server says of it. Asked with HEAD, or for the first byte where the server gives no HEAD."""
        with _as_os_error(file.name):
            async with self._answer("HEAD", file, {}) as answer:
                if answer.status_code not in HEADLESS:
                    check_status(answer.status_code, file.name)
                    self._check_form(answer, file.name)
                    if (count := extent_of(answer.status_code, answer.headers, file.name).count) is not None:
                        return self._measured(count, answer.headers, file.name)
            async with self._answer("GET", file, {"Range": "bytes=0-0"}) as answer:
                check_status(answer.status_code, file.name)
                self._check_form(answer, file.name)
                size = total_of(answer.headers)
                if size is None and answer.status_code == 200:
                    size = extent_of(200, answer.headers, file.name).count
                if size is None:
                    raise Refused(f"the server does not say how large {file.name} is")
                return self._measured(size, answer.headers, file.name)

    def _measured(self, size_bytes: int, headers: httpx.Headers, name: str) -> Measured:
        digest = digest_of(headers)
        size_bytes = self._check_size(size_bytes, name)
        return Measured(size_bytes, version_of(headers), digest.hex() if digest else "")

    async def measurements(self, files: Iterable[WebFile]) -> dict[str, Measured | HalError]:
        """By name. A server that does not answer now is Unavailable."""
        found: dict[str, Measured | HalError] = {}
        limit = trio.CapacityLimiter(ASKED_AT_ONCE)

        async def ask(file: WebFile) -> None:
            async with limit:
                try:
                    found[file.name] = await self.measured(file)
                except HalError as error:
                    found[file.name] = error
                except OSError as error:
                    found[file.name] = Unavailable(str(error))

        async with trio.open_nursery() as nursery:
            for file in dict.fromkeys(files):
                nursery.start_soon(ask, file)
        return found

    async def sizes(self, files: Iterable[WebFile]) -> dict[str, int]:
        """By name. What a server does not tell now, for whatever reason, is left out."""
        found = await self.measurements(files)
        return {name: each.size_bytes for name, each in found.items() if isinstance(each, Measured)}

    @asynccontextmanager
    async def reading(self, file: WebFile, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """As planes.DataSource says."""
        with _as_os_error(file.name):
            async with self._answer("GET", file, self._range_from(file, offset)) as answer:
                check_status(answer.status_code, file.name)
                async with aclosing(self._pieces(answer, file, offset)) as pieces:
                    yield pieces

    async def _pieces(self, answer: httpx.Response, file: WebFile, offset: int) -> AsyncGenerator[bytes]:
        name = file.name
        if answer.status_code == 416:
            if (size := total_of(answer.headers)) is None:  # Object stores do not say it here.
                size = await self.size(file)
            if size > offset:
                raise ConnectionError(f"the server has {size} bytes of {name}, and not those from {offset} on")
            return
        self._check_form(answer, name)
        extent = extent_of(answer.status_code, answer.headers, name)
        self._check_version(answer.headers, name, offset)
        if extent.begin not in (0, offset):
            raise ConnectionError(f"the server sends {name} from byte {extent.begin} on, not from {offset}")
        if extent.count is None and "chunked" not in answer.headers.get("transfer-encoding", ""):
            raise Refused(f"the server does not say where {name} ends: half of it would pass for all")
        self._check_size(extent.begin + (extent.count or 0), name)
        digest, told = hashlib.sha256(), digest_of(answer.headers) if extent.begin == 0 else None
        at = extent.begin
        async with _unwound(answer.aiter_raw()) as raw, aclosing(self._gathered(raw, name)) as gathered:
            async for piece in gathered:
                if told is not None:
                    digest.update(piece)
                skipped = max(0, offset - at)  # A server without ranges sends all from the beginning.
                at += len(piece)
                self._check_size(at, name)
                if piece := piece[skipped:]:
                    yield piece
        if told is not None and told != digest.digest():
            raise Refused(f"what came of {name} is not what the server's digest says")

    async def _gathered(self, raw: AsyncIterator[bytes], name: str) -> AsyncGenerator[bytes]:
        """In pieces of a MiB. What came before a break is given before the error is raised: it need not come again."""
        is_over, wrong = False, None
        while not is_over and wrong is None:
            piece = bytearray()
            with trio.move_on_after(self._options.timeout_s) as scope:
                try:
                    while len(piece) < PIECE_BYTES and not is_over:
                        some = await anext(raw, None)
                        is_over = some is None
                        piece += some or b""
                except httpx.TransportError as error:
                    wrong = error
            if piece:
                yield bytes(piece)
            if scope.cancelled_caught:
                raise TimeoutError(f"the server sent less than a MiB of {name} in {self._options.timeout_s:g} s")
        if wrong is not None:
            raise wrong

    @asynccontextmanager
    async def _answer(self, method: str, file: WebFile, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """The first answer that is no redirect. Who asks is told only to the server that was named."""
        options, target, told = self._options, file.url, await self._sign(method, file.url)
        async with httpx.AsyncClient(
            timeout=options.timeout_s, verify=self._tls, trust_env=False, proxy=options.proxy or None
        ) as client:
            for _ in range(REDIRECT_COUNT_MAX + 1):
                asked = {"Accept-Encoding": "identity", **headers, **told}
                request = await self._request(client, method, target, asked, file.name)
                answer = await client.send(request, stream=True)
                try:
                    if not answer.has_redirect_location:
                        yield answer
                        return
                    target, told = str(httpx.URL(target).join(answer.headers["location"])), {}
                finally:
                    await answer.aclose()
                if not self._may_follow(target):
                    raise Refused(f"the server of {file.name} sends us to {target}, which is not below a listed prefix")
        raise Refused(f"the server of {file.name} sends us on more than {REDIRECT_COUNT_MAX} times")

    async def _request(
        self, client: httpx.AsyncClient, method: str, target: str, headers: Mapping[str, str], name: str
    ) -> httpx.Request:
        if self._options.proxy or not self._is_strange(target):  # a proxy looks names up by itself
            return client.build_request(method, target, headers=headers)
        url = httpx.URL(target)
        told = {**headers, "Host": url.netloc.decode("ascii")}
        place = await looked_up(url, name)
        return client.build_request(method, place, headers=told, extensions={"sni_hostname": url.host})

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._options.ca_file or None)

    def _range_from(self, file: WebFile, offset: int) -> dict[str, str]:
        if not offset:
            return {}
        version = self._versions.get(file.name, "")
        return {"Range": f"bytes={offset}-", **({"If-Range": version} if version else {})}

    def _check_form(self, answer: httpx.Response, name: str) -> None:
        encoding = answer.headers.get("content-encoding", "identity").lower()
        if encoding != "identity" and not self._has_stored_encodings:
            raise Refused(
                f"the server gives {name} only encoded ({encoding}), which has another size and other offsets"
            )

    def _check_version(self, headers: httpx.Headers, name: str, offset: int) -> None:
        """Who goes on must go on with the version that was begun."""
        version = version_of(headers)
        begun = self._versions.get(name, "")
        if offset and begun and version and version != begun:
            del self._versions[name]
            raise Refused(f"{name} changed while it was being read")
        if version:
            self._versions[name] = version
            self._versions.move_to_end(name)
            while len(self._versions) > VERSIONS_KEPT:
                self._versions.popitem(last=False)

    def _check_size(self, size_bytes: int, name: str) -> int:
        if size_bytes > self._options.size_bytes_max:
            raise Refused(f"{name} has {size_bytes} bytes; size_bytes_max is {self._options.size_bytes_max}")
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
def _as_os_error(name: str) -> Iterator[None]:
    """What a network does is an OSError; what was asked of httpx and cannot be is a mistake in the URL."""
    try:
        yield
    except httpx.TransportError as error:
        raise ConnectionError(f"no whole answer for {name}: {str(error) or type(error).__name__}") from error
    except httpx.InvalidURL as error:
        raise UserError(f"{name} is no URL that can be asked for: {error}") from None
