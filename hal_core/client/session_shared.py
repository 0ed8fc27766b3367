"""What many tasks need alike: common data, which reaches each node once, and services, which each worker makes once.

Common data lies in the session's directory by the hash of its content. In an item or a function only the hash travels;
a worker on another machine asks the broker for the content, keeps it in a private directory of its node, and those
beside it find it there. A new version has another hash, so a task always sees the version it was submitted with.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

from hal_core.client.task_codec import dumps, loads
from hal_core.errors import TaskFailed
from hal_core.wire.private_files import make_private_directory, read_private, write_private

T = TypeVar("T")

DATA: Final = "data"
"""In the session's directory."""


@attrs.define(eq=False)
class Shared(Generic[T]):
    """A value for many tasks. In a worker, an item or function that holds this holds the value instead."""

    _directory: Path
    _key: str
    value: T
    version: int = 0
    _digest: str = ""

    def update(self, value: T) -> int:
        """Tasks that are submitted from now on see this one. Returns the number of the version."""
        body = dumps(value)
        self._digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        make_private_directory(self._directory / DATA)
        if not (self._directory / DATA / self._digest).exists():
            write_private(self._directory / DATA / self._digest, body)
        self.value = value
        self.version += 1
        return self.version

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str, str]]:
        return value_here, (str(self._directory), self._key, self._digest)


@attrs.frozen
class Service:
    """An object that each worker makes once, at its first use, and enters if it is a context manager. An attribute of
    this is a function of the session that calls the method of that name."""

    _key: str
    _factory: Callable[..., Any]
    _arguments: tuple[Any, ...]

    def __getattr__(self, method: str) -> Method:
        if method.startswith("_"):
            raise AttributeError(method)
        return Method(self._key, self._factory, self._arguments, method)


@attrs.frozen
class Method:
    key: str
    factory: Callable[..., Any]
    arguments: tuple[Any, ...]
    name: str

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return getattr(here.service(self), self.name)(*arguments, **keywords)


class Here:
    """The worker's side, one for each process."""

    def __init__(self) -> None:
        self.fetch: Callable[[str], bytes] | None = None
        """Asks the broker for the content of a hash."""
        self.entered = ExitStack()
        self._values: dict[str, tuple[str, Any]] = {}
        """The latest version of each that was used."""
        self._services: dict[str, Any] = {}
        self._kept: Path | None = None

    def value(self, directory: str, key: str, digest: str) -> Any:
        known, value = self._values.get(key, ("", None))
        if known != digest:
            value = loads(self._body(Path(directory), digest))
            self._values[key] = (digest, value)
        return value

    def service(self, method: Method) -> Any:
        if method.key not in self._services:
            made = method.factory(*method.arguments)
            if hasattr(type(made), "__enter__") and hasattr(type(made), "__exit__"):
                made = self.entered.enter_context(made)
            self._services[method.key] = made
        return self._services[method.key]

    def forget(self) -> None:
        """The session is over."""
        if self._kept is not None:
            shutil.rmtree(self._kept, ignore_errors=True)

    def _body(self, directory: Path, digest: str) -> bytes:
        if body := common_data(directory, digest):
            return body
        kept = self._kept = Path(tempfile.gettempdir()) / f"hal-session-{os.geteuid()}-{directory.name}"
        make_private_directory(kept)
        lock = os.open(kept / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # The first on this node brings it; if it dies, the next does.
            if not (kept / digest).exists():
                body = b"" if self.fetch is None else self.fetch(digest)
                if not body:
                    raise TaskFailed(f"common data {digest} is not there any more")
                write_private(kept / digest, body)
            return read_private(kept / digest)
        finally:
            os.close(lock)


def value_here(directory: str, key: str, digest: str) -> Any:
    """What a worker has in the place of a `Shared`."""
    return here.value(directory, key, digest)


def common_data(directory: Path | str, digest: str) -> bytes:
    """What lies in the session's directory; empty if there is nothing."""
    path = Path(directory) / DATA / Path(digest).name
    return read_private(path) if path.is_file() else b""


here = Here()
