"""One server: what it says of keys, and pieces of their values. Calls block; they are made in threads.

What redis-py raises becomes OSError where another try may help, UserError where it would not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from hal_core import HalError, NotFound, Refused
from hal_locality_redis.options import RedisOptions, Server

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise HalError(f"the locality redis needs more packages ({error.name}): pip install 'hal-core[redis]'") from None

ASKED_AT_ONCE = 1000
"""Keys in one round trip."""


@attrs.frozen
class Piece:
    """`size_bytes` is that of the whole value, at the same moment."""

    content: bytes
    size_bytes: int


class Cache:
    """Connects when it is first asked. Its connections are shared by the threads that use it."""

    def __init__(self, server: Server, options: RedisOptions) -> None:
        self.server = server
        self._options = options
        self._lock = threading.Lock()
        self._made: Any = None

    def sizes(self, keys: Sequence[str]) -> dict[str, int | None]:
        """In bytes; None: there is no such key, or it is no string."""
        found: dict[str, int | None] = {}
        with self.client() as client:
            for begin in range(0, len(keys), ASKED_AT_ONCE):
                some = keys[begin : begin + ASKED_AT_ONCE]
                pipe = client.pipeline(transaction=True)
                for key in some:
                    pipe.exists(key).strlen(key)
                told = pipe.execute(raise_on_error=False)
                for key, is_there, size in zip(some, told[::2], told[1::2], strict=True):
                    found[key] = size if is_there == 1 and isinstance(size, int) else None
        return found

    def scan(self) -> Iterator[list[str]]:
        """Those of strings that begin with the prefix, some at a time; a key may come twice."""
        pattern = glob_of(self._options.key_prefix)
        cursor = -1
        while cursor:
            with self.client() as client:
                cursor, some = client.scan(max(cursor, 0), match=pattern, count=ASKED_AT_ONCE, _type="string")
            yield list(texts_of(some))

    def piece(self, key: str, begin: int, count: int) -> Piece:
        """At most `count` bytes from `begin` on. Raises NotFound."""
        with self.client() as client:
            pipe = client.pipeline(transaction=True)
            pipe.exists(key).strlen(key).getrange(key, begin, begin + count - 1)
            is_there, size, content = pipe.execute(raise_on_error=False)
            for answer in (is_there, size, content):
                if isinstance(answer, redis.ConnectionError):  # It is loading what it had before a restart.
                    raise answer
        for answer in (is_there, size, content):
            if isinstance(answer, Exception):
                raise Refused(f"{key!r} in {self.server.address}: {answer}")
        if not is_there:
            raise NotFound(f"there is no {key!r} in {self.server.address}")
        return Piece(content, size)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """redis-py's client, with its errors as ours."""
        where = self.server.address
        try:
            yield self._client()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise Refused(f"the cache {where} does not let us in: {error}") from None
        except redis.RedisError as error:
            raise ConnectionError(f"the cache {where}: {error}") from error

    def close(self) -> None:
        with self._lock:
            if self._made is not None:
                self._made.close()

    def _client(self) -> Any:
        options = self._options
        with self._lock:
            if self._made is None:
                host, _, port = self.server.address.rpartition(":")
                secret = options.password.read("redis.password") if options.password else None
                tls = {"ssl": True, "ssl_ca_certs": options.ca_file or None} if options.has_tls else {}
                make: Any = redis.Redis  # Tries once: who asks tries again, or another cache.
                self._made = make(
                    host.strip("[]"), int(port), username=options.username if secret else None, password=secret,
                    socket_timeout=options.timeout_s, socket_connect_timeout=options.timeout_s,
                    retry=Retry(NoBackoff(), 0), **tls,
                )  # fmt: skip
            return self._made


def texts_of(keys: Iterable[bytes]) -> Iterator[str]:
    """What is no text cannot be named by a user."""
    for key in keys:
        try:
            yield key.decode()
        except UnicodeDecodeError:
            continue


def glob_of(prefix: str) -> str:
    """Redis' pattern for all that begins so."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^-" else letter for letter in prefix) + "*"
