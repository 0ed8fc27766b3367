"""The provider: a dataset is an absolute path or a file: URL below one of the shared prefixes.

What is there is there for every node, so staging moves nothing: it only refuses what everybody can see not to be there.
The daemon may look where users may not, so nothing is said of what is behind a directory that is not open to all.
Where a file system is listed as slow, nodes keep copies of the files that everybody may read. It must never change a
file, and never say anything about paths outside the prefixes.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs
import trio

from hal_core import (
    HalError,
    Measured,
    NodeName,
    NotFound,
    Options,
    Refused,
    Replica,
    file_version,
    structure_options,
)

LINKS_MAX: Final = 40
"""On one way, as the kernel has it."""
_WALKING: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _all_are_absolute(_: object, __: object, prefixes: tuple[str, ...]) -> None:
    for prefix in prefixes:
        if not prefix.startswith("/"):
            raise ValueError(f"expected absolute paths, not {prefix!r}")


@attrs.frozen
class FileOptions:
    """`shared_prefixes`: directories that every node sees under the same path. `cached_prefixes`: those
    of them of whose files nodes had better have copies, because reading them is slow."""

    shared_prefixes: tuple[str, ...] = attrs.field(default=("/",), validator=_all_are_absolute)
    cached_prefixes: tuple[str, ...] = attrs.field(default=(), validator=_all_are_absolute)


class FileLocality:
    """LocalityProvider for shared file systems. A directory counts as a dataset of unknown size (0 bytes)."""

    def __init__(self, options: FileOptions) -> None:
        self._prefixes = _normal(options.shared_prefixes)
        self._cached = _normal(options.cached_prefixes)

    @classmethod
    def from_options(cls, options: Options) -> FileLocality:
        return cls(structure_options(FileOptions, options, "files"))

    def recognises(self, dataset: str) -> bool:
        return self._path_of(dataset) is not None

    async def measure(self, addresses: Sequence[str]) -> Sequence[Measured | HalError | None]:
        """Files below `cached_prefixes` that everybody may read: a copy on a node is for all."""
        if not self._cached:
            return [None] * len(addresses)
        return await trio.to_thread.run_sync(lambda: [*map(self._measure, addresses)], abandon_on_cancel=True)

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        return await trio.to_thread.run_sync(self._locate, tuple(datasets), abandon_on_cancel=True)

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """Refuse what everybody can see not to be there. Moves nothing."""
        path = self._path_of(dataset)
        if path is None:
            raise NotFound(f"dataset {dataset!r} is not below {', '.join(self._prefixes)}")
        # A thread, and one that may be left behind: a dead file server must not stop the daemon.
        await trio.to_thread.run_sync(_check_there, dataset, path, self._prefixes, abandon_on_cancel=True)
        return 0

    async def evict(self, dataset: str, node: NodeName) -> None:
        raise Refused(f"dataset {dataset!r} is on a shared file system: it is the original, not a copy on {node}")

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        return 0.0, 0.0

    def _locate(self, datasets: tuple[str, ...]) -> list[list[Replica]]:
        return [self._replicas(dataset) for dataset in datasets]

    def _replicas(self, dataset: str) -> list[Replica]:
        """The one that everybody can find, or none."""
        path = self._path_of(dataset)
        if path is None:
            return []
        try:
            _, status = _walked(path, self._prefixes)
        except OSError:
            return []
        return [Replica(dataset, path, status.st_size if stat.S_ISREG(status.st_mode) else 0)]

    def _measure(self, address: str) -> Measured | HalError | None:
        path = self._path_of(address)
        if path is None or not _is_below(path, self._cached):
            return None
        try:
            real, status = _walked(path, self._cached)
        except FileNotFoundError:
            return NotFound(f"there is no {path}")
        except OSError:
            return None  # It is not said why: that would say what is there.
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & stat.S_IROTH or not _is_below(real, self._cached):
            return None
        return Measured(status.st_size, file_version(status.st_size, status.st_mtime_ns), place=real)

    def _path_of(self, dataset: str) -> str | None:
        """The absolute path that a dataset names, or None if it is none of ours. `..` cannot lead out of a prefix."""
        path = dataset
        if dataset.startswith("file:"):
            url = urlsplit(dataset)
            if url.netloc not in ("", "localhost") or url.query or url.fragment:
                return None
            path = unquote(url.path)
        if not path.startswith("/") or "\0" in path:
            return None
        path = "/" + posixpath.normpath(path).lstrip("/")
        return path if _is_below(path, self._prefixes) else None


def _normal(prefixes: Sequence[str]) -> tuple[str, ...]:
    return tuple(posixpath.normpath(prefix).rstrip("/") + "/" for prefix in prefixes)


def _is_below(path: str, prefixes: Sequence[str]) -> bool:
    return any((path + "/").startswith(prefix) for prefix in prefixes)


def _walked(path: str, prefixes: tuple[str, ...]) -> tuple[str, os.stat_result]:
    """Where an absolute path really leads, and what is there.

    Looks at nothing that not everybody may walk to, and at nothing that is not below the prefixes or leads to them: the
    daemon may look where users may not. It goes from one open directory to the next, so that no link that somebody puts
    there meanwhile leads it elsewhere. Raises OSError; FileNotFoundError only for what everybody sees not to be there.
    """
    left, real, link_count = path.split("/")[::-1], list[str](), 0
    here = os.open("/", _WALKING)
    try:
        status = os.fstat(here)
        while left:
            part = left.pop()
            if part in ("", "."):
                continue
            place = [*real[:-1]] if part == ".." else [*real, part]
            _insist_on_way("/" + "/".join(place), here, prefixes)
            status = os.stat(part, dir_fd=here, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                link_count += 1
                if link_count > LINKS_MAX:
                    raise OSError(errno.ELOOP, "too many links")
                target = os.readlink(part, dir_fd=here)
                left += target.split("/")[::-1]
                if target.startswith("/"):
                    here, real = _opened("/", here), []
                continue
            real = place
            if left or stat.S_ISDIR(status.st_mode):
                here = _opened(part, here)
        return "/" + "/".join(real), status
    finally:
        os.close(here)


def _insist_on_way(place: str, here: int, prefixes: tuple[str, ...]) -> None:
    leads_there = _is_below(place, prefixes) or any(prefix.startswith(place.rstrip("/") + "/") for prefix in prefixes)
    if not leads_there or not os.fstat(here).st_mode & stat.S_IXOTH:
        raise PermissionError(errno.EACCES, "is not for everybody")


def _opened(part: str, here: int) -> int:
    """The directory there, in place of that one."""
    there = os.open(part, _WALKING, dir_fd=here)
    os.close(here)
    return there


def _check_there(dataset: str, path: str, prefixes: tuple[str, ...]) -> None:
    """Raises errors only about what everybody may see. What is behind that, the job finds out itself, as its user."""
    try:
        _walked(path, prefixes)
    except PermissionError:
        return
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"input {dataset!r}: there is no {path}") from None
    except OSError as error:
        raise Refused(f"input {dataset!r}: {path}: {error.strerror}") from None
