"""Where a store's bytes come from: directories, read as the dataset's owner, and whatever the providers know.

A path that a user put into the catalogue is never opened by the agent itself, which may read everything: a small
program that has become the owner does it, so that nobody publishes what they cannot read.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

import trio

from hal_core.agent.pull import Reader
from hal_core.errors import HalError, NotFound, Refused, Unavailable
from hal_core.models.dataset import PEER, Dataset, Measured, file_version

PIECE_BYTES = 1 << 20
ERROR_BYTES_MAX = 4096


class Source(Protocol):
    """What is needed of planes.DataSource."""

    def recognises(self, dataset: str) -> bool: ...

    def reading(self, address: str, offset: int) -> Any: ...


@runtime_checkable
class Measuring(Protocol):
    """As planes.Measuring."""

    async def measure(self, addresses: Sequence[str]) -> Sequence[Measured | HalError | None]: ...


def reader_of(sources: Mapping[str, Source], peers: Reader | None = None) -> Reader:
    """Reads paths by itself, other nodes' copies with `peers`, and everything else with the first of the sources that
    recognises it."""

    @asynccontextmanager
    async def read(dataset: Dataset, address: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if address.startswith("/"):
            async with _unchanged(dataset, address, _status), _reading_path(dataset, address, offset) as pieces:
                yield pieces
            return
        if peers is not None and address.startswith(PEER):
            async with peers(dataset, address, offset) as pieces:
                yield pieces
            return
        source = next((each for each in sources.values() if each.recognises(address)), None)
        if source is None:
            known = ", ".join(sources) or "none"
            raise NotFound(f"no locality provider on this node reads {address!r}; there are: {known}")
        async with _unchanged(dataset, address, partial(_told, source)), source.reading(address, offset) as pieces:
            yield pieces

    return read


@asynccontextmanager
async def _unchanged(
    dataset: Dataset, address: str, version_at: Callable[[str], Awaitable[str]]
) -> AsyncIterator[None]:
    """Where a file is told by its version, it must have that before and after it is read."""
    wanted = dataset.file_version

    async def check() -> None:
        if wanted and await version_at(address) != wanted:
            raise Refused("it has changed since the job was submitted, which is to read what was there then")

    await check()
    yield
    await check()


async def _status(path: str) -> str:
    try:
        status = await trio.to_thread.run_sync(os.stat, path, abandon_on_cancel=True)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from None
    return file_version(status.st_size, status.st_mtime_ns)


async def _told(source: Source, address: str) -> str:
    """What its server says of the version."""
    found = (await source.measure([address]))[0] if isinstance(source, Measuring) else None
    if isinstance(found, Unavailable):
        raise ConnectionError(str(found))
    if isinstance(found, HalError):
        raise found
    return found.version if found is not None else ""


@asynccontextmanager
async def _reading_path(dataset: Dataset, path: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
    process = await trio.lowlevel.open_process(
        ["tail", "-c", f"+{offset + 1}", "--", path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        **_becoming(dataset, path),
    )
    try:
        async with aclosing(_pieces(process, path)) as pieces:
            yield pieces
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None, "both are pipes"
                await stream.aclose()


async def _pieces(process: trio.Process, path: str) -> AsyncGenerator[bytes, None]:
    assert process.stdout is not None, "it is a pipe"
    assert process.stderr is not None, "it is a pipe"
    while piece := await process.stdout.receive_some(PIECE_BYTES):
        yield bytes(piece)
    told = (await process.stderr.receive_some(ERROR_BYTES_MAX)).decode("utf-8", "replace").strip()
    if await process.wait() or told:
        raise NotFound(told.partition(": ")[2] or f"{path} could not be read")


def _becoming(dataset: Dataset, path: str) -> dict[str, Any]:
    """The agent's own user reads what stands in the configuration."""
    uid, gid = dataset.uid, dataset.gid
    return {} if uid is None or gid is None else becoming(uid, gid, f"{path}: {dataset.owner}")


def becoming(uid: int, gid: int, whose: str) -> dict[str, Any]:
    """For a process that is to be that user, with the groups that this node knows: the group was said elsewhere, and
    counts only if the user is in it here. `whose` says in an error what it would have been for."""
    if uid == os.geteuid():
        return {}
    if os.geteuid() != 0:
        raise Refused(f"{whose}: the agent of this node is not root and cannot become user {uid}")
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise Refused(f"{whose}: uid {uid} is not known on this node") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    if gid not in groups:
        raise Refused(f"{whose}: user {entry.pw_name} is not in group {gid} on this node")
    return {"user": uid, "group": gid, "extra_groups": groups}
